"""Anomaly maps as the predict stage stores them, and resampling of their metrics over test images. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprood.core.errors import ReproodError
from reprood.evaluate.map_codec import LEVELS, unpack_maps
from reprood.evaluate.predictions import Predictions
from reprood.evaluate.resample import Replicates, draw_counts
from reprood.evaluate.segmentation import LIMIT, au_pro, pixel_auroc, regions

BINS = LEVELS + 1  # of the score axis, in resampling: one per level
METRICS = {"pixel_auroc": pixel_auroc, "au_pro": au_pro}


@dataclass(frozen=True)
class Maps:
    """Anomaly maps of test images.

    Attributes
    ----------
    levels : uint16 array [N, H, W]
        A linear scale of the run's scores, higher = more anomalous.
    masks : bool array [N, H, W]
        True where an image is anomalous.
    """

    levels: NDArray[np.uint16]
    masks: NDArray[np.bool_]


def has_maps(predictions: Predictions) -> bool:
    """Return whether the run's method computes maps."""
    return "maps" in predictions.facts


def stored_maps(predictions: Predictions, splits: Sequence[str]) -> Maps:
    """Return the maps of some splits, one after the other.

    Raises
    ------
    ReproodError
        When there are none, or their size is not the stated one.
    """
    if not has_maps(predictions):
        raise ReproodError("The predictions hold no anomaly maps: the method computes none.")
    side = int(predictions.facts["maps"]["side"])
    levels, masks = [], []
    for split in splits:
        rows = predictions.split(split)
        for level, mask in zip(rows["map"], rows["mask"], strict=True):
            if level is None or mask is None or len(level) != 2 * side * side or len(mask) != -(-side * side // 8):
                raise ReproodError(f"A stored map of {split} is not of {side} x {side} pixels; predict it again.")
            levels.append(level)
            packed = np.unpackbits(np.frombuffer(mask, np.uint8), count=side * side)
            masks.append(packed.reshape(side, side).astype(bool))
    maps = unpack_maps(levels, side)
    if maps.max() > LEVELS:
        raise ReproodError(f"A stored map has a level above {LEVELS}; predict it again.")
    return Maps(maps, np.stack(masks))


@dataclass(frozen=True)
class _Histograms:
    """Counts by image and bin of the score, from the highest bin down, cumulated: int or float [N, BINS]."""

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    count: NDArray[np.float64]


def _cumulated(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.bincount(bins, minlength=BINS)[::-1].cumsum().astype(np.float64)


def _histograms(maps: Maps) -> _Histograms:
    bins = maps.levels.astype(np.int64)
    inside = np.stack([_cumulated(b[m]) for b, m in zip(bins, maps.masks, strict=True)])
    outside = np.stack([_cumulated(b[~m]) for b, m in zip(bins, maps.masks, strict=True)])
    overlaps, count = np.zeros_like(inside), np.zeros(len(bins))
    numbers, _ = regions(maps.masks)
    for i, labels in enumerate(numbers):
        for region in np.unique(labels[labels > 0]):
            chosen = bins[i][labels == region]
            overlaps[i] += _cumulated(chosen) / len(chosen)
            count[i] += 1
    return _Histograms(inside, outside, overlaps, count)


def _auroc(true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area by the trapezoid rule on cumulated counts [R, BINS]: ties inside a bin count one half."""
    true = np.pad(true / true[:, -1:], ((0, 0), (1, 0)))
    false = np.pad(false / false[:, -1:], ((0, 0), (1, 0)))
    return np.asarray(np.trapezoid(true, false, axis=1))


def _limited(overlap: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the overlap (PRO) up to a false positive rate of 0.3, divided by 0.3."""
    false = np.pad(false, ((0, 0), (1, 0)))
    overlap = np.pad(overlap, ((0, 0), (1, 0)))
    areas = np.empty(len(false))
    for row, (x, y) in enumerate(zip(false, overlap)):
        stop = int(np.searchsorted(x, LIMIT, side="right"))
        at_limit = np.interp(LIMIT, x, y)
        areas[row] = np.trapezoid(np.append(y[:stop], at_limit), np.append(x[:stop], LIMIT)) / LIMIT
    return areas


def replicate_segmentation(
    arms: Sequence[Sequence[Maps]], metric: str, generator: np.random.Generator, replicates: int = 1000
) -> Replicates:
    """Resample the test images and compute a metric of the pooled pixels for every run.

    Parameters
    ----------
    arms : sequence of sequences of Maps
        Methods, and the seeds of each. All runs hold the same images in the same order.
    metric : {"pixel_auroc", "au_pro"}
        What is computed.
    generator : numpy Generator
        Draws the resamplings.
    replicates : int
        Number of resamplings.

    Returns
    -------
    Replicates
        A resampling without anomalous pixels is replaced by all images once.

    Raises
    ------
    ReproodError
        When runs hold different numbers of images.
    """
    sizes = {len(run.levels) for arm in arms for run in arm}
    if len(sizes) != 1:
        raise ReproodError(f"Paired intervals need the same test images in every run, not {sorted(sizes)}.")
    (size,) = sizes
    weights = draw_counts(generator, size, replicates).astype(np.float64)
    anomalous = arms[0][0].masks.any(axis=(1, 2))
    weights[(weights[:, anomalous].sum(axis=1) == 0) | (weights[:, ~anomalous].sum(axis=1) == 0)] = 1.0
    observed, resampled = [], []
    for arm in arms:
        values = np.empty((replicates, len(arm)))
        for seed, run in enumerate(arm):
            counts = _histograms(run)
            false = weights @ counts.outside
            if metric == "pixel_auroc":
                values[:, seed] = _auroc(weights @ counts.inside, false)
            else:
                overlap = (weights @ counts.overlaps) / (weights @ counts.count)[:, None]
                values[:, seed] = _limited(overlap, false / false[:, -1:])
        observed.append(np.array([METRICS[metric](run.levels, run.masks) for run in arm]))
        resampled.append(values)
    return Replicates(observed, resampled, size, 0)
