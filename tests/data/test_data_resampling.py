"""Shrinking with artefacts, and images mixed with earlier ones."""

import numpy as np
import pytest
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.prepare import prepare_images
from reprood.data.resampling import mixed, shrink_naively, to_channels


def pictures(count: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width"),
    [(56, 56), (61, 33), (57, 83)],  # no middle falls between two pixels
)
def test_nearest_neighbour_of_pil(height, width) -> None:
    images = pictures(3, height, width, 3)
    size = 28
    scale = size / min(height, width)
    across, down = round(width * scale), round(height * scale)
    left, top = (across - size) // 2, (down - size) // 2
    for image, found in zip(images, shrink_naively(images, size), strict=True):
        small = Image.fromarray(image).resize((across, down), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(found, np.asarray(small.crop((left, top, left + size, top + size))))


def test_aliasing_is_there() -> None:
    """A fine chequerboard is grey when it is shrunk well and has contrast when it is not."""
    board = (255 * ((np.indices((112, 112)) // 3).sum(0) % 2)).astype(np.uint8)[None, :, :, None]
    good, naive = prepare_images(board, 28, 1), shrink_naively(board, 28)
    assert good.astype(float).std() < 20
    assert naive.astype(float).std() > 100


def test_same_place_as_the_preparation() -> None:
    """On smooth images both agree but for less than the difference of neighbours."""
    ramp = np.add.outer(np.arange(84), np.arange(112)).astype(np.uint8)[None, :, :, None]
    difference = prepare_images(ramp, 28, 1).astype(int) - shrink_naively(ramp, 28)
    assert np.abs(difference)[:, 2:-2, 2:-2].max() <= 4
    assert abs(difference[:, 2:-2, 2:-2].mean()) < 1


def test_images_must_be_larger() -> None:
    with pytest.raises(ReproodError, match="larger images"):
        shrink_naively(pictures(1, 28, 40), 28)


def test_channels() -> None:
    colour, grey = pictures(2, 9, 9, 3), pictures(2, 9, 9, 1)
    assert to_channels(colour, 3) is colour
    np.testing.assert_array_equal(to_channels(grey, 3)[..., 2:], grey)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colour])
    np.testing.assert_array_equal(to_channels(colour, 1)[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_mixed(dtype) -> None:
    images = pictures(7, 4, 4).astype(dtype)
    found = mixed(images, 3)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:3], images[:3])
    for row in range(3, 7):
        expected = (images[row].astype(float) + images[row - 3].astype(float)) / 2
        np.testing.assert_allclose(found[row], np.rint(expected) if dtype == np.uint8 else expected, rtol=1e-6)
    np.testing.assert_array_equal(mixed(images, 10), images)
