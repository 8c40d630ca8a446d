"""Stored anomaly maps and the resampling of their metrics."""

import numpy as np
import pandas as pd
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate.map_codec import LEVELS, pack_maps
from reprood.evaluate.maps import METRICS, Maps, has_maps, replicate_segmentation, stored_maps
from reprood.evaluate.predictions import Predictions


def some(seed: int, count: int = 12, side: int = 16, quality: float = 1.0) -> Maps:
    chance = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), dtype=bool)
    shared = np.random.default_rng(99)
    for mask in masks[: count // 2]:
        for _ in range(shared.integers(1, 3)):
            row, column = shared.integers(0, side - 4, 2)
            mask[row : row + 3, column : column + 4] = True
    score = chance.normal(size=masks.shape) + quality * masks
    levels = (score - score.min()) / (score.max() - score.min()) * LEVELS
    return Maps(levels.round().astype(np.uint16), masks)


def taken(maps: Maps, weights: np.ndarray) -> Maps:
    rows = np.repeat(np.arange(len(maps.levels)), weights)
    return Maps(maps.levels[rows], maps.masks[rows])


@pytest.mark.parametrize("metric", ["pixel_auroc", "au_pro"])
def test_resampled_values_are_those_of_repeated_images(metric: str) -> None:
    maps = some(1)
    found = replicate_segmentation([[maps]], metric, np.random.default_rng(4), 20)
    counts = np.random.default_rng(4).integers(0, 12, size=(20, 12))
    for row, drawn in enumerate(counts):
        weights = np.bincount(drawn, minlength=12)
        exact = METRICS[metric](*_pair(taken(maps, weights)))
        assert found.resampled[0][row, 0] == pytest.approx(exact, abs=1e-3)
    assert found.observed[0][0] == METRICS[metric](maps.levels, maps.masks)
    assert (found.n_id, found.n_ood) == (12, 0)


def _pair(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    return maps.levels, maps.masks


def test_runs_are_paired_and_a_better_one_is_better() -> None:
    good, bad = some(1, quality=2.0), some(1, quality=0.2)
    found = replicate_segmentation([[good], [bad, bad]], "au_pro", np.random.default_rng(0), 100)
    assert (found.resampled[0][:, 0] > found.resampled[1][:, 0]).mean() > 0.95
    assert np.array_equal(found.resampled[1][:, 0], found.resampled[1][:, 1])
    with pytest.raises(ReproodError, match="same test images"):
        replicate_segmentation([[good], [some(1, count=10)]], "au_pro", np.random.default_rng(0), 10)


def stored(maps: Maps, side: int) -> Predictions:
    table = pd.DataFrame(
        {
            "split": ["test"] * 6 + ["defects"] * 6,
            "map": pack_maps(maps.levels[::-1]),
            "mask": [np.packbits(mask).tobytes() for mask in maps.masks[::-1]],
        }
    )
    return Predictions(table, {"maps": {"side": side}})


def test_stored_maps_come_back_as_they_were() -> None:
    maps = some(2)
    predictions = stored(maps, 16)
    assert has_maps(predictions)
    found = stored_maps(predictions, ("test", "defects"))
    assert np.array_equal(found.levels, maps.levels[::-1])
    assert np.array_equal(found.masks, maps.masks[::-1])
    assert not stored_maps(predictions, ("test",)).masks.any()


def test_damaged_or_missing_maps_are_told() -> None:
    with pytest.raises(ReproodError, match="not of 8 x 8 pixels"):
        stored_maps(stored(some(2), 8), ("test",))
    high = some(2)
    high.levels[3, 4, 5] = LEVELS + 1
    with pytest.raises(ReproodError, match=f"a level above {LEVELS}"):
        stored_maps(stored(high, 16), ("test", "defects"))
    with pytest.raises(ReproodError, match="no anomaly maps"):
        stored_maps(Predictions(pd.DataFrame(), {}), ("test",))
