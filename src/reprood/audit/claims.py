"""Records of claims: a published statement in testable form, its sides and the arms that they compare."""

import math
from typing import Literal

from pydantic import Field, model_validator

from reprood.audit.settings import Setting
from reprood.config.benchmark import Benchmark
from reprood.config.conditions import is_condition
from reprood.config.records import Line, Record
from reprood.evaluate.calibration import METRICS as CALIBRATION_METRICS
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.misclassification import ERRORS

Kind = Literal["difference", "non_inferior", "equivalent", "ordering", "signs", "equals"]
ANY = "*"  # every member or OOD set without a sign of its own

ERROR = "top1_error"
LOCALISATION = ("localisation_error", "gt_localisation_error")
SEGMENTATION = ("pixel_auroc", "au_pro")  # of anomaly maps, all test images pooled; in [0, 1]
OPEN_SET = ("oscr", "macro_f")  # of answers and a score; in [0, 1]
CALIBRATION = tuple(CALIBRATION_METRICS)  # of the confidence, plain or scaled; in [0, 1]
PLAIN = (ERROR, *LOCALISATION, *SEGMENTATION)  # of no score
JUDGED = (*PLAIN, *METRICS, *OPEN_SET, *CALIBRATION)


def unit(metric: str) -> float:
    """Return one point (one percent) in a metric's own unit.

    Detection metrics are stored in [0, 1], errors in percent; numbers of studies have no unit.
    """
    return 0.01 if metric in (*METRICS, *SEGMENTATION, *OPEN_SET, *CALIBRATION) else 1.0


def largest(metric: str, study: str = "") -> float:
    """Return a metric's largest value in its own unit (100 percent; the smallest is 0); infinite for studies."""
    return math.inf if study else 100 * unit(metric)


class Arm(Record):
    """A method as the paper's file names it.

    Attributes
    ----------
    means : str
        The paper's name for it.
    also : tuple of str
        Other names of the method in suites, for instance trained with this paper's recipe.
    auxiliary : str
        The benchmark's auxiliary set that it learns from; "" for none.
    """

    means: Line
    also: tuple[str, ...] = ()
    auxiliary: str = ""


class Side(Record):
    """One side of a comparison: an arm and a score.

    Attributes
    ----------
    method : str
        An arm of the paper's file, or of the study.
    score : str
        "-" for classification metrics. A trailing "*" takes the best of the scores with this beginning, in hindsight
        (for judging a choice, never for making one).
    split : str
        Split on which this side is measured; empty for the claim's split.
    ensemble : bool
        The score of an image is the mean over the seeds (on a family over those of one member).
    """

    method: str
    score: str = "-"
    split: str = ""
    ensemble: bool = False

    @property
    def label(self) -> str:
        """Method, score and split as one text."""
        how = "ensemble of seeds" if self.ensemble else ""
        inner = ", ".join(part for part in (self.score.replace("-", ""), self.split, how) if part)
        return f"{self.method} ({inner})" if inner else self.method


