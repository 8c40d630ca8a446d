"""Crop, flip, normalisation and the SimCLR views against slow references, image by image."""

import colorsys
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as reference

from reprood.core.errors import ReproodError
from reprood.images import augment
from reprood.methods.csi import simclr, views

Augmentation = Callable[[Tensor, Generator], Tensor]

AUGMENTATIONS: dict[str, Augmentation] = {
    "random_crop": lambda images, generator: augment.random_crop(images, 4, generator),
    "random_flip": augment.random_flip,
    "random_resized_crop": simclr.random_resized_crop,
    "random_colour_jitter": simclr.random_colour_jitter,
    "random_grey": simclr.random_grey,
    "simclr_view": lambda images, generator: simclr_view(images, generator),
}
FORMS = [(name, torch.float32) for name in AUGMENTATIONS]
FORMS += [(name, torch.uint8) for name in ("random_crop", "random_flip")]


def simclr_view(images: Tensor, generator: Generator) -> Tensor:
    return simclr.random_resized_crop(views.coloured(images, generator), generator, flip=0.5)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def sample(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8, seed: int = 0) -> Tensor:
    images = torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)
    return images if dtype == torch.uint8 else images.to(dtype) / 255


@pytest.mark.parametrize(("name", "dtype"), FORMS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 23)])
def test_form(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Shape, type and range stay; the same generator gives the same images, another one others; the input is kept."""
    augmentation = AUGMENTATIONS[name]
    images = sample((64, *shape), dtype)
    before = images.clone()
    first = augmentation(images, seeded(1))
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.dtype == dtype
    assert first.min() >= 0
    assert first.max() <= (255 if dtype == torch.uint8 else 1 + 1e-6)
    assert torch.equal(first, augmentation(images, seeded(1)))
    if not (name == "random_grey" and shape[0] == 1):
        assert not torch.equal(first, images)
        assert not torch.equal(first, augmentation(images, seeded(2)))
    first.zero_()
    assert torch.equal(images, before), "the outcome must not share memory with the input"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_single_image_and_other_memory_layout(name: str) -> None:
    images = sample((8, 3, 32, 32), torch.float32)
    augmentation = AUGMENTATIONS[name]
    expected = augmentation(images, seeded(3))
    outcome = augmentation(images.contiguous(memory_format=torch.channels_last), seeded(3))
    torch.testing.assert_close(outcome, expected, rtol=0, atol=1e-6)
    assert augmentation(images[:1], seeded(4)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 2, 4])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (5, 9)])
def test_crop_equals_a_loop(dtype: torch.dtype, padding: int, size: tuple[int, int]) -> None:
    images = sample((40, 3, *size), dtype)
    top, left = torch.randint(0, 2 * padding + 1, (2, 40), generator=seeded(5))
    outcome = augment.crop_at(images, top, left, padding)
    for image, y, x, cropped in zip(images, top.tolist(), left.tolist(), outcome, strict=True):
        assert torch.equal(cropped, reference.crop(reference.pad(image, [padding]), y, x, *size))


def test_crop_draws_every_offset_evenly() -> None:
    """An image whose pixels are all different betrays its offset; the 81 offsets come equally often."""
    single = torch.arange(1, 26, dtype=torch.float32).view(1, 1, 5, 5)
    count = 20_000
    outcome = augment.random_crop(single.expand(count, -1, -1, -1), 4, seeded(6))
    codes, counts = outcome.flatten(1).unique(dim=0, return_counts=True)
    assert len(codes) == 81
    expected = count / 81
    assert float(((counts - expected) ** 2 / expected).sum()) < 80 + 5 * math.sqrt(160)


def test_flip_equals_a_loop() -> None:
    images = sample((30, 3, 8, 9))
    chosen = torch.rand(30, generator=seeded(7)) < 0.5
    outcome = augment.flip_at(images, chosen)
    for image, mirrored, flipped in zip(images, chosen.tolist(), outcome, strict=True):
        assert torch.equal(flipped, reference.horizontal_flip(image) if mirrored else image)
    assert torch.equal(augment.random_flip(images, seeded(8), 0.0), images)
    assert torch.equal(augment.random_flip(images, seeded(8), 1.0), images.flip(-1))
    share = (augment.random_flip(images[:1].expand(10_000, -1, -1, -1), seeded(9)) != images[0]).flatten(1).any(1)
    assert abs(float(share.float().mean()) - 0.5) < 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_floats_and_normalisation_equal_torchvision(channels: int) -> None:
    images = sample((4, channels, 8, 8))
    mean, std = [0.49, 0.48, 0.44][:channels], [0.25, 0.24, 0.26][:channels]
    floats = torch.stack([to_tensor(image.permute(1, 2, 0).numpy()) for image in images])
    assert torch.equal(augment.to_float(images), floats)
    assert torch.equal(augment.normalise(floats, mean, std), v2.Normalize(mean, std)(floats))
    torch.testing.assert_close(augment.normalise(images, mean, std), v2.Normalize(mean, std)(floats))
    torch.testing.assert_close(
        augment.normalise(images, torch.tensor(mean), torch.tensor(std)), v2.Normalize(mean, std)(floats)
    )


def test_resized_crop_equals_grid_sample_of_one_image_and_full_window_is_identity() -> None:
    images = sample((6, 3, 16, 16), torch.float32)
    one, zero = torch.ones(6), torch.zeros(6)
    torch.testing.assert_close(simclr.resized_crop(images, one, one, zero, zero), images)
    window = torch.rand(4, 6, generator=seeded(10)) * 0.3 + 0.2
    outcome = simclr.resized_crop(images, *window)
    for index in range(6):
        single = simclr.resized_crop(images[index : index + 1], *window[:, index : index + 1])
        torch.testing.assert_close(outcome[index : index + 1], single)
    torch.testing.assert_close(simclr.resized_crop(images, -one, one, zero, zero), images.flip(-1))
    turned = simclr.resized_crop(images, -window[0], *window[1:])
    mirrored = simclr.resized_crop(images.flip(-1), window[0], window[1], -window[2], window[3])
    torch.testing.assert_close(turned, mirrored, rtol=0, atol=1e-5)
    # Half the size in the upper left quarter: every pixel lies between its neighbours of that quarter.
    half = torch.full((6,), 0.5)
    quarter = simclr.resized_crop(images, half, half, -half, -half)
    upscaled = reference.resize(images[:, :, :8, :8], [16, 16], antialias=False)
    torch.testing.assert_close(quarter[:, :, 1:15, 1:15], upscaled[:, :, 1:15, 1:15])


def test_crop_sizes_follow_the_bounds() -> None:
    area = torch.rand(50_000, generator=seeded(11)) * 0.92 + 0.08
    log_ratio = (torch.rand(50_000, generator=seeded(12)) * 2 - 1) * math.log(4 / 3)
    widths, heights = simclr.crop_sizes(area, log_ratio, 5_000, 32, 24)
    assert widths.shape == heights.shape == (5_000,)
    assert widths.max() <= 24
    assert heights.max() <= 32
    assert min(widths.min(), heights.min()) >= 1
    none, _ = simclr.crop_sizes(torch.full((30,), 4.0), torch.zeros(30), 3, 32, 32)
    assert none.tolist() == [32, 32, 32], "too few candidates fit: the full image"


def test_colours_equal_a_slow_formula() -> None:
    """Per pixel in Python floats, from the definition with moduli; grey axis and black included."""
    images = sample((6, 3, 4, 4), torch.float64)
    images[0] = 0
    images[1] = 0.5
    images[2, 1:] = images[2, :1]
    hue, saturation, brightness = torch.rand(3, 6, generator=seeded(13), dtype=torch.float64) + 0.5
    outcome = simclr.adjust_hsv(images, hue, saturation, brightness)
    for index in range(6):
        for y in range(4):
            for x in range(4):
                pixel = slow_hsv(images[index, :, y, x].tolist(), hue[index], saturation[index], brightness[index])
                assert outcome[index, :, y, x].tolist() == pytest.approx(pixel, abs=1e-9)


def slow_hsv(pixel: list[float], hue: Tensor, saturation: Tensor, brightness: Tensor) -> list[float]:
    red, green, blue = pixel
    top, low = max(pixel), min(pixel)
    angle = math.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * math.pi) % 1
    angle = (angle + float(hue)) % 1
    vivid = min((0.0 if top == 0 else (top - low) / top) * float(saturation), 1.0)
    value = min(top * float(brightness), 1.0)
    channels = []
    for start in (5, 3, 1):
        k = (start + 6 * angle) % 6
        channels.append(value - value * vivid * min(max(min(k, 4 - k), 0.0), 1.0))
    return channels


def test_hsv_is_the_usual_one_apart_from_the_kind_of_hue() -> None:
    images = sample((3, 3, 5, 5), torch.float64)
    angle, vivid, bright = simclr._to_hsv(images)
    hsv = torch.stack((angle / 6 % 1, vivid, bright), 3).reshape(-1, 3)
    for pixel, (hue, saturation, value) in zip(images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), hsv.tolist()):
        expected = colorsys.rgb_to_hsv(*pixel)
        assert saturation == pytest.approx(expected[1])
        assert value == pytest.approx(expected[2])
        assert abs((hue - expected[0] + 0.5) % 1 - 0.5) < 0.02


def test_contrast_and_grey_equal_the_definition() -> None:
    images = sample((5, 3, 6, 6), torch.float32)
    factor = torch.tensor([0.6, 0.9, 1.0, 1.2, 1.4])
    outcome = simclr.adjust_contrast(images, factor)
    for image, by, changed in zip(images, factor, outcome, strict=True):
        mean = image.mean(dim=(1, 2), keepdim=True)
        torch.testing.assert_close(changed, ((image - mean) * by + mean).clamp(0, 1))
    torch.testing.assert_close(simclr.grey(images), reference.rgb_to_grayscale(images, 3), rtol=0, atol=2e-4)
    assert torch.equal(simclr.random_grey(images, seeded(1), 0.0), images)


def test_one_channel_changes_like_three_equal_ones() -> None:
    images = sample((9, 1, 12, 12), torch.float32)
    outcome = simclr_view(images, seeded(14))
    threefold = simclr_view(images.expand(-1, 3, -1, -1).contiguous(), seeded(14))
    torch.testing.assert_close(outcome.expand(-1, 3, -1, -1), threefold, rtol=0, atol=2e-6)


def test_pil_gives_the_same_crop_and_flip() -> None:
    """A PNG that is decoded, padded, cropped and mirrored by PIL holds the same bytes."""
    images = sample((3, 3, 32, 32))
    outcome = augment.flip_at(
        augment.crop_at(images, torch.tensor([0, 3, 8]), torch.tensor([8, 4, 1]), 4), torch.tensor([True, False, True])
    )
    for index, (top, left, mirrored) in enumerate([(0, 8, True), (3, 4, False), (8, 1, True)]):
        buffer = io.BytesIO()
        Image.fromarray(images[index].permute(1, 2, 0).numpy()).save(buffer, "PNG")
        picture = Image.open(buffer).crop((left - 4, top - 4, left + 28, top + 28))
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
        assert np.array_equal(np.asarray(picture), outcome[index].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda images: augment.to_float(images.float()), "uint8"),
        (lambda images: augment.normalise(images, [0.5], [0.5]), "1 means"),
        (lambda images: augment.random_crop(images, -1, seeded(0)), "padding"),
        (lambda images: augment.random_flip(images, seeded(0), 1.5), "probability"),
        (lambda images: simclr.random_resized_crop(images.float(), seeded(0), scale=(0.5, 0.1)), "scale"),
        (lambda images: simclr.random_colour_jitter(images, seeded(0)), "to_float"),
        (lambda images: simclr._to_hsv(images[:, :1].float())[0], "three channels"),
    ],
)
def test_mistakes_are_named(call: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        call(sample((2, 3, 8, 8)))
