"""The record of a suite: benchmarks, methods, runs and studies. `reprood.config.load` reads it from YAML."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from reprood.config.benchmark import Benchmark
from reprood.config.families import expand, is_family
from reprood.config.folders import Folders
from reprood.config.looks import Looks
from reprood.config.records import Line, Record, check_name

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, le=10_000)]


def counted(value: Any) -> Any:
    """Return the seeds 0 to n - 1 for a number n, anything else unchanged.

    Examples
    --------
    >>> counted(3)
    (0, 1, 2)
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= 10_000:
        raise ValueError(f"{value} is no number of replicates; expected 1 to 10,000, or a list of seeds")
    return tuple(range(value))


Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(counted, json_schema_input_type=Count | tuple[Seed, ...]),
    Field(min_length=1),
]


class Arm(Record):
    """One row of the tables: a method's module with settings.

    Attributes
    ----------
    use : str
        Module in `reprood.methods`, or the path of a file that defines `METHOD`.
    label : str
        Its name in tables and figures.
    set : dict
        Settings of the method, merged over those of the benchmark.
    """

    use: str
    label: Line = Field(min_length=1)
    set: dict[str, Any] = {}


class RunGroup(Record):
    """The methods that run on a benchmark or family.

    Attributes
    ----------
    benchmark : str
        The benchmark or family.
    methods : tuple of str
        Names under `methods`.
    seeds : tuple of int or None
        They number the replicates; n means 0 to n - 1; None: the suite's.
    """

    benchmark: str
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: Seeds | None = None


