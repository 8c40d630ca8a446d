"""Metrics of anomaly maps against masks, all pixels of all test images pooled. No torch.

Pixel AUROC, and the per-region overlap (PRO) of P. Bergmann et al.: The MVTec Anomaly Detection Dataset, IJCV 129,
2021: for a threshold, the share of each connected region (8 neighbours) that is above it, averaged over regions, so
that a small defect weighs as much as a large one. Maps are higher where an image is more anomalous.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import auroc, rank

Floats = NDArray[np.float64]

LIMIT = 0.3
# Neighbours within an image; images of a stack do not touch.
NEIGHBOURS = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=int)


def regions(masks: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return numbers of connected anomalous regions of masks [N, H, W] (8 neighbours; 0 elsewhere) and their count."""
    numbers, count = ndimage.label(masks, structure=NEIGHBOURS)
    return numbers, int(count)


def _checked(maps: NDArray[np.generic], masks: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    scores, marked = np.asarray(maps, dtype=np.float64), np.asarray(masks)
    if scores.ndim != 3 or scores.shape != marked.shape or marked.dtype != bool:
        raise ReproodError(
            f"Anomaly maps have shape {scores.shape}, masks {marked.shape} and type {marked.dtype}; expected [N, H, W] "
            "twice, masks of type bool."
        )
    if marked.all() or not marked.any():
        raise ReproodError("Segmentation is measured on anomalous and normal pixels; the masks have one kind only.")
    if not np.isfinite(scores).all():
        raise ReproodError("Some pixels of the anomaly maps are not finite; repair the maps before evaluating.")
    return scores, marked


def pixel_auroc(maps: NDArray[np.generic], masks: NDArray[np.bool_]) -> float:
    """Return the AUROC of anomalous pixels (positive) against all others; ties count one half.

    Parameters
    ----------
    maps : array [N, H, W]
        Higher = more anomalous.
    masks : bool array [N, H, W]
        True where an image is anomalous.

    Raises
    ------
    ReproodError
        When shapes differ, a value is not finite, or the masks have one kind of pixel only.

    Examples
    --------
    >>> pixel_auroc(np.array([[[0.9, 0.1], [0.2, 0.3]]]), np.array([[[True, False], [False, False]]]))
    1.0
    """
    scores, marked = _checked(maps, masks)
    return float(auroc(rank(-scores[~marked], -scores[marked]).counts()))


def pro_curve(
    maps: NDArray[np.generic], masks: NDArray[np.bool_], thresholds: int | None = None
) -> tuple[Floats, Floats]:
    """Return false positive rates, ascending, and per-region overlaps at thresholds from the normal pixels' scores.

    A pixel counts as anomalous when its score is strictly above the threshold.

    Parameters
    ----------
    maps, masks : arrays [N, H, W]
        As in `pixel_auroc`.
    thresholds : int or None
        Number of thresholds, at equal distances in the order of the normal pixels (the data set's own code uses 100);
        None: every distinct score of a normal pixel.

    Returns
    -------
    rates, overlaps : float64 arrays
        In [0, 1]; the last point, for a threshold below all scores, is (1, 1).
    """
    scores, marked = _checked(maps, masks)
    normal = np.sort(scores[~marked])
    if thresholds is None:
        last = np.concatenate([normal[1:] != normal[:-1], [True]])
        places = np.flatnonzero(last)
    else:
        places = np.linspace(0, len(normal) - 1, num=thresholds, dtype=int)
    numbers, count = regions(marked)
    region = numbers[marked]
    weights = 1.0 / (np.bincount(region, minlength=count + 1)[region] * count)
    # A pixel with k normal scores below its own is above the thresholds at these k places; the weights add up to 1.
    above = np.searchsorted(normal, scores[marked], side="left")
    at = np.bincount(above, weights=weights, minlength=len(normal) + 1)
    overlap = at[::-1].cumsum()[::-1][1:]
    if thresholds is None:
        rates = 1.0 - (places + 1) / len(normal)
    else:
        rates = 1.0 - (np.searchsorted(normal, normal[places], side="right")) / len(normal)
        places = np.searchsorted(normal, normal[places], side="right") - 1
    return np.append(rates[::-1], 1.0), np.append(overlap[places][::-1], 1.0)


def area_below(rates: Floats, overlaps: Floats, limit: float) -> float:
    """Return the area under a curve (rates ascending, the last one 1) from 0 to `limit`, divided by `limit`.

    The curve is linear between its points.

    Examples
    --------
    >>> area_below(np.array([0.0, 1.0]), np.array([0.0, 1.0]), limit=0.5)
    0.25
    """
    if not 0 < limit <= 1:
        raise ReproodError(f"The area under the per-region overlap goes up to {limit}; expected a rate in (0, 1].")
    stop = int(np.searchsorted(rates, limit, side="right"))
    at_limit = np.interp(limit, rates, overlaps)
    return float(np.trapezoid(np.append(overlaps[:stop], at_limit), np.append(rates[:stop], limit)) / limit)


def au_pro(
    maps: NDArray[np.generic], masks: NDArray[np.bool_], limit: float = LIMIT, thresholds: int | None = None
) -> float:
    """Return the area under the per-region overlap up to a false positive rate `limit`, divided by it; in [0, 1].

    Arguments as in `pro_curve`.

    Raises
    ------
    ReproodError
        As in `pixel_auroc`.
    """
    return area_below(*pro_curve(maps, masks, thresholds), limit)
