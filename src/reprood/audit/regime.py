"""Check that a claim's baseline is in a representative regime: neither at chance nor perfect, and trained to the end.

An effect on a baseline at chance, inverted or at the ceiling says little about the published one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprood.audit.claims import CALIBRATION, ERROR, LOCALISATION, Claim
from reprood.config.benchmark import Gate

ERRORS = (1.0, 0.8)  # percent; share of the error of a guess
ATTACKED = (1.0, 95.0)  # percent; attacks may leave fewer right answers than a guess
BOXES = (5.0, 95.0)  # percent
OVERLAP = (0.05, 0.97)  # au_pro, whose value for a guess depends on the masks


@dataclass(frozen=True)
class Regime:
    """What tells whether a baseline is representative, one value a replicate.

    Attributes
    ----------
    values : tuple of float
        Error in percent, metric of its maps, or AUROC of its score, the latter two in [0, 1].
    losses : tuple of float
        Final training losses; empty if they have no bound.
    gate : Gate
        The benchmark's bounds.
    classes : int
        Number of classes, for errors.
    """

    values: tuple[float, ...]
    losses: tuple[float, ...]
    gate: Gate
    classes: int = 0


def joined(parts: Sequence[Regime]) -> Regime:
    """Return the regime over the replicates of several benchmarks with the same bounds."""
    values = tuple(value for part in parts for value in part.values)
    losses = tuple(loss for part in parts for loss in part.losses)
    return Regime(values, losses, parts[0].gate, parts[0].classes)


def bounds(claim: Claim, regime: Regime) -> tuple[str, float, float]:
    """Return what is checked and its lowest and highest value, in percent."""
    if claim.metric == ERROR and claim.split.startswith("attacked"):
        return "error", *ATTACKED
    if claim.metric == ERROR or claim.metric in CALIBRATION:
        return "error", ERRORS[0], ERRORS[1] * 100 * (1 - 1 / max(regime.classes, 2))
    if claim.metric in LOCALISATION:
        return "error", *BOXES
    low, high = OVERLAP if claim.metric == "au_pro" else regime.gate.auroc
    what = {"au_pro": "overlap of its maps", "pixel_auroc": "pixel AUROC"}.get(claim.metric, "AUROC")
    return what, 100 * low, 100 * high


def unrepresentative(claim: Claim, label: str, regime: Regime) -> str:
    """Return why a baseline is not representative, with numbers; empty if it is."""
    what, low, high = bounds(claim, regime)
    points = 1 if what == "error" else 100
    value = points * float(np.mean(regime.values))
    if not low <= value <= high:
        rule = f"below the {low:.0f} % that we require of" if value < low else f"above the {high:.0f} % that we allow"
        return f"{label} has {value:.1f} % {what}, {rule} a baseline"
    loss, most = float(np.mean(regime.losses)) if regime.losses else 0.0, regime.gate.loss
    if most is not None and loss > most:
        return f"the training loss of {label} ends at {loss:.2f}, above the {most:g} that we allow a baseline"
    return ""
