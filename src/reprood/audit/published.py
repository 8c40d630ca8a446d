"""Records of published numbers: value, spread, where they were read, and which measurement corresponds to them."""

from typing import Literal

from pydantic import Field, model_validator

from reprood.config.records import Line, Record

Source = Literal["paper", "repository", "issue", "copy", "recalled"]

SOURCE_WORDS = {
    "paper": "read in the paper",
    "repository": "read in its repository",
    "issue": "read in a discussion of its repository",
    "copy": "read in a copy",
    "recalled": "unverified citation",
}

# published metrics that are the complement (100 % minus) of a measured one, or have another name
COMPLEMENTS = {
    "accuracy": "top1_error",
    "fgsm_accuracy": "top1_error",
    "localisation_accuracy": "localisation_error",
    "tnr95": "fpr95_id_positive",
    "detection_accuracy": "detection_error",
}
SYNONYMS = {"ece": "ece15"}


def measured_metric(metric: str) -> str:
    """Return the metric that is measured here in place of a published one: its complement, or itself."""
    return COMPLEMENTS.get(metric) or SYNONYMS.get(metric, metric)


class Published(Record):
    """A published number.

    Attributes
    ----------
    id : str
        Unique in the paper's file.
    where, setting, method, metric, unit : str
        Table or figure; data and network; row; metric and its unit.
    value : float
        The number as printed.
    spread : float or None
        The number printed after the sign +-, in the unit of the value.
    spread_is : {"", "standard error", "standard deviation"}
        What the spread is; empty if the source does not say so.
    source : {"paper", "repository", "issue", "copy", "recalled"}
        Where the number was read. A "copy" is a later document that repeats it; "recalled" numbers are from memory and
        are shown as unverified citations.
    read_in : str
        The document in which a copy was read.
    measured_by : str
        Name of the corresponding arm; empty if there is none.
    score, split : str
        The corresponding score and split (or mean over OOD sets), for detection metrics.
    member : str
        The corresponding member of a family of benchmarks.
    members : int
        Number of members of a family over which the published mean is taken; 0 if it is not such a mean.
    against : tuple of str
        Ids of the claims against which this number speaks, for measurements by others; shown with these claims.
    than : str
        Id of the number with which that measurement compares this one.
    """

    id: str
    where: Line
    setting: Line
    method: Line
    metric: Line
    value: float
    unit: Line = "%"
    spread: float | None = Field(default=None, ge=0)
    spread_is: Literal["", "standard error", "standard deviation"] = ""
    source: Source
    read_in: Line = ""
    measured_by: str = ""
    score: str = "-"
    split: str = "test"
    member: str = ""
    members: int = Field(default=0, ge=0)
    against: tuple[str, ...] = ()
    than: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Published":
        if (self.source == "copy") != bool(self.read_in):
            raise ValueError(f"published {self.id}: 'read_in' names the document of a copy, and only of a copy")
        if self.spread_is and self.spread is None:
            raise ValueError(f"published {self.id}: 'spread_is' needs a spread")
        if self.than and not self.against:
            raise ValueError(f"published {self.id}: 'than' needs 'against'")
        return self

    @property
    def as_measured(self) -> float:
        """The value of `measured_metric`, in percent."""
        return round(100 - self.value, 8) if self.metric in COMPLEMENTS else self.value

    @property
    def verified(self) -> bool:
        """Whether the number was read somewhere and is not cited from memory."""
        return self.source != "recalled"

    @property
    def read(self) -> str:
        """Where the number was read, in words."""
        return f"read in {self.read_in}" if self.read_in else SOURCE_WORDS[self.source]
