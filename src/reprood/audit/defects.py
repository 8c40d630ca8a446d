"""Known defects in published code and libraries, with checks that demonstrate them on small examples. No torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError, model_validator

from reprood.config.records import Record
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
from reprood.core.yaml import read_yaml
from reprood.evaluate.metrics import auroc, detection_metrics, rank
from reprood.evaluate.variants import arpl_metrics, arpl_oscr, oe_fpr, oscr, trapezoid_aupr


def sigmoid() -> tuple[float, float, str]:
    """Return the AUROC of perfectly separated scores after a float32 sigmoid, and without it."""
    known, unknown = np.linspace(60, 90, 50), np.linspace(20, 50, 50)

    def squeezed(scores: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-scores.astype(np.float32)))

    wrong = float(auroc(rank(squeezed(known), squeezed(unknown)).counts()))
    return wrong, float(auroc(rank(known, unknown).counts())), "AUROC of perfectly separated scores between 20 and 90"


def trapezoid() -> tuple[float, float, str]:
    """Return AUPR (OOD positive) by the trapezoid rule, and average precision, of scores with many ties."""
    known, unknown = np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1]), np.array([0.9, 0.5, 0.1])
    right = detection_metrics(known, unknown)["aupr_out"]
    return trapezoid_aupr(known, unknown, ood_positive=True), right, "AUPR-out of nine scores of three values"


def nearest() -> tuple[float, float, str]:
    """Return FPR at the recall nearest to 95 %, and at the first recall that reaches it."""
    known, unknown = np.array([0.05, 0.2, 0.55, 0.9]), np.append(np.linspace(0.0, 0.3, 18), 0.55)
    right = detection_metrics(known, unknown)["fpr95_ood_positive"]
    return oe_fpr(known, unknown), right, "FPR at 95 % recall of 19 OOD images (18 / 19 is 94.7 %)"


def conventions() -> tuple[float, float, str]:
    """Return the two numbers that are both called FPR95."""
    chance = np.random.default_rng(0)
    found = detection_metrics(chance.normal(1.5, 2.0, 2000), chance.normal(0, 1, 2000))
    return found["fpr95_ood_positive"], found["fpr95_id_positive"], "FPR95 with OOD and with ID images as positives"


def one_short() -> tuple[float, float, str]:
    """Return ARPL's OSCR of a perfect result on ten images, and the exact value."""
    known, right, unknown = np.linspace(0.8, 0.9, 5), np.ones(5, bool), np.linspace(0.1, 0.2, 5)
    return arpl_oscr(known, right, unknown), oscr(known, right, unknown), "OSCR of a perfect result on ten images"


def tied() -> tuple[float, float, str]:
    """Return ARPL's AUROC when every image has the same score, and the exact value."""
    known, unknown = np.full(20, 0.7), np.full(20, 0.7)
    wrong = arpl_metrics(known, unknown)["AUROC"] / 100
    return wrong, float(auroc(rank(known, unknown).counts())), "AUROC when all scores are equal"


def centre() -> tuple[float, float, str]:
    """Return the largest distance (in eps) from the clean image of PGD projected around the noised or clean image."""
    clean, eps, step = np.full(1000, 0.5), 0.1, 0.03
    start = clean + np.random.default_rng(0).uniform(-eps, eps, clean.shape)
    ends = []
    for around in (start, clean):
        moved = start.copy()
        for _ in range(10):
            moved = np.clip(moved + step, around - eps, around + eps)
        ends.append(float(np.abs(moved - clean).max() / eps))
    return ends[0], ends[1], "largest distance from the clean image in units of eps"


CHECKS: dict[str, Callable[[], tuple[float, float, str]]] = {
    "sigmoid": sigmoid,
    "trapezoid_aupr": trapezoid,
    "fpr_nearest": nearest,
    "fpr_conventions": conventions,
    "oscr_one_short": one_short,
    "ties": tied,
    "pgd_centre": centre,
}


class Defect(Record):
    """A known defect.

    Attributes
    ----------
    id : str
    where, what, effect : str
        Whose code; what it does; how that changes numbers.
    source : str
        Where it was read.
    check : str
        A key of `CHECKS`; empty if there is no example.
    """

    id: str
    where: str
    what: str
    effect: str
    source: str
    check: str = ""

    @model_validator(mode="after")
    def _check_exists(self) -> "Defect":
        if self.check and self.check not in CHECKS:
            raise ValueError(f"there is no check '{self.check}'; known: {', '.join(CHECKS)}")
        return self

    def shown(self) -> tuple[float, float, str] | None:
        """Return the defective number, the correct one, and what they are; None without a check."""
        return CHECKS[self.check]() if self.check else None


def load_defects(path: Path) -> tuple[Defect, ...]:
    """Read `config/defects.yaml`.

    Raises
    ------
    ReproodError
        If the file is invalid; the message names the file and the key, or the id that is used twice.
    """
    try:
        found = TypeAdapter(tuple[Defect, ...]).validate_python(read_yaml(path) or ())
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(path))) from error
    ids = [defect.id for defect in found]
    doubled = sorted({name for name in ids if ids.count(name) > 1})
    if doubled:
        raise ReproodError(f"{path}: the id '{doubled[0]}' is used twice.")
    return found
