"""Metrics of anomaly maps against masks, all pixels of all test images pooled. No torch."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reprood.evaluate.metrics import auroc, rank

EIGHT = np.ones((3, 3), dtype=int)


def pixel_auroc(maps: NDArray[np.generic], masks: NDArray[np.bool_]) -> float:
    """AUROC of anomalous pixels (positive) against all others; ties count one half."""
    scores = np.asarray(maps, dtype=np.float64)
    return float(auroc(rank(-scores[~masks], -scores[masks]).counts()))


def au_pro(maps: NDArray[np.generic], masks: NDArray[np.bool_], limit: float = 0.3) -> float:
    """Area under the per-region overlap up to a false positive rate of `limit`, divided by `limit`."""
    scores = np.asarray(maps, dtype=np.float64)
    thresholds, counts = np.unique(scores[~masks], return_counts=True)
    above = counts[::-1].cumsum()[::-1] - counts
    rates = above / counts.sum()
    overlaps = np.zeros(len(thresholds))
    regions = 0
    for score, mask in zip(scores, masks, strict=True):
        labels, count = ndimage.label(mask, structure=EIGHT)
        for region in range(1, count + 1):
            inside = np.sort(score[labels == region])
            overlaps += (len(inside) - np.searchsorted(inside, thresholds, side="right")) / len(inside)
            regions += 1
    x, y = np.append(rates, 1.0)[np.argsort(np.append(rates, 1.0), kind="stable")], None
    order = np.argsort(rates, kind="stable")
    x, y = np.append(rates[order], 1.0), np.append(overlaps[order] / regions, 1.0)
    stop = int(np.searchsorted(x, limit, side="right"))
    return float(np.trapezoid(np.append(y[:stop], np.interp(limit, x, y)), np.append(x[:stop], limit)) / limit)
