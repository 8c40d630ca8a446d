"""Anomaly maps as bytes: nothing is lost, smooth maps get small, and 12 bits are enough."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprood.evaluate.map_codec import LEVELS, pack_maps, unpack_maps
from reprood.evaluate.segmentation import au_pro, pixel_auroc


@given(arrays(np.uint16, st.sampled_from([(1, 1, 1), (2, 3, 3), (3, 8, 8)])))
def test_any_map_comes_back_as_it_was(levels: np.ndarray) -> None:
    packed = pack_maps(levels)
    assert [len(one) for one in packed] == [2 * levels[0].size] * len(levels)
    assert np.array_equal(unpack_maps(packed, levels.shape[1]), levels)


def smooth(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of waves [count, side, side] in [0, 1], and masks of where they are high."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    waves = sum(np.sin(2 * np.pi * (a * y + b * x + c)) for a, b, c in chance.uniform(0, 1, (4, 3, count, 1, 1)))
    maps = (waves - waves.min()) / np.ptp(waves)
    return maps, maps + chance.normal(0, 0.2, maps.shape) > 0.8


def test_a_plane_is_all_zeros_behind_its_edges() -> None:
    y, x = np.mgrid[:16, :16]
    (packed,) = pack_maps((40 + 3 * y + 5 * x).astype(np.uint16)[None])
    low = np.frombuffer(packed[:256], np.uint8).reshape(16, 16)
    assert not low[1:, 1:].any()
    assert low.any()


def test_smooth_maps_get_small() -> None:
    levels = (smooth(5, 64)[0] * LEVELS).round().astype(np.uint16)
    assert len(zlib.compress(b"".join(pack_maps(levels)))) < 0.7 * len(zlib.compress(levels.tobytes()))


def test_metrics_of_12_bits_are_those_of_the_scores() -> None:
    maps, masks = smooth(20, 32)
    levels = (maps * LEVELS).round().astype(np.uint16)
    assert pixel_auroc(levels, masks) == pytest.approx(pixel_auroc(maps, masks), abs=1e-4)
    assert au_pro(levels, masks) == pytest.approx(au_pro(maps, masks), abs=1e-3)


def test_a_string_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="4 x 4"):
        unpack_maps([bytes(30)], 4)