class Study(Record):
    """An analysis of a paper that is not a benchmark: a toy problem, a mechanism, a timing.

    Attributes
    ----------
    use : str
        Module in `reprood.studies`.
    title, note : str
        Heading and remark of its page.
    benchmark : str
        The benchmark whose data it reads; "" for none. On a family, each replicate reads the data of its own member.
    methods : tuple of str
        Rows of the tables whose models, trained on that benchmark, it reads.
    data : bool
        Whether it reads the benchmark's images; false for a study that needs no more than its models.
    ood : bool
        Whether it also reads the benchmark's OOD sets.
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
    data: bool = True
    ood: bool = False
    seeds: Seeds | None = None
    set: dict[str, Any] = {}

    @model_validator(mode="after")
    def _reads(self) -> "Study":
        if self.ood and not self.data:
            raise ValueError("a study that reads OOD sets reads its benchmark's images; remove data: false")
        return self


class Suite(Record):
    """The set of runs that a configuration requests.

    A benchmark with `members:` or `splits:` is a family: one benchmark `<name>_<member>` for each fixed member, with
    its own changes, or for each random split that a replicate uses (`reprood.config.families`). `runs` names the
    family: replicate r runs with seed r on member r mod K, or on the r-th split.

    Attributes
    ----------
    title : str
        Heading of the report.
    note : str
        Remark on the overview page.
    scale : {"reduced", "paper"}
        At the scale `paper`, which needs `precision: fp32`, a claim can be reproduced; else supported at most.
    seeds : tuple of int
        Replicates of every run that names none; n means 0 to n - 1.
    suite_seed : int
        Root of all random draws.
    precision : {"auto", "fp32", "bf16"}
        Number format of the training; `auto` uses bf16 on processors and GPUs that compute it fast.
    settings : dict
        Settings of all methods, below those of benchmarks and of rows.
    benchmarks : dict of Benchmark
        Benchmarks and families by name.
    methods : dict of Arm
        Rows of the tables by name.
    runs : tuple of RunGroup
        Which methods run where.
    studies : dict of Study
        Analyses that are not benchmarks, by name.
    evidence : Looks or None
        The looks at which claims are judged; None: once, on all seeds.
    judge : dict
        The benchmark or family on which a main claim counts ("paper/claim": name); default: the first that measures it.
    """

    title: Line
    note: str = ""
    scale: Literal["reduced", "paper"]
    seeds: Seeds
    suite_seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    settings: dict[str, Any] = {}
    benchmarks: dict[str, Benchmark] = Field(min_length=1)
    methods: dict[str, Arm] = Field(min_length=1)
    runs: tuple[RunGroup, ...] = Field(min_length=1)
    studies: dict[str, Study] = {}
    evidence: Looks | None = None
    judge: dict[str, str] = {}
    # the following are set by the workflow, not in a suite's file
    name: SkipJsonSchema[str] = ""
    palette: SkipJsonSchema[dict[str, int]] = {}  # each method's position in the palette of the figures
    folders: SkipJsonSchema[Folders] = Folders()
    drawn: SkipJsonSchema[
        dict[str, dict[str, Any]]
    ] = {}  # families as in the file, whose benchmarks are not written out
    replicates: SkipJsonSchema[dict[str, dict[str, Count]]] = {}  # benchmark or family -> method -> minimum number
    papers: SkipJsonSchema[tuple[str, ...]] = ()  # the papers that are judged, if not all are
    selection: SkipJsonSchema[str] = ""  # what was selected of a suite, in words
    substitutes: SkipJsonSchema[dict[str, str]] = {}  # data set -> title of the user's data in place of the shipped one

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return _with_members(values) if isinstance(values, Mapping) else values

    @model_serializer(mode="wrap")
    def _compact(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write families as in the file: with dozens of members, a suite would be too long for a command line."""
        record: dict[str, Any] = handler(self)
        for key in ("papers", "selection", "substitutes"):  # left out where empty
            if not record.get(key):
                record.pop(key, None)
        if "benchmarks" in record:
            alone = {name for name, benchmark in self.benchmarks.items() if benchmark.family not in self.drawn}
            record["benchmarks"] = {name: one for name, one in record["benchmarks"].items() if name in alone}
        return record

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
        known = list(self.places())
        for group in self.runs:
            if group.benchmark in self.benchmarks and self.benchmarks[group.benchmark].family:
                family = self.benchmarks[group.benchmark].family
                raise ValueError(
                    f"runs names '{group.benchmark}', one benchmark of the family '{family}'; name '{family}', and "
                    "choose the member by its seeds: replicate r runs on member r mod K"
                )
            if group.benchmark not in known:
                raise ValueError(f"runs names the benchmark '{group.benchmark}'; known: {', '.join(known)}")
            for method in group.methods:
                if method not in self.methods:
                    raise ValueError(f"runs names the method '{method}'; known: {', '.join(self.methods)}")
        known = list(dict.fromkeys([*known, *self.drawn]))  # a family without replicates has no members
        for claim, name in self.judge.items():
            if name not in known:
                raise ValueError(f"judge.{claim} names the benchmark '{name}'; known: {', '.join(known)}")
        for family, members in self.families().items():
            kinds = {(*sorted(self.benchmarks[one].splits()), *self.benchmarks[one].evaluations) for one in members}
            if len(kinds) > 1:
                raise ValueError(
                    f"the members of the family '{family}' differ in their splits or evaluations; they must not"
                )
        return self

    @model_validator(mode="after")
    def _runs_exist_once(self) -> "Suite":
        groups = [(g.benchmark, m, s) for g in self.runs for m in g.methods for s in self._seeds_of(g)]
        if len(set(groups)) < len(groups):
            duplicate = next(job for job in groups if groups.count(job) > 1)
            raise ValueError(f"runs lists {'/'.join(map(str, duplicate))} twice; name each run once")
        jobs = set(self.jobs())
        for name, study in self.studies.items():
            check_name(name, "study")
            if not study.benchmark:
                continue
            if study.benchmark not in (*self.places(), *self.benchmarks):
                raise ValueError(f"the study '{name}' names the benchmark '{study.benchmark}', which is not known")
            for method in study.methods:
                for seed in self.study_seeds(name):
                    if (self.place(study.benchmark, seed), method, seed) not in jobs:
                        raise ValueError(
                            f"the study '{name}' needs the run {study.benchmark}/{method}/{seed}; add it to 'runs'"
                        )
        return self

    def with_replicates(self, replicates: Mapping[str, Mapping[str, int]]) -> "Suite":
        """Return the suite with a minimum number of replicates for each benchmark or family and method."""
        return Suite.model_validate({**self.model_dump(), "replicates": replicates})

    def _seeds_of(self, group: RunGroup) -> tuple[int, ...]:
        return self.seeds if group.seeds is None else group.seeds

    def study_seeds(self, name: str) -> tuple[int, ...]:
        """Return the seeds of a study's replicates."""
        seeds = self.studies[name].seeds
        return self.seeds if seeds is None else seeds

    def families(self) -> dict[str, tuple[str, ...]]:
        """Return family -> names of its benchmarks."""
        return {place: names for place, names in self.places().items() if names != (place,)}

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return the benchmarks as readers see them -> names of their benchmarks: a family's members, or itself."""
        found: dict[str, list[str]] = {}
        for name, benchmark in self.benchmarks.items():
            found.setdefault(benchmark.family or name, []).append(name)
        return {place: tuple(names) for place, names in found.items()}

    def place(self, benchmark: str, seed: int) -> str:
        """Return the benchmark on which a replicate runs: the member of a family, else `benchmark` itself."""
        return self._member(self.places(), benchmark, seed)

    def _member(self, places: Mapping[str, tuple[str, ...]], benchmark: str, seed: int) -> str:
        members = places.get(benchmark, (benchmark,))
        random = self.benchmarks[members[0]].replicate is not None
        return f"{benchmark}_s{seed}" if random and benchmark in places else members[seed % len(members)]

    def record(self, place: str) -> Benchmark:
        """Return the record of a benchmark; that of a family's first member, with the title of the family."""
        if place in self.benchmarks:
            return self.benchmarks[place]
        first = self.benchmarks[self.families()[place][0]]
        title = str(self.drawn[place].get("title", place)) if place in self.drawn else first.title
        return first.model_copy(update={"title": title})

    def fixed_members(self, family: str) -> int:
        """Return the number of members that the file lists for a family; 0 where every replicate draws its own."""
        return len(self.drawn.get(family, {}).get("members", ()))

    def jobs(self) -> Iterator[tuple[str, str, int]]:
        """Yield (benchmark, method, seed) of every run, in the order of the file, with ascending seeds."""
        places = self.places()
        for place, method, seed in self.replicated():
            yield self._member(places, place, seed), method, seed

    def replicated(self) -> Iterator[tuple[str, str, int]]:
        """Yield (benchmark or family, method, seed) of every run, in the order of the file, with ascending seeds."""
        found: dict[tuple[str, str], set[int]] = {}
        for group in self.runs:
            for method in group.methods:
                least = self.replicates.get(group.benchmark, {}).get(method, 0)
                seeds = found.setdefault((group.benchmark, method), set(range(least)))
                seeds.update(self._seeds_of(group))
        for (place, method), seeds in found.items():
            for seed in sorted(seeds):
                yield place, method, seed


