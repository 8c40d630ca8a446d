"""Families of shifts: against numpy, order of the batch, errors."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from reprood.core.errors import ReproodError
from reprood.methods.csi import shifts
from reprood.methods.csi.views import assembled


def picture(count: int = 3, height: int = 5, width: int = 5, channels: int = 2) -> torch.Tensor:
    return torch.arange(count * channels * height * width, dtype=torch.float32).view(count, channels, height, width)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (6, 3)])
def test_exchanged_halves(height, width) -> None:
    images = picture(2, height, width).numpy()
    for number in range(4):
        expected = images
        if number // 2:
            expected = np.concatenate((expected[:, :, height // 2 :], expected[:, :, : height // 2]), 2)
        if number % 2:
            expected = np.concatenate((expected[..., width // 2 :], expected[..., : width // 2]), 3)
        np.testing.assert_array_equal(shifts.shift(torch.from_numpy(images), "cutperm", number).numpy(), expected)


@pytest.mark.parametrize("kind", ["rotation", "cutperm", "none"])
def test_order_and_numbers(kind) -> None:
    images, count = picture(), shifts.COUNTS[kind]
    every, numbers = shifts.all_shifts(images, kind), shifts.shift_numbers(3, kind)
    assert every.shape == (3 * count, 2, 5, 5)
    assert torch.equal(every[:3], images)
    assert numbers.tolist() == [k for k in range(count) for _ in range(3)]
    for row, k in enumerate(numbers.tolist()):
        assert torch.equal(every[row], shifts.shift(images[row % 3 : row % 3 + 1], kind, k)[0])
    assert len({tuple(image.flatten().tolist()) for image in every}) == 3 * count
    chosen = torch.arange(3) % count
    mixed = shifts.random_shift(images, kind, chosen, torch.Generator())
    assert torch.equal(mixed, torch.stack([every[3 * int(k) + i] for i, k in enumerate(chosen)]))


def test_rotation_is_counter_clockwise() -> None:
    images = picture(1, 4, 4)
    turned = shifts.all_shifts(images, "rotation")
    for k in range(4):
        np.testing.assert_array_equal(turned[k].numpy(), np.rot90(images[0].numpy(), k, (1, 2)))


def test_bytes_stay_bytes() -> None:
    images = picture().to(torch.uint8)
    assert shifts.all_shifts(images, "cutperm").dtype == torch.uint8


def test_transformations_against_scipy() -> None:
    pixels = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    smooth = ndimage.gaussian_filter(pixels.numpy(), (0, 0, 1, 1), mode="mirror", truncate=3)
    np.testing.assert_allclose(shifts.shift(pixels, "blur", 1).numpy(), smooth, atol=1e-12)
    luma = np.tensordot(pixels.numpy(), [0.299, 0.587, 0.114], ([1], [0]))
    edges = np.stack([np.hypot(*(ndimage.sobel(one, axis, mode="nearest") / 4 for axis in (0, 1))) for one in luma])
    np.testing.assert_allclose(shifts.shift(pixels, "sobel", 1)[:, 1].numpy(), np.minimum(edges, 1), atol=1e-6)


def test_random_transformations() -> None:
    images = torch.full((50, 1, 32, 32), 200, dtype=torch.uint8)
    cut = shifts.shift(images, "cutout", 1, torch.Generator().manual_seed(0))
    assert ((cut == 128).sum((1, 2, 3)) == 256).all()
    assert len(torch.unique(cut.flatten(1), dim=0)) > 30  # places differ
    noisy = shifts.shift(images.float() / 255, "noise", 1, torch.Generator().manual_seed(0))
    assert float((noisy - 200 / 255).std()) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(shifts.shift(images, "noise", 1), shifts.shift(images, "noise", 1))  # without a generator


@pytest.mark.parametrize(("kind", "number"), [("none", 1), ("rotation", 4), ("cutperm", -1), ("blur", 2)])
def test_unknown_shift(kind, number) -> None:
    with pytest.raises(ReproodError, match="no shift"):
        shifts.shift(picture(), kind, number)


def test_the_flip_comes_before_the_shift() -> None:
    images = picture(2, 8, 8, 1)
    shown = assembled(images, torch.tensor([True, False, False, True]), "rotation")
    assert torch.equal(shown[0::2][:4], shifts.all_shifts(images[:1].flip(-1), "rotation"))
    assert torch.equal(shown[1::2][:4], shifts.all_shifts(images[1:], "rotation"))
    assert torch.equal(shown[1::2][4:], shifts.all_shifts(images[1:].flip(-1), "rotation"))
