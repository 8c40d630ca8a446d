"""Corruptions of whole batches by name: draws from a generator, then the pure functions of the modules beside.

Hendrycks and Dietterich (2019); strengths and definitions in `strengths`. The draws are made on the CPU, so that a seed
gives the same images on every device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from reprood.errors import ReproodError
from reprood.images.corruptions import blurs, geometry, pixels, weather
from reprood.images.corruptions.names import NAMES, SEVERITIES
from reprood.images.corruptions.strengths import STRENGTHS

SEVERITY_COUNT = len(SEVERITIES)


class Draws:
    """Random tensors of a batch from one generator.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    generator : Generator
        On the CPU.
    """

    def __init__(self, images: Tensor, generator: Generator) -> None:
        self.images, self.generator = images, generator

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32."""
        return torch.randn(*shape, generator=self.generator).to(self.images.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float64 in [0, 1)."""
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64).to(self.images.device)

    def angles(self, low: float, high: float) -> Tensor:
        """One angle an image, in degrees."""
        return low + (high - low) * self.uniform(len(self.images))


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()


def _gaussian_noise(x: Tensor, c: float, d: Draws, kind: str) -> Tensor:
    return pixels.gaussian_noise(x, d.normal(*x.shape), c)


def _speckle_noise(x: Tensor, c: float, d: Draws, kind: str) -> Tensor:
    return pixels.speckle_noise(x, d.normal(*x.shape), c)


def _shot_noise(x: Tensor, c: float, d: Draws, kind: str) -> Tensor:
    counts = torch.poisson((x * c).cpu(), generator=d.generator).to(x.device)
    return pixels.shot_noise(counts, c)


def _impulse_noise(x: Tensor, c: float, d: Draws, kind: str) -> Tensor:
    drawn = d.uniform(*x.shape)
    # one draw: below c it is flipped, and below c / 2 salted
    return pixels.impulse_noise(x, drawn < c, drawn < c / 2)


def _glass_blur(x: Tensor, c: tuple[float, int, int], d: Draws, kind: str) -> Tensor:
    sigma, reach, passes = c
    steps = blurs.glass_steps(x.shape[2], x.shape[3], reach)
    offsets = torch.randint(-reach, reach, (len(x), passes, steps, 2), generator=d.generator)
    return blurs.glass_blur(x, offsets, sigma, reach)


def _zoom_blur(x: Tensor, c: tuple[float, float], d: Draws, kind: str) -> Tensor:
    return blurs.zoom_blur(x, *c, "middle" if kind == "cifar" else "start")


def _fog(x: Tensor, c: tuple[float, float], d: Draws, kind: str) -> Tensor:
    side = _power_of_two(max(x.shape[2:]))
    return weather.fog(x, d.uniform(len(x), side * side - 1), side, *c)


def _snow(x: Tensor, c: tuple[float, ...], d: Draws, kind: str) -> Tensor:
    return weather.snow(x, d.normal(len(x), *x.shape[2:]), d.angles(-135, -45), c)


def _frost(x: Tensor, c: tuple[float, float], d: Draws, kind: str) -> Tensor:
    side = _power_of_two(max(x.shape[2:]))
    texture = weather.frost_texture(d.uniform(len(x), 2 * (side * side - 1)), side)
    return weather.frost(x, texture[:, None, : x.shape[2], : x.shape[3]].to(x), *c)


def _elastic_transform(x: Tensor, c: tuple[float, float, float] | float, d: Draws, kind: str) -> Tensor:
    count, _, height, width = x.shape
    if isinstance(c, tuple):
        side = min(height, width)
        amount, sigma, reach = (part * side for part in c)
        x = geometry.affine_corners(x, 2 * d.uniform(count, 3, 2) - 1, reach)
        spread: float | tuple[float, float] = sigma
        bound = 1.0
    else:
        amount, spread, bound = c, (0.01 * height, 0.01 * width), 0.005 * height
    dx, dy = (
        geometry.smooth_field(bound * (2 * d.uniform(count, height, width) - 1), amount, spread) for _ in range(2)
    )
    return geometry.elastic(x, dx, dy)


# images, strength (a number or several), draws, name of the strengths
Function = Callable[[Tensor, Any, Draws, str], Tensor]
FUNCTIONS: dict[str, Function] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": lambda x, c, d, kind: blurs.gaussian_blur(x, c),
    "defocus_blur": lambda x, c, d, kind: blurs.defocus_blur(x, *c),
    "glass_blur": _glass_blur,
    "motion_blur": lambda x, c, d, kind: blurs.motion_blur(x, d.angles(-45, 45), int(c[0]), c[1]),
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": lambda x, c, d, kind: pixels.brightness(x, c),
    "contrast": lambda x, c, d, kind: pixels.contrast(x, c),
    "saturate": lambda x, c, d, kind: pixels.saturate(x, *c),
    "elastic_transform": _elastic_transform,
    "pixelate": lambda x, c, d, kind: geometry.pixelate(x, c),
    "jpeg_compression": lambda x, c, d, kind: geometry.jpeg_compression(x, int(c)),
}


def corrupt(images: Tensor, name: str, severity: int, generator: Generator, *, strengths: str = "cifar") -> Tensor:
    """Corrupt every image of a batch in the same way, with draws of its own.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    name : str
        One of `names.NAMES`.
    severity : int
        1 to 5.
    generator : Generator
        On the CPU.
    strengths : {"cifar", "imagenet"}
        Of CIFAR-10-C or of ImageNet-C.

    Returns
    -------
    uint8 Tensor [B, C, H, W]
        Cut to whole grey levels, as the published code does.

    Raises
    ------
    ReproodError
        For an unknown name, severity or set of strengths.
    """
    if name not in FUNCTIONS:
        raise ReproodError(f"There is no corruption '{name}'; known: {', '.join(NAMES)}.")
    if severity not in SEVERITIES:
        raise ReproodError(f"The severity of {name} is one of 1 to 5, not {severity}.")
    if strengths not in STRENGTHS:
        raise ReproodError(f"There are no strengths '{strengths}'; known: {', '.join(STRENGTHS)}.")
    floats = images.float() / 255
    strength = STRENGTHS[strengths][name][severity - 1]
    found = FUNCTIONS[name](floats, strength, Draws(floats, generator), strengths)
    return found.clamp(0, 255).to(torch.uint8)


def corrupt_mixed(images: Tensor, names: Sequence[str], generator: Generator, strengths: str = "cifar") -> Tensor:
    """Give every image one corruption and one severity from 1 to 5, drawn evenly.

    Images that drew the same go together as one batch.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
    names : sequence of str
        Which corruptions may be drawn.
    generator : Generator
        On the CPU.
    strengths : {"cifar", "imagenet"}
    """
    drawn = torch.randint(len(names) * SEVERITY_COUNT, (len(images),), generator=generator)
    found = torch.empty_like(images)
    for choice in sorted(set(drawn.tolist())):
        rows = (drawn == choice).nonzero()[:, 0].to(images.device)
        name, severity = names[choice // SEVERITY_COUNT], choice % SEVERITY_COUNT + 1
        found[rows] = corrupt(images[rows], name, severity, generator, strengths=strengths)
    return found