class Claim(Record):
    """A published statement in testable form.

    Attributes
    ----------
    id : str
        Name in files and links.
    statement : str
        The claim in one sentence.
    kind : str
        difference: `sides[0]` is better than `sides[1]` by more than `margin`; non_inferior: it is not worse by more
        than `margin`; equivalent: the two differ by less than `margin`; ordering: each side is better than the next;
        signs: `sides[0]` is better or worse than `sides[1]` by more than `margin`, as stated for each member or set;
        equals: `sides[0]` has the published value within `margin` (judged at the paper's scale only).
    metric : str
        A metric of the evaluate stage, or of the study.
    split : str
        "test", an OOD set, a mean over OOD sets, `errors` (right against wrong predictions), or for the error a
        condition (`corrupted`, `attacked/pgd20`, ...).
    test : str
        Data set of the test images of the benchmarks it applies to; "": any.
    mean : str
        Group of OOD sets, or OOD set, that replaces `split` on benchmarks that have it.
    study : str
        Name of the study's module, for a claim on a study's numbers; its sides' methods are the study's arms.
    label_noise : (float, float) or None
        Range of label-noise strengths of the benchmarks it applies to; None: benchmarks with clean labels.
    sides : tuple of Side
        What is compared; the last one is the baseline.
    better : {"higher", "lower"}
        Which values of the metric are better.
    over : {"", "members", "sets"}
        What a pattern of signs covers: the members of a family (classes, splits), or the OOD sets of `split`.
    signs : mapping
        "better" or "worse" for each member or OOD set, for the kind signs; "*" means all that are not named.
    margin : float
        In the metric's unit.
    relevant : float
        Smallest effect that matters, in the metric's unit like `margin`; 0: none is stated.
    gate : bool
        Whether the baseline, the last side, must be in a representative regime (see `reprood.audit.regime`); False
        where it is no classifier or detector that is meant to work, and `note` says why.
    min_seeds : int
        A result with fewer seeds is open, in suites without looks, and on single members.
    min_steps : int
        After fewer updates (of the last training phase) the claim is not judged: the suite can never decide it.
    where : tuple of Setting
        Settings for which the paper makes the claim. In others a verdict is at reduced scale. Empty: any setting.
    differs : tuple of str
        Settings of the training recipe (`training.epochs`, `backbone`, `seeds`; a name covers those below it) that the
        sides do not share although the claim is not about them; `note` says why. See `reprood.audit.recipes`.
    published : tuple of str
        Ids of the published numbers of the sides, in their order.
    exploratory : bool
        Not one of the paper's main claims (at most six): judged without Holm's correction, and marked as such.
    note : str
        Remark on its card.
    ours : bool
        Not made by the paper: a control of this project.
    requires : tuple of {"data", "network"}
        What has to be as in one of `where`: a claim about a data set or a network is judged on no other.
    """

    id: str
    statement: Line
    exploratory: bool = False
    kind: Kind
    metric: str
    split: str = "test"
    test: str = ""
    mean: str = ""
    study: str = ""
    label_noise: tuple[float, float] | None = None
    sides: tuple[Side, ...] = Field(min_length=1)
    better: Literal["higher", "lower"]
    over: Literal["", "members", "sets"] = ""
    signs: dict[str, Literal["better", "worse"]] = {}
    margin: float = Field(default=0.0, ge=0)
    relevant: float = Field(default=0.0, ge=0)
    gate: bool = True
    min_seeds: int = Field(default=3, ge=1)
    min_steps: int = Field(default=0, ge=0)
    where: tuple[Setting, ...] = ()
    differs: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    note: str = ""
    ours: bool = False
    requires: tuple[Literal["data", "network"], ...] = ()

    @model_validator(mode="after")
    def _number_of_sides(self) -> "Claim":
        wanted = {"equals": "1", "ordering": "2 or more"}.get(self.kind, "2")
        good = {"equals": len(self.sides) == 1, "ordering": len(self.sides) >= 2}.get(self.kind, len(self.sides) == 2)
        if not good:
            raise ValueError(f"a claim of the kind {self.kind} has {wanted} sides, not {len(self.sides)}")
        if self.kind in ("equivalent", "non_inferior", "equals") and self.margin == 0:
            raise ValueError(f"a claim of the kind {self.kind} needs a margin above 0")
        if (self.kind == "signs") != bool(self.over and self.signs):
            raise ValueError("claims of the kind signs, and only those, need 'over' and 'signs'")
        if self.kind == "signs" and self.published:
            raise ValueError("a claim of the kind signs names no published numbers: each member has its own")
        if self.kind == "equals" and len(self.published) != 1:
            raise ValueError("a claim of the kind equals names the one published number it compares with")
        if not self.gate and not self.note:
            raise ValueError("'gate: false' needs a 'note' that says why the baseline need not be representative")
        if self.kind == "equals" and self.relevant:
            raise ValueError("a claim of the kind equals has no relevant effect: it is about a value")
        if (self.kind == "equals" or self.requires) and not self.where:
            what = "of the kind equals" if self.kind == "equals" else "with 'requires'"
            raise ValueError(f"a claim {what} names its setting under 'where'")
        return self

    @model_validator(mode="after")
    def _metric(self) -> "Claim":
        if self.over == "sets" and (self.study or self.metric not in METRICS):
            raise ValueError("a pattern of signs over OOD sets needs a detection metric")
        if self.study:
            if any(side.score != "-" or side.split for side in self.sides):
                raise ValueError("the sides of a claim on a study are its arms, without score and split")
            return self
        if self.metric not in JUDGED:
            raise ValueError(f"the metric '{self.metric}' cannot be judged; known: {', '.join(JUDGED)}")
        plain = self.metric in PLAIN
        if self.metric not in METRICS and any(side.ensemble for side in self.sides):
            raise ValueError(f"an ensemble of seeds has a score, and {self.metric} is no detection metric")
        if any(side.ensemble for side in self.sides) and [side.ensemble for side in self.sides] != [True, False]:
            raise ValueError("an ensemble of seeds is the first side, compared with its own seeds")
        if self.sides[0].ensemble and (self.sides[0].method, self.sides[0].score) != (
            self.sides[1].method,
            self.sides[1].score,
        ):
            raise ValueError("an ensemble of seeds is compared with its own seeds: one method and score on both sides")
        of_errors = [self.split_of(side) == ERRORS for side in self.sides]
        single = not any(side.ensemble or side.score.endswith("*") for side in self.sides)
        if any(of_errors) and not (all(of_errors) and self.split == ERRORS and single):
            raise ValueError("'errors' is the split of a whole claim, for single scores without ensembles")
        for side in self.sides:
            if plain != (side.score == "-"):
                need = "takes no score" if plain else "needs a score"
                raise ValueError(f"the metric {self.metric} {need} on the side of {side.method}")
        for split in {side.split or self.split for side in self.sides}:
            condition = is_condition(split) and self.metric == ERROR
            on_test = plain or self.metric in CALIBRATION
            if not condition and on_test != (split == "test"):
                raise ValueError(f"the metric {self.metric} is not measured on the split '{split}'")
        return self

    def split_of(self, side: Side) -> str:
        """Return the split on which a side is measured."""
        return side.split or self.split

    def on(self, benchmark: Benchmark) -> "Claim":
        """Return the claim with the split on which it is judged: the named group or set if the benchmark has it."""
        known = self.mean in (*benchmark.means, *benchmark.ood)
        return self.model_copy(update={"split": self.mean}) if known else self
