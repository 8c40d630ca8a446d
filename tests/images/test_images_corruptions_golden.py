"""Corruptions against the values of the published code, with the stored draws."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from golden_files import load
from reprood.images.corruptions import blurs, geometry, pixels, weather
from reprood.images.corruptions.strengths import STRENGTHS

pytestmark = pytest.mark.golden
KINDS = {"A": "cifar", "B": "imagenet"}


def picture(array: np.ndarray) -> Tensor:
    """uint8 [H, W, C] as float64 [1, C, H, W] in [0, 1]."""
    return torch.from_numpy(array.astype(np.float64)).permute(2, 0, 1)[None] / 255


def agree(found: Tensor, wanted: np.ndarray, tolerance: float, outliers: float = 0.0) -> None:
    difference = np.abs(found[0].permute(1, 2, 0).double().numpy() - wanted)
    assert (difference > tolerance).mean() <= outliers, difference.max()


@pytest.mark.parametrize("file", ["A", "B"])
def test_deterministic(file: str) -> None:
    stored, table = load("cnc", f"corruptions_{file}_deterministic"), STRENGTHS[KINDS[file]]
    image = picture(stored["image"])
    for i, severity in enumerate(stored["severities"]):
        c = {name: values[severity - 1] for name, values in table.items()}
        keep = "middle" if file == "A" else "start"
        made = {
            "gaussian_blur": blurs.gaussian_blur(image, c["gaussian_blur"]),
            "defocus_blur": blurs.defocus_blur(image, *c["defocus_blur"]),
            "zoom_blur": blurs.zoom_blur(image, *c["zoom_blur"], keep),
            "contrast": pixels.contrast(image, c["contrast"]),
            "brightness": pixels.brightness(image, c["brightness"]),
            "saturate": pixels.saturate(image, *c["saturate"]),
        }
        for name, found in made.items():
            agree(found, stored[name][i], 0.01)


@pytest.mark.parametrize("file", ["A", "B"])
def test_noise(file: str) -> None:
    stored, table = load("cnc", f"corruptions_{file}_noise"), STRENGTHS[KINDS[file]]
    image = picture(stored["image"])
    normal = torch.from_numpy(stored["z"]).permute(2, 0, 1)[None].double()

    def bits(packed: np.ndarray) -> Tensor:
        mask = np.unpackbits(packed)[: image.numel()].reshape(stored["image"].shape).astype(bool)
        return torch.from_numpy(mask).permute(2, 0, 1)[None]

    for i, severity in enumerate(stored["severities"]):
        c = {name: values[severity - 1] for name, values in table.items()}
        agree(pixels.gaussian_noise(image, normal, c["gaussian_noise"]), stored["gaussian_noise"][i], 1e-3)
        agree(pixels.speckle_noise(image, normal, c["speckle_noise"]), stored["speckle_noise"][i], 1e-3)
        counts = torch.from_numpy(stored["shot_counts"][i].astype(np.float64)).permute(2, 0, 1)[None]
        agree(pixels.shot_noise(counts, c["shot_noise"]), stored["shot_noise"][i], 1e-3)
        flipped, salted = bits(stored["impulse_flipped"][i]), bits(stored["impulse_salted"][i])
        agree(pixels.impulse_noise(image, flipped, salted).round(), stored["impulse_noise"][i], 0)


@pytest.mark.parametrize("file", ["A", "B"])
def test_fog_and_elastic(file: str) -> None:
    stored, table = load("cnc", f"corruptions_{file}_fog_elastic"), STRENGTHS[KINDS[file]]
    image = picture(stored["image"])
    height, width = image.shape[2:]
    for severity in stored["severities"]:
        uniform = torch.from_numpy(stored[f"fog_u_{severity}"])[None]
        side = round((uniform.shape[1] + 1) ** 0.5)
        agree(weather.fog(image, uniform, side, *table["fog"][severity - 1]), stored[f"fog_{severity}"], 0.05)
        drawn, strength = torch.from_numpy(stored[f"elastic_u_{severity}"]), table["elastic_transform"][severity - 1]
        if file == "A":
            amount, sigma, reach = (part * min(height, width) for part in strength)
            moved = geometry.affine_corners(image, 2 * drawn[:6].view(1, 3, 2) - 1, reach)
            uniform, spread = 2 * drawn[6:].view(1, 2, height, width) - 1, sigma
        else:
            amount, moved, spread = strength, image, (0.01 * height, 0.01 * width)
            uniform = 0.005 * height * (2 * drawn.view(1, 2, height, width) - 1)
        fields = geometry.smooth_field(uniform, amount, spread)
        agree(geometry.elastic(moved, fields[:, 0], fields[:, 1]), stored[f"elastic_{severity}"], 0.05, 0.001)


@pytest.mark.parametrize("file", ["corruptions_A_glass", "corruptions_B_glass_snow_frost"])
def test_glass(file: str) -> None:
    stored, table = load("cnc", file), STRENGTHS[KINDS[file.split("_")[1]]]
    image = picture(stored["image"])
    for severity in stored["severities"]:
        sigma, reach, passes = table["glass_blur"][severity - 1]
        offsets = torch.from_numpy(stored[f"glass_offsets_{severity}"].astype(np.int64)).view(1, passes, -1, 2)
        assert offsets.shape[2] == blurs.glass_steps(*image.shape[2:], reach)
        places = blurs.glass_places(offsets, *image.shape[2:], reach)
        agree(blurs.glass_blur(image, places, sigma), stored[f"glass_{severity}"], 0.01, 0.001)


def test_snow_and_frost() -> None:
    stored, table = load("cnc", "corruptions_B_glass_snow_frost"), STRENGTHS["imagenet"]
    image = picture(stored["image"])
    height, width = image.shape[2:]
    photograph = torch.from_numpy(stored["frost_texture_bgr"][..., ::-1].astype(np.float32).copy())
    photograph = photograph.permute(2, 0, 1)[None]
    cover = max(1, height / photograph.shape[2], width / photograph.shape[3]) * 1.1
    size = [int(np.ceil(photograph.shape[axis] * cover)) for axis in (2, 3)]
    large = functional.interpolate(photograph, size=size, mode="bicubic").round().clamp(0, 255) / 255
    for severity in stored["severities"]:
        normal = torch.from_numpy(stored[f"snow_z_{severity}"])[None].double()
        angle = torch.from_numpy(np.atleast_1d(stored[f"snow_angle_{severity}"]))
        agree(weather.snow(image, normal, angle, table["snow"][severity - 1]), stored[f"snow_{severity}"], 0.05)
        top, left = stored[f"frost_start_{severity}"]
        texture = large[:, :, top : top + height, left : left + width].double()
        # the bicubic enlargement of OpenCV works in whole numbers
        agree(weather.frost(image, texture, *table["frost"][severity - 1]), stored[f"frost_{severity}"], 3)


def test_plasma() -> None:
    stored = load("cnc", "plasma_fractal")
    for i in range(int(stored["n_cases"])):
        uniform, side = torch.from_numpy(stored[f"c{i}_u"])[None], int(stored[f"c{i}_mapsize"])
        found = weather.plasma(uniform, side, float(stored[f"c{i}_decay"]))
        np.testing.assert_allclose(found[0].numpy(), stored[f"c{i}_map"], atol=1e-9)
