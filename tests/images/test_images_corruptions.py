"""Corruptions of whole batches: shapes, draws, severities, grey images."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from reprood.errors import ReproodError
from reprood.images.corruptions import blurs, pixels, sampling
from reprood.images.corruptions.batch import FUNCTIONS, corrupt, corrupt_mixed
from reprood.images.corruptions.names import CIFAR_C_NAMES, CNC_NAMES, NAMES
from reprood.images.corruptions.strengths import STRENGTHS

FIXED = ("gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def batch(count: int = 4, size: int = 28, channels: int = 1) -> Tensor:
    """Smooth pictures, so that a blur is a small change."""
    random = np.random.default_rng(size + channels)
    rough = random.normal(size=(count, channels, size, size))
    smooth = ndimage.gaussian_filter(rough, (0, 0, 2, 2))
    return torch.from_numpy(np.clip(127 + 400 * smooth, 0, 255).astype(np.uint8))


def test_names_have_functions_and_strengths() -> None:
    assert set(NAMES) == set(FUNCTIONS) == set(STRENGTHS["cifar"]) == set(STRENGTHS["imagenet"])
    assert len(CIFAR_C_NAMES) == len(CNC_NAMES) == 15
    assert set(CIFAR_C_NAMES) | set(CNC_NAMES) <= set(NAMES)
    assert all(len(values) == 5 for table in STRENGTHS.values() for values in table.values())


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_at_every_severity(name: str, channels: int, size: int) -> None:
    images = batch(2, size, channels)
    for strengths in STRENGTHS:
        for severity in range(1, 6):
            found = corrupt(images, name, severity, seed(severity), strengths=strengths)
            assert found.dtype == torch.uint8
            assert found.shape == images.shape
            if not (name == "saturate" and channels == 1):
                assert not torch.equal(found, images), (strengths, severity)


@pytest.mark.parametrize("strengths", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", FIXED)
def test_higher_severities_change_more(name: str, strengths: str) -> None:
    images = batch(6, 32, 3)
    far = [
        float((corrupt(images, name, s, seed(), strengths=strengths).float() - images.float()).abs().mean())
        for s in range(1, 6)
    ]
    assert far == sorted(far)
    assert far[0] < far[4]


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_images_and_another_seed_others(name: str) -> None:
    images = batch(3, 28, 3)
    first = corrupt(images, name, 3, seed(1))
    assert torch.equal(first, corrupt(images, name, 3, seed(1)))
    same = torch.equal(first, corrupt(images, name, 3, seed(2)))
    assert same == (name in (*FIXED, "saturate"))


@pytest.mark.parametrize("name", FIXED)
def test_an_image_does_not_depend_on_the_others(name: str) -> None:
    images = batch(4, 28, 3)
    whole = corrupt(images, name, 4, seed())
    for row in range(4):
        alone = corrupt(images[row : row + 1], name, 4, seed())
        assert (whole[row].int() - alone[0].int()).abs().max() <= 1  # sums in another order


def test_saturation_of_grey_images_changes_nothing() -> None:
    images = batch()
    assert torch.equal(corrupt(images, "saturate", 5, seed()), images)


def test_brightness_of_a_grey_image_is_a_sum() -> None:
    image = torch.rand(1, 1, 5, 5, generator=seed())
    assert torch.allclose(pixels.brightness(image, 0.3), (image + 0.3).clamp(max=1) * 255)


def test_colours_equal_the_library_s() -> None:
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    image = torch.rand(1, 3, 9, 9, generator=seed(), dtype=torch.float64)
    image[0, :, 0, 0] = 0.4  # grey
    hsv = rgb_to_hsv(image[0].permute(1, 2, 0).numpy())
    for factor, shift in ((0.3, 0.0), (2.0, 0.1), (20.0, 0.2)):
        changed = hsv.copy()
        changed[..., 1] = np.clip(changed[..., 1] * factor + shift, 0, 1)
        wanted = 255 * hsv_to_rgb(changed)
        found = pixels.saturate(image, factor, shift)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize(("mode", "scipy_mode"), [("edge", "nearest"), ("mirror", "mirror"), ("reflect", "reflect")])
def test_blur_equals_scipy(mode: str, scipy_mode: str) -> None:
    image = torch.rand(1, 2, 13, 17, generator=seed(), dtype=torch.float64)
    for sigma in (0.3, 1.0, 4.0):
        wanted = ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode=scipy_mode, truncate=4)
        found = sampling.blur(image, sigma, mode=mode)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)


def test_zoom_equals_scipy() -> None:
    line = np.random.default_rng(0).random(31)
    for factor in (1.0, 1.1, 1.2500000000000002, 2.5):
        crop = int(np.ceil(31 / factor))
        start = (31 - crop) // 2
        wanted = ndimage.zoom(line[start : start + crop], factor, order=1)
        found = sampling.zoom_matrix(31, factor, "start").numpy() @ line
        length = min(31, len(wanted))
        np.testing.assert_allclose(found[:length], wanted[:length], atol=1e-9)


def test_glass_equals_a_slow_loop() -> None:
    """Images of a batch have draws of their own; copies follow one another."""
    images = torch.rand(3, 2, 9, 8, generator=seed(), dtype=torch.float64)
    reach, passes, sigma = 2, 2, 0.7
    steps = blurs.glass_steps(9, 8, reach)
    offsets = torch.randint(-reach, reach, (3, passes, steps, 2), generator=seed(1))
    found = blurs.glass_blur(images, offsets, sigma, reach)
    for row in range(3):
        soft = np.floor(ndimage.gaussian_filter(images[row].numpy(), (0, sigma, sigma), mode="nearest") * 255) / 255
        for part in range(passes):
            drawn = iter(offsets[row, part].tolist())
            for h in range(9 - reach, reach, -1):
                for w in range(8 - reach, reach, -1):
                    dx, dy = next(drawn)
                    soft[:, h, w] = soft[:, h + dy, w + dx]
        wanted = 255 * np.clip(ndimage.gaussian_filter(soft, (0, sigma, sigma), mode="nearest"), 0, 1)
        np.testing.assert_allclose(found[row].numpy(), wanted, atol=1e-9)


def test_mixed_images_get_corruptions_of_their_own() -> None:
    images = batch(1, 28, 1).expand(200, -1, -1, -1).clone()
    found = corrupt_mixed(images, ("contrast", "brightness"), seed(), "imagenet")
    distinct = {row.numpy().tobytes() for row in found}
    assert len(distinct) == 10  # two corruptions of five severities
    assert torch.equal(found, corrupt_mixed(images, ("contrast", "brightness"), seed(), "imagenet"))


@pytest.mark.parametrize(
    ("name", "severity", "strengths", "words"),
    [
        ("rain", 1, "cifar", "There is no corruption 'rain'; known: gaussian_noise"),
        ("fog", 6, "cifar", "The severity of fog is one of 1 to 5, not 6"),
        ("fog", 1, "mnist", "There are no strengths 'mnist'; known: cifar, imagenet"),
    ],
)
def test_mistakes(name: str, severity: int, strengths: str, words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        corrupt(batch(), name, severity, seed(), strengths=strengths)
