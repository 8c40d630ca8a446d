"""The record of a suite: benchmarks, methods, runs and studies. `reprood.config.load` reads it from YAML."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from reprood.config.benchmark import Benchmark
from reprood.config.folders import Folders
from reprood.config.records import Line, Record, check_name
from reprood.core.mappings import merged

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Arm(Record):
    """One row of the tables: a method's module with settings."""

    use: str
    label: Line = Field(min_length=1)
    set: dict[str, Any] = {}


class RunGroup(Record):
    """The methods that run on a benchmark, and the seeds (the suite's if omitted)."""

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
        Heading and remark of its page.
    benchmark : str
        The benchmark whose data it reads; "" for none.
    methods : tuple of str
        Rows of the tables whose models, trained on that benchmark, it reads.
    seeds : tuple of int or None
        One replicate each; the suite's if omitted.
    set : dict
        Settings of the study.
    """

    use: str
    title: Line
    note: str = ""
    benchmark: str = ""
    methods: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] | None = None
    set: dict[str, Any] = {}


class Suite(Record):
    """The set of runs that a configuration requests.

    A benchmark with `members:` is a family: one benchmark `<name>_<member>` per member, each with its own changes.
    `runs` may name the family. `scale: paper` needs `precision: fp32`, in which all papers' networks were trained.
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
    name: SkipJsonSchema[str] = ""  # this and the next two are set by the workflow, not in a suite's file
    palette: SkipJsonSchema[dict[str, int]] = {}  # each method's position in the palette of the figures
    folders: SkipJsonSchema[Folders] = Folders()

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return _with_members(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _paper_precision(self) -> "Suite":
        if self.scale == "paper" and self.precision != "fp32":
            raise ValueError(
                f"precision is '{self.precision}', but the papers' networks were trained in single precision; set "
                "precision: fp32, or scale: reduced"
            )
        return self

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
            duplicate = next(job for job in jobs if jobs.count(job) > 1)
            raise ValueError(f"runs lists {'/'.join(map(str, duplicate))} twice; name each run once")
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
        """Return the seeds of a study's replicates."""
        seeds = self.studies[name].seeds
        return self.seeds if seeds is None else seeds

    def families(self) -> dict[str, tuple[str, ...]]:
        """Return family -> names of its benchmarks."""
        members: dict[str, list[str]] = {}
        for name, benchmark in self.benchmarks.items():
            if benchmark.family:
                members.setdefault(benchmark.family, []).append(name)
        return {family: tuple(names) for family, names in members.items()}

    def jobs(self) -> Iterator[tuple[str, str, int]]:
        """Yield (benchmark, method, seed) of every run, in the order of the file."""
        for group in self.runs:
            for method in group.methods:
                for seed in self.seeds if group.seeds is None else group.seeds:
                    yield group.benchmark, method, seed


def _with_members(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return a suite's record in which every benchmark with `members` is expanded."""
    benchmarks: dict[str, Any] = {}
    families: dict[str, list[str]] = {}
    if not isinstance(suite.get("benchmarks"), Mapping) or not isinstance(suite.get("runs"), list | tuple):
        return dict(suite)  # the validation reports what is missing or wrong
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
        names = families.get(str(group.get("benchmark")), ()) if isinstance(group, Mapping) else ()
        runs += [{**group, "benchmark": name} for name in names] or [group]
    return {**suite, "benchmarks": benchmarks, "runs": runs}
