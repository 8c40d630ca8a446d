"""The SimCLR augmentations against arrays made by CSI's code."""

import golden_files
import pytest
import torch

from reprood.images import augment
from reprood.methods.csi import simclr

pytestmark = pytest.mark.golden


def cases(arrays: dict[str, object], name: str) -> list[str]:
    return sorted(key.removesuffix(name) for key in arrays if key.endswith(f"_{name}"))


def load(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in golden_files.load("csi", name).items()}


def test_resized_crop_and_flip() -> None:
    arrays = load("crop_flip")
    images = arrays["x"]
    count, _, height, width = images.shape
    prefixes = cases(arrays, "whbias")
    assert prefixes
    for case in prefixes:
        window = arrays[f"{case}whbias"]
        widths, heights = simclr.crop_sizes(
            arrays[f"{case}area_frac"], arrays[f"{case}log_ratio"], count, height, width
        )
        torch.testing.assert_close(widths / width, window[:, 0], rtol=0, atol=1e-12)
        torch.testing.assert_close(heights / height, window[:, 1], rtol=0, atol=1e-12)
        outcome = simclr.resized_crop(images, *window.float().unbind(1))
        torch.testing.assert_close(outcome, arrays[f"{case}out"], rtol=0, atol=1e-4)
    # CSI mirrors with a sampling grid, which rounds.
    flipped = augment.flip_at(images, arrays["flip_sign"] < 0)
    torch.testing.assert_close(flipped, arrays["flipped"], rtol=0, atol=1e-4)


def test_colours() -> None:
    arrays = load("color_augment")
    images = arrays["x"]
    angle, saturation, value = simclr._to_hsv(images)
    hsv = torch.stack((angle / 6 % 1, saturation, value), dim=1)
    torch.testing.assert_close(hsv, arrays["hsv"], rtol=0, atol=2e-5)
    prefixes = cases(arrays, "jittered")
    assert prefixes
    for case in prefixes:
        jittered = simclr.colour_jitter(
            images,
            arrays[f"{case}contrast"],
            arrays[f"{case}hue"] * simclr.HUE_UNIT,
            arrays[f"{case}saturation"],
            arrays[f"{case}brightness"],
            contrast_first=bool(arrays[f"{case}contrast_first"]),
        )
        outcome = torch.where(arrays[f"{case}mask"].view(-1, 1, 1, 1) > 0, jittered, images)
        torch.testing.assert_close(outcome, arrays[f"{case}jittered"], rtol=0, atol=2e-5)
        outcome = torch.where(arrays[f"{case}gray_mask"].view(-1, 1, 1, 1) > 0, simclr.grey(outcome), outcome)
        torch.testing.assert_close(outcome, arrays[f"{case}out"], rtol=0, atol=2e-5)
