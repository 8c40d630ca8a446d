"""The record of a benchmark: what is trained on, and how the trained model is evaluated."""

from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from reprood.attacks.options import Attack
from reprood.config.leaderboard import Leaderboard
from reprood.config.perturbations import Between, Corruptions, Occlusion
from reprood.config.records import LabelNoise, Line, Outlier, Preparation, Record, Source, check_name

RESERVED_SPLITS = ("train", "validation", "test")
DERIVED_SPLITS = ("corrupted", "errors")  # computed from the test split
AUTOMATIC_MEANS = ("mean_all", "mean_natural", "mean_near", "mean_far", "mean_noise")

Evaluation = Literal[
    "classification",
    "detection",
    "open_set",
    "segmentation",
    "corruption",
    "adversarial",
    "occlusion",
    "between",
    "localisation",
    "misclassification",
    "calibration",
]

# Evaluation -> another one that it needs.
NEEDED = {
    "open_set": "detection",
    "segmentation": "detection",
    "misclassification": "classification",
    "calibration": "classification",
}


class OpenSet(Record):
    """How the macro-F measure separates known from unknown classes (DIAS' code).

    Attributes
    ----------
    scores : tuple of str
        Scores that are probabilities; a prediction is accepted when its score is above a / K + (1 - a) - margin.
    target : float
        The a of that threshold.
    margin : float
        The margin of that threshold.
    """

    scores: tuple[str, ...] = ("msp",)
    target: float = Field(default=0.5, ge=0, le=1)
    margin: float = 0.05


