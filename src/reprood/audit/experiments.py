"""Experiment families of a paper: which of its tables and figures have a benchmark, a claim, a published number."""

from collections.abc import Iterator, Mapping

from pydantic import Field, model_validator

from reprood.config.records import Line, Record
from reprood.config.suite import Suite


class Experiment(Record):
    """One family of experiments of a paper, usually a table or a figure.

    Attributes
    ----------
    title : str
        What the experiment compares.
    where : str
        Where the paper reports it, for instance "Table 5"; "" if that could not be read.
    benchmarks : tuple of str
        `suite/benchmark` for each benchmark (or family of benchmarks) that runs it, at any scale.
    studies : tuple of str
        `suite/study` for each study that runs it.
    claims : tuple of str
        Ids of the paper's claims about it.
    published : tuple of str
        Ids of its published numbers that no claim names.
    omitted : str
        Why it is not run; "" for an experiment that is.
    note : str
        Remark on the experiment.
    """

    title: Line
    where: Line = ""
    benchmarks: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    omitted: str = Field(default="", max_length=400)
    note: str = ""

    @model_validator(mode="after")
    def _runs_or_says_why_not(self) -> "Experiment":
        runs = bool(self.benchmarks or self.studies)
        if runs == bool(self.omitted):
            raise ValueError(
                f"experiment '{self.title}': it names benchmarks or studies, or says under 'omitted' why there are "
                "none; expected one of the two"
            )
        return self

    def unknown(self, suites: Mapping[str, Suite]) -> Iterator[str]:
        """Yield each named benchmark and study that no suite has."""
        for name in self.benchmarks:
            suite, _, place = name.partition("/")
            if suite not in suites or place not in {*suites[suite].places(), *suites[suite].benchmarks}:
                yield name
        for name in self.studies:
            suite, _, study = name.partition("/")
            if suite not in suites or study not in suites[suite].studies:
                yield name
