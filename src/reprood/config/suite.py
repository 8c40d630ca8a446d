"""What a user may write in `config/`: the run configuration and the suites, validated into frozen records."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from reprood.attacks.options import Attack
from reprood.config.records import LabelNoise as LabelNoise
from reprood.config.records import Line as Line
from reprood.config.records import Outlier as Outlier
from reprood.config.records import Preparation as Preparation
from reprood.config.records import Record as Record
from reprood.config.records import Source as Source
from reprood.config.records import check_name
from reprood.core.errors import ReproodError
from reprood.core.yaml import explain as explain
from reprood.core.yaml import merged as merged
from reprood.core.yaml import read_yaml as read_yaml
from reprood.detectors.names import POST_HOC
from reprood.detectors.options import (
    EnergyOptions,
    KnnOptions,
    OdinOptions,
    Options,
    ReactOptions,
    VimOptions,
)
from reprood.images.registry import CIFAR_C_NAMES, CORRUPTION_NAMES, SEVERITIES

RESERVED_SPLITS = ("train", "validation", "test")
MADE_SPLITS = ("corrupted",)  # made from the test split
Seed = Annotated[int, Field(ge=0, lt=2**32)]
DETECTOR_OPTIONS: dict[str, type[BaseModel]] = {
    "energy": EnergyOptions,
    "odin": OdinOptions,
    "knn": KnnOptions,
    "vim": VimOptions,
    "react": ReactOptions,
}  # the other detectors have none

Evaluation = Literal[
    "classification",
    "detection",
    "open_set",
    "segmentation",
    "corruption",
    "adversarial",
    "occlusion",
    "localisation",
]


class Corruptions(Record):
    """Corrupted copies of the test set (Hendrycks & Dietterich 2019).

    Attributes
    ----------
    strengths : {"cifar", "imagenet"}
        The strengths of CIFAR-10-C or of ImageNet-C.
    names : tuple of str
        Which corruptions.
    severities : tuple of int
        From 1 to 5.
    limit : int or None
        Number of test images that are corrupted, from the first on; None: all.
    baseline : str
        The method by whose errors the relative mean corruption error (mCE) is normalised; "" leaves it out.
    """

    strengths: Literal["cifar", "imagenet"] = "cifar"
    names: tuple[str, ...] = Field(default=CIFAR_C_NAMES, min_length=1)
    severities: tuple[int, ...] = Field(default=(1, 2, 3, 4, 5), min_length=1)
    limit: int | None = Field(default=None, ge=1)
    baseline: str = ""

    @model_validator(mode="after")
    def _known(self) -> "Corruptions":
        for name in self.names:
            if name not in CORRUPTION_NAMES:
                raise ValueError(f"there is no corruption '{name}'; known: {', '.join(CORRUPTION_NAMES)}")
        wrong = [severity for severity in self.severities if severity not in SEVERITIES]
        if wrong:
            raise ValueError(f"a severity is one of 1 to 5, not {wrong[0]}")
        for what, given in (("corruption", self.names), ("severity", self.severities)):
            if len(set(given)) < len(given):
                raise ValueError(f"a {what} is named twice; name each once")
        return self


class Occlusion(Record):
    """Square holes in the test images (CutMix, section 4.4).

    Attributes
    ----------
    sides : tuple of int
        Sides of the square in pixels.
    where : tuple of {"center", "boundary"}
        What is hidden: the square in the middle, or all around it.
    limit : int or None
        Number of test images, from the first on; None: all.
    """

    sides: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    where: tuple[Literal["center", "boundary"], ...] = Field(default=("center", "boundary"), min_length=1)
    limit: int | None = Field(default=None, ge=1)


class OpenSet(Record):
    """How known and unknown classes are told apart for the macro-F (DIAS' code).

    Attributes
    ----------
    scores : tuple of str
        Scores that are probabilities; a prediction stands when its score is above a / K + (1 - a) - margin.
    target : float
        a.
    margin : float
    """

    scores: tuple[str, ...] = ("msp",)
    target: float = Field(default=0.5, ge=0, le=1)
    margin: float = 0.05


class Gate(Record):
    """A run below this in-distribution accuracy gives no detection numbers."""

    accuracy: float = Field(gt=0, lt=1)


class Benchmark(Record):
    """A task: what is trained on and what is asked of the trained model.

    `family` and `member` name the family of a benchmark that is one of several of a kind (one class each, or one split
    of known and unknown classes each); claims are judged on the family.
    """

    title: Line
    note: str = ""
    preparation: Preparation
    train: Source
    validation: Source
    test: Source
    ood: dict[str, Outlier] = {}
    auxiliary: dict[str, Source] = {}
    label_noise: LabelNoise | None = None
    evaluations: tuple[Evaluation, ...] = ("classification", "detection")
    corruption: Corruptions | None = None
    attacks: dict[str, Attack] = {}
    occlusion: Occlusion | None = None
    open_set: OpenSet = OpenSet()
    family: str = ""
    member: str = ""
    gate: Gate | None = None
    allow: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    detectors: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _names(self) -> "Benchmark":
        names = [*RESERVED_SPLITS, *MADE_SPLITS, *self.ood, *self.auxiliary]
        for name in (*self.ood, *self.auxiliary):
            check_name(name, "split")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"split names must be unique, and {', '.join(doubled)} is used twice")
        if "detection" in self.evaluations and not self.ood:
            raise ValueError("the evaluation 'detection' needs at least one data set under 'ood'")
        for evaluation in ("open_set", "segmentation"):
            if evaluation in self.evaluations and "detection" not in self.evaluations:
                raise ValueError(f"the evaluation '{evaluation}' needs 'detection' too")
        return self

    @model_validator(mode="after")
    def _asked(self) -> "Benchmark":
        given = {"corruption": self.corruption, "adversarial": self.attacks, "occlusion": self.occlusion}
        keys = {"corruption": "corruption", "adversarial": "attacks", "occlusion": "occlusion"}
        for evaluation, options in given.items():
            if (evaluation in self.evaluations) != bool(options):
                wrong = "is not among 'evaluations'" if options else f"needs '{keys[evaluation]}'"
                raise ValueError(f"the evaluation '{evaluation}' {wrong}")
        for name in self.attacks:
            check_name(name, "attack")
        return self

    @field_validator("detectors")
    @classmethod
    def _known_detectors(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in value.items():
            if name not in POST_HOC:
                raise ValueError(f"there is no detector '{name}'; known: {', '.join(POST_HOC)}")
            form = DETECTOR_OPTIONS.get(name, Options)
            try:
                form.model_validate(options)
            except ValidationError as error:
                first = error.errors()[0]
                key, known = ".".join(map(str, first["loc"])), ", ".join(form.model_fields) or "none"
                raise ValueError(f"{name}.{key}: {first['msg']}; options of this detector: {known}") from error
        return value

    def splits(self) -> dict[str, Source]:
        """Every split by name: train, validation, test, the OOD sets, the auxiliary sets."""
        named: dict[str, Source] = {"train": self.train, "validation": self.validation, "test": self.test}
        return {**named, **self.ood, **self.auxiliary}

    def role(self, split: str) -> str:
        """One of train, validation, test, ood, auxiliary."""
        if split in RESERVED_SPLITS:
            return split
        return "ood" if split in self.ood else "auxiliary"


class Arm(Record):
    """One row of the tables: a method's module and the settings that make it this row."""

    use: str
    label: Line = Field(min_length=1)
    set: dict[str, Any] = {}


class RunGroup(Record):
    """Which methods run on which benchmark, with which seeds (the suite's when left out)."""

    benchmark: str
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] | None = None


