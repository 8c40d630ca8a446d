"""Records of the papers: bibliography, published numbers with their sources, and testable claims."""

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from reprood.audit.experiments import Experiment
from reprood.audit.published import Published, measured_metric
from reprood.audit.settings import Difference, Measurement, Setting
from reprood.config.benchmark import Benchmark
from reprood.config.conditions import is_condition
from reprood.config.records import Line, Record, check_name
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
from reprood.core.yaml import read_yaml
from reprood.evaluate.calibration import METRICS as CALIBRATION_METRICS
from reprood.evaluate.metrics import METRICS

Kind = Literal["difference", "non_inferior", "equivalent", "ordering", "signs", "equals"]
ANY = "*"  # every member or OOD set without a sign of its own

ERROR = "top1_error"
LOCALISATION = ("localisation_error", "gt_localisation_error")
SEGMENTATION = ("pixel_auroc", "au_pro")  # of anomaly maps, all test images pooled; in [0, 1]
OPEN_SET = ("oscr", "macro_f")  # of answers and a score; in [0, 1]
CALIBRATION = tuple(CALIBRATION_METRICS)  # of the confidence, plain or scaled; in [0, 1]
MAIN_CLAIMS = 6  # of a paper; tested together
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
    """

    id: str
    statement: Line
    exploratory: bool = False
    kind: Kind
    metric: str
    split: str = "test"
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
        if self.kind == "equals" and not self.where:
            raise ValueError("a claim of the kind equals names the setting of the number under 'where'")
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


class Paper(Record):
    """One paper: `config/papers/<id>.yaml`.

    Attributes
    ----------
    id : str
        The file's name without its ending.
    name : str
        Short name of the method; "": the title up to a colon.
    title, authors, venue, year : str, int
        Bibliography.
    arxiv : str
        Number on arXiv; "" for none.
    code, code_licence : str
        Address of the authors' code and its licence; "" for none.
    summary : str
        What the paper claims, in two sentences.
    method : str
        How the method works.
    arms : dict of Arm
        What the names of methods in the suites mean in this paper.
    settings : dict of Setting
        Settings of the published numbers, by the text under which numbers name them or by the id of a single number.
    published : tuple of Published
        Published numbers with their sources.
    claims : tuple of Claim
        What is tested.
    experiments : tuple of Experiment
        The paper's families of experiments and where each is run.
    """

    id: str
    name: Line = ""
    title: Line
    authors: Line
    venue: Line
    year: int
    arxiv: str = ""
    code: str = ""
    code_licence: str = ""
    summary: str
    method: str
    arms: dict[str, Arm]
    settings: dict[str, Setting] = {}
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = Field(min_length=1)
    experiments: tuple[Experiment, ...] = ()

    @property
    def short(self) -> str:
        """Name of the paper's method: `name`, or the title up to a colon."""
        return self.name or self.title.split(":")[0]

    @model_validator(mode="after")
    def _ids(self) -> "Paper":
        for what, ids in (("published", [p.id for p in self.published]), ("claims", [c.id for c in self.claims])):
            doubled = sorted({i for i in ids if ids.count(i) > 1})
            if doubled:
                raise ValueError(f"{what}: the id '{doubled[0]}' is used twice")
            for name in ids:
                check_name(name, f"{what} id")
        known = {p.id for p in self.published}
        for claim in self.claims:
            for name in claim.published:
                if name not in known:
                    raise ValueError(f"claim {claim.id}: there is no published number '{name}'")
                if not claim.study and measured_metric(self.number(name).metric) != claim.metric:
                    raise ValueError(f"claim {claim.id}: the published number '{name}' is not of {claim.metric}")
            if claim.published and len(claim.published) != len(claim.sides):
                raise ValueError(
                    f"claim {claim.id}: {len(claim.sides)} sides need as many published numbers, "
                    f"not {len(claim.published)}"
                )
        claims = {claim.id for claim in self.claims}
        for number in self.published:
            if number.than and number.than not in known:
                raise ValueError(f"published {number.id}: there is no published number '{number.than}'")
            for name in number.against:
                if name not in claims:
                    raise ValueError(f"published {number.id}: there is no claim '{name}'")
        return self

    @model_validator(mode="after")
    def _experiments(self) -> "Paper":
        claims, numbers = {c.id for c in self.claims}, {p.id for p in self.published}
        for experiment in self.experiments:
            for what, names, known in (
                ("claim", experiment.claims, claims),
                ("published number", experiment.published, numbers),
            ):
                for name in names:
                    if name not in known:
                        raise ValueError(f"experiment '{experiment.title}': there is no {what} '{name}'")
        return self

    def numbers_of(self, experiment: Experiment) -> list[Published]:
        """Return the published numbers of an experiment: those of its claims, then its own."""
        claims = (claim for claim in self.claims if claim.id in experiment.claims)
        names = dict.fromkeys((*(name for claim in claims for name in claim.published), *experiment.published))
        return [self.number(name) for name in names]

    @model_validator(mode="after")
    def _main_claims(self) -> "Paper":
        main = [claim for claim in self.claims if not claim.exploratory and claim.kind != "equals"]
        if len(main) > MAIN_CLAIMS:
            raise ValueError(
                f"{len(main)} claims are not marked 'exploratory', and at most {MAIN_CLAIMS} are main claims"
            )
        return self

    @model_validator(mode="after")
    def _arms(self) -> "Paper":
        named = {f"claim {c.id}": [side.method for side in c.sides] for c in self.claims if not c.study}
        named |= {f"published {p.id}": [p.measured_by] for p in self.published if p.measured_by}
        for where, names in named.items():
            for name in names:
                if name not in self.arms:
                    raise ValueError(f"{where}: there is no arm '{name}'; known under 'arms': {', '.join(self.arms)}")
        return self

    def method_of(self, arm: str, ran: Collection[str]) -> str | None:
        """Return the method of an arm among those that ran; None if there is none."""
        return next((name for name in (arm, *self.arms[arm].also) if name in ran), None)

    def number(self, name: str) -> Published:
        """Return the published number with an id."""
        return next(p for p in self.published if p.id == name)

    def setting_of(self, number: Published) -> Setting | None:
        """Return the setting of a published number, described by its id or by its text; None if it is not described."""
        return self.settings.get(number.id) or self.settings.get(number.setting)

    def auxiliary_of(self, number: Published) -> tuple[str, ...]:
        """Return the auxiliary set, if any, that the arm of a published number learns from."""
        arm = self.arms.get(number.measured_by)
        return (arm.auxiliary,) if arm is not None and arm.auxiliary else ()

    def split_on(self, number: Published, benchmark: Benchmark) -> str:
        """Return the split of a benchmark on which a published number is measured."""
        setting = self.setting_of(number)
        named = setting.split if setting is not None and number.score != "-" else ""
        return named if named in (*benchmark.ood, *benchmark.means) else number.split

    def compared(self, number: Published, measured: Measurement, split: str | None = None) -> list[Difference]:
        """Return how a measurement differs from the setting of a published number (see `settings.attached`).

        `split` is the OOD set or mean that is measured; default: that of the number.
        """
        setting = self.setting_of(number)
        if setting is None:
            return [Difference("unknown", f"the published setting ({number.setting}) is not described")]
        if split is None:
            split = self.split_on(number, measured.benchmark) if number.score != "-" else ""
        return setting.differences(measured, split, number.metric)


def judged_files(paths: Iterable[Path], suite: Suite) -> list[Path]:
    """Return the files of the papers that a suite or a selection of one judges, sorted."""
    return sorted(path for path in paths if not suite.papers or path.stem in suite.papers)


def load_papers(paths: Iterable[Path]) -> list[Paper]:
    """Read the papers' files.

    Raises
    ------
    ReproodError
        If a file is invalid; the message names the file and the key.
    """
    papers = []
    for path in paths:
        try:
            paper = Paper.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise ReproodError(explain_validation(error, str(path))) from error
        if paper.id != Path(path).stem:
            raise ReproodError(f"{path}: id is '{paper.id}'; expected the file's name, '{Path(path).stem}'.")
        papers.append(paper)
    return papers
