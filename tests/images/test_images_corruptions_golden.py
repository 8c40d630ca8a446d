"""Corruptions against the values of the published code, with the stored draws."""

import numpy as np
import pytest
import torch
from glass import in_place
from golden_files import load
from torch import Tensor
from torch.nn import functional

from reprood.images.corruptions.brightness import brightness
from reprood.images.corruptions.contrast import contrast
from reprood.images.corruptions.defocus_blur import defocus_blur
from reprood.images.corruptions.elastic_transform import affine_corners, displace, displacements
from reprood.images.corruptions.fog import fog, plasma
from reprood.images.corruptions.frost import frost
from reprood.images.corruptions.gaussian_blur import gaussian_blur
from reprood.images.corruptions.gaussian_noise import gaussian_noise
from reprood.images.corruptions.glass_blur import glass_blur
from reprood.images.corruptions.impulse_noise import impulse_noise
from reprood.images.corruptions.saturate import saturate
from reprood.images.corruptions.shot_noise import shot_noise
from reprood.images.corruptions.snow import snow
from reprood.images.corruptions.speckle_noise import speckle_noise
from reprood.images.corruptions.zoom_blur import zoom_blur
from reprood.images.registry import CORRUPTION_NAMES, load_corruption

pytestmark = pytest.mark.golden
KINDS = {"A": "cifar", "B": "imagenet"}
STRENGTHS = {
    kind: {name: load_corruption(name).strengths(kind) for name in CORRUPTION_NAMES} for kind in KINDS.values()
}


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
        made = {
            "gaussian_blur": gaussian_blur(image, c["gaussian_blur"]),
            "defocus_blur": defocus_blur(image, *c["defocus_blur"]),
            "zoom_blur": zoom_blur(image, *c["zoom_blur"]),
            "contrast": contrast(image, c["contrast"]),
            "brightness": brightness(image, c["brightness"]),
            "saturate": saturate(image, *c["saturate"]),
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
        agree(gaussian_noise(image, normal, c["gaussian_noise"]), stored["gaussian_noise"][i], 1e-3)
        agree(speckle_noise(image, normal, c["speckle_noise"]), stored["speckle_noise"][i], 1e-3)
        counts = torch.from_numpy(stored["shot_counts"][i].astype(np.float64)).permute(2, 0, 1)[None]
        agree(shot_noise(counts, c["shot_noise"]), stored["shot_noise"][i], 1e-3)
        flipped, salted = bits(stored["impulse_flipped"][i]), bits(stored["impulse_salted"][i])
        agree(impulse_noise(image, flipped, salted).round(), stored["impulse_noise"][i], 0)


@pytest.mark.parametrize("file", ["A", "B"])
def test_fog_and_elastic(file: str) -> None:
    stored, table = load("cnc", f"corruptions_{file}_fog_elastic"), STRENGTHS[KINDS[file]]
    image = picture(stored["image"])
    height, width = image.shape[2:]
    for severity in stored["severities"]:
        uniform = torch.from_numpy(stored[f"fog_u_{severity}"])[None]
        side = round((uniform.shape[1] + 1) ** 0.5)
        agree(fog(image, uniform, side, *table["fog"][severity - 1]), stored[f"fog_{severity}"], 0.05)
        drawn, strength = torch.from_numpy(stored[f"elastic_u_{severity}"]), table["elastic_transform"][severity - 1]
        if file == "A":
            amount, sigma, reach = (part * min(height, width) for part in strength)
            moved = affine_corners(image, 2 * drawn[:6].view(1, 3, 2) - 1, reach)
            uniform, spread = 2 * drawn[6:].view(1, 2, height, width) - 1, sigma
        else:
            amount, moved, spread = strength, image, (0.01 * height, 0.01 * width)
            uniform = 0.005 * height * (2 * drawn.view(1, 2, height, width) - 1)
        fields = displacements(uniform, amount, spread)
        agree(displace(moved, fields[:, 0], fields[:, 1]), stored[f"elastic_{severity}"], 0.05, 0.001)


@pytest.mark.parametrize("file", ["corruptions_A_glass", "corruptions_B_glass_snow_frost"])
def test_glass(file: str) -> None:
    stored, table = load("cnc", file), STRENGTHS[KINDS[file.split("_")[1]]]
    image = picture(stored["image"])
    for severity in stored["severities"]:
        sigma, reach, passes = table["glass_blur"][severity - 1]
        offsets = torch.from_numpy(stored[f"glass_offsets_{severity}"].astype(np.int64)).view(1, passes, -1, 2)
        assert offsets.shape[2] == np.prod([side - 2 * reach for side in image.shape[2:]])
        agree(
            glass_blur(image, in_place(offsets, *image.shape[2:], reach), sigma),
            stored[f"glass_{severity}"],
            0.01,
            0.001,
        )


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
        agree(snow(image, normal, angle, table["snow"][severity - 1]), stored[f"snow_{severity}"], 0.05)
        top, left = stored[f"frost_start_{severity}"]
        texture = large[:, :, top : top + height, left : left + width].double()
        # the bicubic enlargement of OpenCV works in whole numbers
        agree(frost(image, texture, *table["frost"][severity - 1]), stored[f"frost_{severity}"], 3)


def test_plasma() -> None:
    stored = load("cnc", "plasma_fractal")
    for i in range(int(stored["n_cases"])):
        uniform, side = torch.from_numpy(stored[f"c{i}_u"])[None], int(stored[f"c{i}_mapsize"])
        found = plasma(uniform, side, float(stored[f"c{i}_decay"]))
        np.testing.assert_allclose(found[0].numpy(), stored[f"c{i}_map"], atol=1e-9)