class Study(Record):
    """An analysis of a paper that is not a benchmark: a toy problem, a mechanism, a timing.

    Attributes
    ----------
    use : str
        Module in `reprood.studies`.
    title, note : str
    benchmark : str
        Whose data it is given; "" for none.
    methods : tuple of str
        Rows whose trained models (on that benchmark) it is given.
    seeds : tuple of int or None
        One replicate each; the suite's when left out.
    set : dict
        Its settings.
    """

    use: str
    title: Line
    note: str = ""
    benchmark: str = ""
    methods: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] | None = None
    set: dict[str, Any] = {}


class Suite(Record):
    """The set of runs that a configuration asks for.

    A benchmark with `members:` stands for one benchmark a member, `<name>_<member>`, each with its own changes; the
    name then is the family's, and `runs` may ask for the family.
    """

    title: Line
    note: str = ""
    scale: Literal["reduced", "paper"]
    seeds: tuple[Seed, ...] = Field(min_length=1)
    suite_seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    settings: dict[str, Any] = {}
    benchmarks: dict[str, Benchmark] = Field(min_length=1)
    methods: dict[str, Arm] = Field(min_length=1)
    runs: tuple[RunGroup, ...] = Field(min_length=1)
    studies: dict[str, Study] = {}

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return _with_members(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _references(self) -> "Suite":
        for name in self.benchmarks:
            check_name(name, "benchmark")
        for name in self.methods:
            check_name(name, "method")
        for group in self.runs:
            if group.benchmark not in self.benchmarks:
                raise ValueError(f"runs names the benchmark '{group.benchmark}'; known: {', '.join(self.benchmarks)}")
            for method in group.methods:
                if method not in self.methods:
                    raise ValueError(f"runs names the method '{method}'; known: {', '.join(self.methods)}")
        jobs = list(self.jobs())
        if len(set(jobs)) < len(jobs):
            doubled = next(job for job in jobs if jobs.count(job) > 1)
            raise ValueError(f"runs asks twice for {'/'.join(map(str, doubled))}; name each run once")
        for name, study in self.studies.items():
            check_name(name, "study")
            if study.benchmark and study.benchmark not in self.benchmarks:
                raise ValueError(f"the study '{name}' names the benchmark '{study.benchmark}', which is not known")
            for method in study.methods:
                for seed in self.study_seeds(name):
                    if (study.benchmark, method, seed) not in jobs:
                        raise ValueError(
                            f"the study '{name}' needs the run {study.benchmark}/{method}/{seed}; add it to 'runs'"
                        )
        return self

    def study_seeds(self, name: str) -> tuple[int, ...]:
        """A study's replicates."""
        seeds = self.studies[name].seeds
        return self.seeds if seeds is None else seeds

    def families(self) -> dict[str, tuple[str, ...]]:
        """Family -> its benchmarks, of those that are members of one."""
        found: dict[str, list[str]] = {}
        for name, benchmark in self.benchmarks.items():
            if benchmark.family:
                found.setdefault(benchmark.family, []).append(name)
        return {family: tuple(names) for family, names in found.items()}

    def jobs(self) -> Iterator[tuple[str, str, int]]:
        """(benchmark, method, seed) of every run, in the order of the file."""
        for group in self.runs:
            for method in group.methods:
                for seed in self.seeds if group.seeds is None else group.seeds:
                    yield group.benchmark, method, seed


class Settings(Record):
    """`config/config.yaml`: which suite runs, from where data comes, on what.

    Attributes
    ----------
    suite : str
        A name under `config/suites/`, or the path of a YAML file.
    mirrors : list of str
        Folders or URLs that are tried before the official addresses.
    offline : bool
        Do not try official addresses.
    device : {"auto", "cpu", "cuda"}
        `auto` takes a GPU if there is one.
    checkpoint_seconds : float
        How much work a killed training may lose.
    datasets : dict
        The user's own catalogue entries.
    release : str
        Name of what `snakemake publish` builds: the folder `published/<release>`.
    signing_key : str
        Path of an SSH private key with which releases are signed; "" leaves them unsigned.
    """

    suite: str = "quick"
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    datasets: dict[str, dict[str, Any]] = {}
    release: str = Field(default="draft", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    signing_key: str = ""

    @field_validator("mirrors", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value


def _with_members(suite: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's record with every benchmark that has `members` written out."""
    benchmarks: dict[str, Any] = {}
    families: dict[str, list[str]] = {}
    if not isinstance(suite.get("benchmarks"), Mapping) or not isinstance(suite.get("runs"), list | tuple):
        return dict(suite)  # the validation says what is missing or wrong
    for family, record in suite["benchmarks"].items():
        if not isinstance(record, Mapping) or not record.get("members"):
            benchmarks[family] = record
            continue
        if not isinstance(record["members"], Mapping):
            raise ValueError(f"benchmark {family}: 'members' must be a mapping of names to changes")
        common = {key: value for key, value in record.items() if key != "members"}
        for member, changes in record["members"].items():
            if not isinstance(changes or {}, Mapping):
                raise ValueError(f"benchmark {family}, member {member}: expected a mapping of changes")
            name = f"{family}_{member}"
            benchmarks[name] = merged(common, changes or {}, {"family": family, "member": str(member)})
            benchmarks[name]["title"] = f"{record.get('title', family)}: {str(member).replace('_', ' ')}"
            families.setdefault(family, []).append(name)
    runs = []
    for group in suite["runs"]:
        named = families.get(str(group.get("benchmark")), ()) if isinstance(group, Mapping) else ()
        runs += [{**group, "benchmark": name} for name in named] or [group]
    return {**suite, "benchmarks": benchmarks, "runs": runs}


def load_settings(values: Mapping[str, Any], where: str = "config/config.yaml") -> Settings:
    """Validate the run configuration.

    Raises
    ------
    ReproodError
        One sentence that names the key.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, where) from error


def suite_path(name: str, root: Path) -> Path:
    """Where a suite's file is: `config/suites/<name>.yaml`, or `name` itself when it is a path.

    Raises
    ------
    ReproodError
        When there is no such suite; the known ones are listed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else root / "config" / "suites" / f"{name}.yaml"
    try:
        found = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        found = False
    if not found:
        known = ", ".join(sorted(p.stem for p in (root / "config" / "suites").glob("*.yaml")))
        raise ReproodError(
            f"There is no suite '{name[:200]}' ({str(path)[-200:]}); known suites: {known}; or give the path of a YAML "
            "file."
        )
    return path


def load_suite(name: str, root: Path) -> Suite:
    """Read and validate a suite.

    Raises
    ------
    ReproodError
        One sentence that names the file and the key.
    """
    path = suite_path(name, root)
    try:
        return Suite.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain(error, str(path)) from error
