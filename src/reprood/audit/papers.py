"""What the papers publish, as data: bibliography, numbers with their source, claims made checkable."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from reprood.config import Record, explain, read_yaml
from reprood.errors import ReproodError

Source = Literal["paper", "repository", "issue", "recalled"]
Kind = Literal["difference", "non_inferior", "equivalent", "ordering", "equals"]

SOURCE_WORDS = {
    "paper": "read in the paper",
    "repository": "read in its repository",
    "issue": "read in a discussion of its repository",
    "recalled": "unverified citation",
}


class Published(Record):
    """A published number.

    Attributes
    ----------
    id : str
        Unique in the paper's file.
    where, setting, method, metric, unit : str
        Table or figure; data, network; row; what is measured, in what unit.
    value : float
    source : {"paper", "repository", "issue", "recalled"}
        Where it was read; "recalled" numbers are shown as unverified citations.
    measured_by : str
        Name of the method in the suites that corresponds; empty when there is none.
    """

    id: str
    where: str
    setting: str
    method: str
    metric: str
    value: float
    unit: str = "%"
    source: Source
    measured_by: str = ""


class Side(Record):
    """One side of a comparison: a method of the suites and a score.

    Attributes
    ----------
    method : str
    score : str
        "-" for classification metrics. A trailing "*" takes the best of the scores with this beginning, in hindsight
        (for judging a choice, never for making one).
    """

    method: str
    score: str = "-"

    @property
    def label(self) -> str:
        """Method and score as one text."""
        return self.method if self.score == "-" else f"{self.method} ({self.score})"


class Claim(Record):
    """A published statement made checkable.

    Attributes
    ----------
    id, statement : str
    kind : str
        difference: `sides[0]` is better than `sides[1]` by more than `margin`; non_inferior: it is not worse by more
        than `margin`; equivalent: the two differ by less than `margin`; ordering: each side is better than the next;
        equals: `sides[0]` has the published value within `margin` (judged at the paper's scale only).
    metric : str
        A metric of the evaluate stage.
    split : str
        "test", an OOD set, or a mean over OOD sets.
    sides : tuple of Side
    better : {"higher", "lower"}
        Which values of the metric the claim calls better.
    margin : float
        In the metric's unit.
    min_seeds, min_epochs : int
        Below these a result is inconclusive: too few seeds; a schedule on which the effect is not expected.
    published : tuple of str
        Ids of the published numbers of the sides, in their order.
    note : str
    """

    id: str
    statement: str
    kind: Kind
    metric: str
    split: str = "test"
    sides: tuple[Side, ...] = Field(min_length=1)
    better: Literal["higher", "lower"]
    margin: float = Field(default=0.0, ge=0)
    min_seeds: int = Field(default=3, ge=1)
    min_epochs: int = Field(default=0, ge=0)
    published: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _number_of_sides(self) -> "Claim":
        wanted = {"equals": "1", "ordering": "2 or more"}.get(self.kind, "2")
        good = {"equals": len(self.sides) == 1, "ordering": len(self.sides) >= 2}.get(self.kind, len(self.sides) == 2)
        if not good:
            raise ValueError(f"a claim of the kind {self.kind} has {wanted} sides, not {len(self.sides)}")
        if self.kind in ("equivalent", "non_inferior", "equals") and self.margin == 0:
            raise ValueError(f"a claim of the kind {self.kind} needs a margin above 0")
        if self.kind == "equals" and len(self.published) != 1:
            raise ValueError("a claim of the kind equals names the one published number it compares with")
        return self


class Paper(Record):
    """One paper: `config/papers/<id>.yaml`."""

    id: str
    title: str
    authors: str
    venue: str
    year: int
    arxiv: str = ""
    code: str = ""
    code_licence: str = ""
    summary: str
    method: str
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids(self) -> "Paper":
        for what, ids in (("published", [p.id for p in self.published]), ("claims", [c.id for c in self.claims])):
            doubled = sorted({i for i in ids if ids.count(i) > 1})
            if doubled:
                raise ValueError(f"{what}: the id '{doubled[0]}' is used twice")
        known = {p.id for p in self.published}
        for claim in self.claims:
            for name in claim.published:
                if name not in known:
                    raise ValueError(f"claim {claim.id}: there is no published number '{name}'")
        return self

    def number(self, name: str) -> Published:
        """A published number by its id."""
        return next(p for p in self.published if p.id == name)


def load_papers(paths: Iterable[Path]) -> list[Paper]:
    """Read the papers' files.

    Raises
    ------
    ReproodError
        One sentence that names the file and the key.
    """
    papers = []
    for path in paths:
        try:
            paper = Paper.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise explain(error, str(path)) from error
        if paper.id != Path(path).stem:
            raise ReproodError(f"{path}: id is '{paper.id}'; expected the file's name, '{Path(path).stem}'.")
        papers.append(paper)
    return papers
