"""The ImageNet recipe: colours as in the published code, and trainings on streamed files."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from reprood.engine.training import Training
from reprood.methods.imagenet.colour import GREY, VALUES, VECTORS, change_colours, jitter, lighting
from reprood.methods.imagenet.method import Config


def plain_jitter(image: np.ndarray, amounts: list[float], order: list[int]) -> np.ndarray:
    """The published code's steps on one image [3, H, W], one after the other."""
    for kind in order:
        grey = np.tensordot(np.array(GREY), image, 1)
        reference = {0: np.zeros_like(image), 1: np.full_like(image, grey.mean()), 2: np.stack([grey] * 3)}[kind]
        image = image + amounts[kind] * (reference - image)
    return image


def test_jitter_is_that_of_each_image_alone():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 5, 4, generator=generator, dtype=torch.float64)
    amounts = torch.rand(6, 3, generator=generator, dtype=torch.float64) * 0.8 - 0.4
    order = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    changed = jitter(images, amounts, order)
    for row in range(6):
        expected = plain_jitter(images[row].numpy(), amounts[row].tolist(), order[row].tolist())
        np.testing.assert_allclose(changed[row].numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_each_change_is_torchvisions_with_one_minus_the_amount_as_factor(kind):
    image = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3  # not clipped
    place = ("brightness", "contrast", "saturation").index(kind)
    amounts = torch.zeros(1, 3)
    amounts[0, place] = 0.3
    theirs = getattr(transforms, f"adjust_{kind}")(image, 0.7)
    torch.testing.assert_close(jitter(image, amounts, torch.tensor([[0, 1, 2]])), theirs, rtol=1e-3, atol=1e-4)


def test_lighting_adds_one_colour_to_the_whole_image():
    amounts = torch.tensor([[1.0, 0.0, 0.0], [0.1, -0.2, 0.3]], dtype=torch.float64)
    added = lighting(torch.zeros(2, 3, 2, 2, dtype=torch.float64), amounts)
    first = [row[0] * VALUES[0] for row in VECTORS]
    np.testing.assert_allclose(added[0, :, 1, 1], first)
    second = np.array(VECTORS) @ (np.array(VALUES) * np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(added[1, :, 0, 1], second)


def test_colours_have_the_stated_spread():
    grey = torch.full((4000, 3, 1, 1), 0.5)
    changed = change_colours(grey, 0.4, 0.0, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    # contrast and saturation do not change a uniform grey image: 0.5 (1 - U(-0.4, 0.4))
    assert float(changed.min()) == pytest.approx(0.3, abs=2e-3)
    assert float(changed.max()) == pytest.approx(0.7, abs=2e-3)
    assert float(changed.std()) == pytest.approx(0.4 / 12**0.5, rel=0.03)


def test_the_defaults_are_the_papers_recipe():
    config = Config()
    assert config.training == Training(
        epochs=300, batch_size=256, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="imagenet_steps",
        augment="none",
    )  # fmt: skip
    rates = [config.training.rate(epoch, 0, 5005) for epoch in (0, 74, 75, 150, 225, 299)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.001, 1e-4, 1e-4])