def _with_members(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return a suite's record in which the benchmarks of every family are written out."""
    benchmarks = suite.get("benchmarks")
    if not isinstance(benchmarks, Mapping):
        return dict(suite)  # the validation reports what is missing or wrong
    drawn = {**(suite.get("drawn") or {}), **{name: one for name, one in benchmarks.items() if is_family(one)}}
    found: dict[str, Any] = {}
    for name, record in {**benchmarks, **drawn}.items():
        found |= expand(name, record, _replicates_on(name, suite)) if name in drawn else {name: record}
    return {**suite, "benchmarks": found, "drawn": drawn}


def _replicates_on(family: str, suite: Mapping[str, Any]) -> set[int]:
    """Return the replicates of a family that runs and studies of a record, not yet validated, use."""
    groups = [*(suite.get("runs") or ()), *dict(suite.get("studies") or {}).values()]
    found: set[int] = set()
    for group in groups:
        one = group.model_dump() if isinstance(group, Record) else group
        if isinstance(one, Mapping) and one.get("benchmark") == family:
            seeds = suite.get("seeds") if one.get("seeds") is None else one["seeds"]
            try:
                found.update(TypeAdapter(Seeds).validate_python(seeds))
            except ValidationError:  # the validation of the seeds, which follows, reports it
                continue
    planned = suite.get("replicates")
    of_family = planned.get(family) if isinstance(planned, Mapping) else None
    counts = of_family.values() if isinstance(of_family, Mapping) else ()
    return found | set(range(max((n for n in counts if isinstance(n, int)), default=0)))
