"""Generated images: shapes, protocols, defects, mistakes."""

import numpy as np
import pytest
from scipy import stats

from reprood.core.errors import ReproodError
from reprood.data.generators import GENERATORS, generate

OPTIONS = {"count": 12, "size": 28, "channels": 1}


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_generators(name):
    extra = {"defect_textures": {"defective": 0.5}}.get(name, {})
    first, again, other = (generate(name, seed, {**OPTIONS, **extra}) for seed in (1, 1, 2))
    assert first.images.shape == (12, 28, 28, 1)
    assert first.images.dtype == np.uint8
    assert first.images.std() > 5
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert len(first.labels) == 12
    if name == "defect_textures":
        marked = first.extras["masks"].reshape(12, -1).any(1)
        assert np.array_equal(marked, first.labels > 0)
        assert marked.sum() == 6
    if name == "objects_on_canvas":
        for image, (x0, y0, x1, y1) in zip(first.images[..., 0], first.extras["boxes"].astype(int), strict=True):
            outside = image.copy()
            outside[y0:y1, x0:x1] = 0
            assert image[y0:y1, x0:x1].max() > outside.max(), "the brightest pixel is in the box"


def test_gaussian_noise_of_each_protocol():
    """Moments of N(0.5, d) clipped to [0, 1], and of Outlier Exposure's network inputs, N(0, 0.5) clipped to 1."""
    big = {"count": 300, "size": 32, "channels": 3}
    for deviation in (1.0, 0.5):
        values = generate("gaussian_noise", 3, {**big, "deviation": deviation}).images / 255
        exact = stats.norm(0.5, deviation)
        assert values.mean() == pytest.approx(0.5, abs=0.003)
        assert (values == 0).mean() == pytest.approx(exact.cdf(0.5 / 255), abs=0.003)
    plain = generate("gaussian_noise", 3, big).images
    assert np.array_equal(plain, generate("gaussian_noise", 3, {**big, "deviation": 1.0}).images)
    mean, std = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])
    inputs = (generate("oe_gaussian", 3, big).images - mean) / std
    assert np.abs(inputs).max() <= 1 + 0.5 / std.min()
    np.testing.assert_allclose(inputs.mean(axis=(0, 1, 2)), 0, atol=0.005)
    clipped = np.clip(stats.norm(0, 0.5).ppf((np.arange(100_000) + 0.5) / 100_000), -1, 1)
    np.testing.assert_allclose(inputs.std(axis=(0, 1, 2)), clipped.std(), atol=0.005)


def test_defects_change_only_their_place():
    whole = generate("defect_textures", 5, {**OPTIONS, "size": 64})
    marred = generate("defect_textures", 5, {**OPTIONS, "size": 64, "defective": 1.0})
    for good, bad, mask in zip(whole.images, marred.images, marred.extras["masks"], strict=True):
        changed = np.abs(good.astype(int) - bad)[..., 0] > 3
        assert changed[mask > 0].mean() > 0.15
        assert changed[mask == 0].mean() < 0.1


def test_unknown_generator_or_option():
    with pytest.raises(ReproodError, match="known: uniform_noise"):
        generate("snow", 0, OPTIONS)
    with pytest.raises(ReproodError, match="unexpected keyword"):
        generate("blobs", 0, {**OPTIONS, "colour": 1})