class Mean(Record):
    """A named group of OOD sets whose mean is reported.

    Attributes
    ----------
    sets : tuple of str
        Names under `ood`; each weighs the same.
    base_rate : str
        Share of OOD images among all at which the group's AUPR is computed, as a fraction ("1/6" for one OOD to five
        ID images); "": the share in the test sets.
    """

    sets: tuple[str, ...] = Field(min_length=1)
    base_rate: str = Field(default="", pattern=r"^([1-9][0-9]{0,5}/[1-9][0-9]{0,5})?$")

    @model_validator(mode="before")
    @classmethod
    def _only_sets(cls, value: Any) -> Any:
        return {"sets": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _checked(self) -> "Mean":
        if len(set(self.sets)) < len(self.sets):
            raise ValueError("an OOD set is named twice; name each once")
        if self.rate is not None and not 0 < self.rate < 1:
            raise ValueError(f"the base rate {self.base_rate} must be between 0 and 1")
        return self

    @property
    def rate(self) -> Fraction | None:
        """The base rate; None if none is stated."""
        return Fraction(self.base_rate) if self.base_rate else None


class Localisation(Record):
    """How boxes are read from class activation maps.

    Attributes
    ----------
    threshold : float
        Share of a map's maximum from which a position belongs to the object; 0.15 in CutMix, appendix B.
    """

    threshold: float = Field(default=0.15, gt=0, lt=1)


class Gate(Record):
    """What makes results representative.

    Attributes
    ----------
    accuracy : float
        In-distribution accuracy below which a run yields no detection metrics; 0: none.
    auroc : (float, float)
        Range of a baseline's mean AUROC in which claims on detection are judged (see `reprood.audit.regime`).
    loss : float or None
        Largest mean of a baseline's final training loss; None where labels are noisy or mixed.
    """

    accuracy: float = Field(default=0.0, ge=0, lt=1)
    auroc: tuple[float, float] = (0.65, 0.97)
    loss: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _range(self) -> "Gate":
        low, high = self.auroc
        if not 0 <= low < high <= 1:
            raise ValueError(f"auroc is {list(self.auroc)}; expected two ascending numbers in [0, 1]")
        return self


class Benchmark(Record):
    """A task: data to train on, and the evaluations of the trained model.

    Attributes
    ----------
    title : str
        Heading of its page.
    note : str
        Remark on its page.
    preparation : Preparation
        Size and channels of all images.
    train, validation, test : Source
        The in-distribution splits.
    ood : dict of Outlier
        OOD test sets by name.
    means : dict of Mean
        Groups of OOD sets by name, for instance those of a published mean, to which claims and numbers refer.
    auxiliary : dict of Source
        Further training sets by name, for methods that learn from outliers or from another domain.
    label_noise : LabelNoise or None
        Wrong labels in the training split; None: labels as they are.
    evaluations : tuple of str
        What is measured on the trained model. `misclassification` ranks right against wrong predictions by every score
        (split `errors`); `calibration` adds calibration errors, also after temperature scaling on validation images.
    corruption : Corruptions or None
        Corrupted copies of the test images, for the evaluation `corruption`.
    attacks : dict of Attack
        Attacks on the test images by name, for the evaluation `adversarial`.
    occlusion : Occlusion or None
        Holes in the test images, for the evaluation `occlusion`.
    between : Between or None
        Images between two test images, for the evaluation `between`.
    open_set : OpenSet
        Options of the evaluation `open_set`.
    localisation : Localisation
        Options of the evaluation `localisation`.
    family, member : str
        Set for a benchmark that is one of a family (one class each, or one split of known and unknown classes each).
        Claims are judged on the family, which is one benchmark for readers.
    replicate : int or None
        Set for a random split, on which this replicate alone runs.
    gate : Gate or None
        What makes results representative; None: the defaults for baselines, and no accuracy is required.
    allow : tuple of str
        Findings of the benchmark's linter that are accepted: "published_resize", "naive_resize", "duplicates:SPLIT" or
        "overlap:SPLIT:SPLIT".
    settings : dict
        Settings of all methods on this benchmark, merged over those of the suite.
    detectors : dict
        Detectors by name, with their options.
    features : bool
        Store penultimate features, and the outputs for training images, even when no detector of `detectors` needs
        them: every detector that makes no passes of its own can then be added without new predictions.
    leaderboard : Leaderboard or None
        A published one, next to which the report puts the numbers of the same settings.
    """

    title: Line
    note: str = ""
    preparation: Preparation
    train: Source
    validation: Source
    test: Source
    ood: dict[str, Outlier] = {}
    means: dict[str, Mean] = {}
    auxiliary: dict[str, Source] = {}
    label_noise: LabelNoise | None = None
    evaluations: tuple[Evaluation, ...] = ("classification", "detection")
    corruption: Corruptions | None = None
    attacks: dict[str, Attack] = {}
    occlusion: Occlusion | None = None
    between: Between | None = None
    open_set: OpenSet = OpenSet()
    localisation: Localisation = Localisation()
    family: str = ""
    member: str = ""
    replicate: SkipJsonSchema[int | None] = None
    gate: Gate | None = None
    allow: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    detectors: dict[str, dict[str, Any]] = {}  # checked by `pipeline.layout`: no job depends on all detectors
    features: bool = False
    leaderboard: Leaderboard | None = None

    @model_validator(mode="after")
    def _split_names(self) -> "Benchmark":
        names = [*RESERVED_SPLITS, *DERIVED_SPLITS, *self.ood, *self.auxiliary]
        for name in (*self.ood, *self.auxiliary):
            check_name(name, "split")
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"split names must be unique, and {', '.join(duplicates)} is used twice")
        if "detection" in self.evaluations and not self.ood:
            raise ValueError("the evaluation 'detection' needs at least one data set under 'ood'")
        for evaluation, needed in NEEDED.items():
            if evaluation in self.evaluations and needed not in self.evaluations:
                raise ValueError(f"the evaluation '{evaluation}' needs '{needed}' too")
        return self

    @model_validator(mode="after")
    def _groups(self) -> "Benchmark":
        taken = (*RESERVED_SPLITS, *DERIVED_SPLITS, *AUTOMATIC_MEANS, *self.ood, *self.auxiliary)
        for name, mean in self.means.items():
            check_name(name, "mean")
            if name in taken:
                raise ValueError(f"means.{name} has the name of a split or of an automatic mean; choose another")
            unknown = [one for one in mean.sets if one not in self.ood]
            if unknown:
                raise ValueError(f"means.{name} names '{unknown[0]}', which is not under 'ood': {', '.join(self.ood)}")
        if self.ood and all(outlier.extra for outlier in self.ood.values()):
            raise ValueError("every OOD set is marked 'extra', so that no mean is left; unmark those of the protocol")
        return self

    @model_validator(mode="after")
    def _evaluation_options(self) -> "Benchmark":
        given = {
            "corruption": ("corruption", self.corruption),
            "adversarial": ("attacks", self.attacks),
            "occlusion": ("occlusion", self.occlusion),
            "between": ("between", self.between),
        }
        for evaluation, (key, options) in given.items():
            if (evaluation in self.evaluations) != bool(options):
                wrong = f"is not among 'evaluations', but '{key}' is given" if options else f"needs '{key}'"
                raise ValueError(f"the evaluation '{evaluation}' {wrong}")
        for name in self.attacks:
            check_name(name, "attack")
        return self

    def splits(self) -> dict[str, Source]:
        """Return every split by name: train, validation, test, the OOD sets, the auxiliary sets."""
        fixed: dict[str, Source] = {"train": self.train, "validation": self.validation, "test": self.test}
        return {**fixed, **self.ood, **self.auxiliary}

    @property
    def varies(self) -> str:
        """What differs between the replicates of the benchmark besides seeds; "" for a benchmark of no family."""
        if not self.family:
            return ""
        count = len(self.train.classes or ())
        return "class splits" if count > 1 else "classes" if count else "members"

    @property
    def covers(self) -> str:
        """What intervals of means over replicates cover, for captions."""
        return f"{self.varies}, seeds and test images" if self.varies else "seeds and test images"

    def role(self, split: str) -> str:
        """Return the role of a split: train, validation, test, ood or auxiliary."""
        if split in RESERVED_SPLITS:
            return split
        return "ood" if split in self.ood else "auxiliary"
