"""Standardisation of each image by its own statistics."""

import pytest
import torch

from reprood.methods.biamat.standardise import standardise_each


def pictures(count: int = 4, channels: int = 3, size: int = 5) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
def test_image_by_image(channels: int) -> None:
    images = pictures(channels=channels)
    for image, found in zip(images, standardise_each(images)):
        torch.testing.assert_close(found, (image - image.mean()) / image.std(correction=0))


def test_scale_and_shift_do_not_matter() -> None:
    images = pictures()
    torch.testing.assert_close(standardise_each(255 * images, white=255), standardise_each(images))
    torch.testing.assert_close(standardise_each(0.3 * images + 0.2), standardise_each(images))


def test_images_without_contrast() -> None:
    """The deviation is at least 1 / sqrt(n) of 0..255; gradients stay finite, also of a constant image."""
    images = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    images[1, 0, 0, 0] += 1e-6
    images.requires_grad_()
    found = standardise_each(images)
    assert float(found[0].detach().abs().max()) < 1e-9
    wanted = (images[1] - images[1].mean()) * 255 * 4
    torch.testing.assert_close(found[1], wanted)
    (slope,) = torch.autograd.grad(found.square().sum(), images)
    assert bool(slope.isfinite().all())


def test_no_images() -> None:
    assert standardise_each(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)
