"""What a user may write in `config/`: the run configuration and the suites, validated into frozen records."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reprood.errors import ReproodError

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
RESERVED_SPLITS = ("train", "validation", "test")


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Preparation(Record):
    """The one decode-and-resize rule that every split of a benchmark goes through.

    Attributes
    ----------
    size : int
        Side of the square images in pixels.
    channels : {1, 3}
        Grey (ITU-R 601 luma) or RGB.
    """

    size: int = Field(ge=8, le=512)
    channels: Literal[1, 3]


class Source(Record):
    """Rows of a data set's split: which classes, and which part of a fixed class-stratified order.

    Two sources with the same data set, split and classes and with disjoint [skip, skip + limit) ranges are disjoint.
    """

    dataset: str
    split: str
    classes: tuple[int, ...] | None = None
    skip: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)


class Outlier(Source):
    """A test set of images that are not in-distribution.

    `shift`: near = other classes in the same style, far = another domain, noise = synthetic noise.
    """

    shift: Literal["near", "far", "noise"]


class Gate(Record):
    """A run below this in-distribution accuracy gives no detection numbers."""

    accuracy: float = Field(gt=0, lt=1)


class Benchmark(Record):
    """A task: what is trained on and what is asked of the trained model."""

    title: str
    note: str = ""
    preparation: Preparation
    train: Source
    validation: Source
    test: Source
    ood: dict[str, Outlier] = {}
    auxiliary: dict[str, Source] = {}
    evaluations: tuple[Literal["classification", "detection"], ...] = ("classification", "detection")
    gate: Gate | None = None
    allow: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    detectors: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _names(self) -> "Benchmark":
        names = [*RESERVED_SPLITS, *self.ood, *self.auxiliary]
        for name in (*self.ood, *self.auxiliary):
            _check_name(name, "split")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"split names must be unique, and {', '.join(doubled)} is used twice")
        if "detection" in self.evaluations and not self.ood:
            raise ValueError("the evaluation 'detection' needs at least one data set under 'ood'")
        return self

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
    label: str
    set: dict[str, Any] = {}


class RunGroup(Record):
    """Which methods run on which benchmark, with which seeds (the suite's when left out)."""

    benchmark: str
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] | None = None


class Suite(Record):
    """The set of runs that a configuration asks for."""

    title: str
    note: str = ""
    scale: Literal["reduced", "paper"]
    seeds: tuple[int, ...] = Field(min_length=1)
    suite_seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    settings: dict[str, Any] = {}
    benchmarks: dict[str, Benchmark] = Field(min_length=1)
    methods: dict[str, Arm] = Field(min_length=1)
    runs: tuple[RunGroup, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _references(self) -> "Suite":
        for name in self.benchmarks:
            _check_name(name, "benchmark")
        for name in self.methods:
            _check_name(name, "method")
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
        return self

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
    """

    suite: str = "quick"
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    datasets: dict[str, dict[str, Any]] = {}

    @field_validator("mirrors", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value


def _check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"the {what} name '{name}' must be lower-case letters, digits and '_'")


def explain(error: ValidationError, where: str) -> ReproodError:
    """Turn pydantic's report into one sentence that names the file, the key and what was expected."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "this key is not known; check its spelling or remove it"
    elif first["type"] == "missing":
        message = "this key is missing; add it"
    else:
        given = repr(first.get("input"))
        message += f" (given: {given if len(given) < 80 else given[:77] + '...'})" if first["loc"] else ""
    more = len(error.errors()) - 1
    return ReproodError(
        f"{where}: {key}: {message}" + (f" ({more} more problem{'s' * (more > 1)} in it)." if more else ".")
    )


def read_yaml(path: Path) -> Any:
    """Read a YAML file (safe loader).

    Raises
    ------
    ReproodError
        When it is missing, not YAML, or names a key twice.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader=_Loader)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; check the name.") from error
    except yaml.YAMLError as error:
        raise ReproodError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses doubled keys (YAML would silently keep the last)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen and key != "<<":
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


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
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (root / "config" / "suites").glob("*.yaml")))
        raise ReproodError(
            f"There is no suite '{name}' ({path}); known suites: {known}; or give the path of a YAML file."
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


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: later layers win, mappings are merged key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
