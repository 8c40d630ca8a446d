"""Corruptions of whole batches by name: draws from a generator, then the pure functions of the modules beside.

Hendrycks and Dietterich (2019); strengths and definitions in `strengths`. The draws are made on the CPU, so that a seed
gives the same images on every device.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.images.corruptions import blurs, geometry, pixels, weather
from reprood.images.corruptions.names import NAMES, SEVERITIES
from reprood.images.corruptions.strengths import STRENGTHS

# What float32 may lack of a whole grey level: without it a blur would darken an even area by one.
GUARD = 1 / 1024


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
        """Uniform float32 in [0, 1)."""
        return torch.rand(*shape, generator=self.generator).to(self.images.device)

    def angles(self, low: float, high: float) -> Tensor:
        """One angle an image, in degrees, float64 on the CPU."""
        return low + (high - low) * torch.rand(len(self.images), generator=self.generator, dtype=torch.float64)


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()


# Strengths are a number or several, or tensors [B] of them on the CPU: one for each image.
def _gaussian_noise(x: Tensor, c: float | Tensor, d: Draws, kind: str) -> Tensor:
    return pixels.gaussian_noise(x, d.normal(*x.shape), c)


def _speckle_noise(x: Tensor, c: float | Tensor, d: Draws, kind: str) -> Tensor:
    return pixels.speckle_noise(x, d.normal(*x.shape), c)


def _shot_noise(x: Tensor, c: float | Tensor, d: Draws, kind: str) -> Tensor:
    counts = torch.poisson((x * pixels.each(c, x)).cpu(), generator=d.generator).to(x.device)
    return pixels.shot_noise(counts, c)


def _impulse_noise(x: Tensor, c: float | Tensor, d: Draws, kind: str) -> Tensor:
    drawn, share = d.uniform(*x.shape), pixels.each(c, x)
    # one draw: below c it is flipped, and below c / 2 salted
    return pixels.impulse_noise(x, drawn < share, drawn < share / 2)


def _glass_blur(x: Tensor, c: tuple[float | Tensor, ...], d: Draws, kind: str) -> Tensor:
    sigma = c[0]
    reach, passes = (torch.as_tensor(v).view(-1, 1, 1, 1, 1) for v in c[1:])
    height, width = x.shape[2:]
    turns = int(passes.max())
    drawn = torch.rand(len(x), turns, 2, height, width, generator=d.generator)
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    visited = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    visited = visited & (torch.arange(turns).view(1, -1, 1, 1, 1) < passes)
    places = torch.where(visited, (drawn * (2 * reach)).long() - reach.long(), 0)
    return blurs.glass_blur(x, places.to(x.device), sigma)


def _zoom_blur(x: Tensor, c: tuple[float, float], d: Draws, kind: str) -> Tensor:
    return blurs.zoom_blur(x, *c, "middle" if kind == "cifar" else "start")


def _fog(x: Tensor, c: tuple[float | Tensor, float | Tensor], d: Draws, kind: str) -> Tensor:
    side = _power_of_two(max(x.shape[2:]))
    return weather.fog(x, d.uniform(len(x), side * side - 1), side, *c)


def _snow(x: Tensor, c: tuple[float | Tensor, ...], d: Draws, kind: str) -> Tensor:
    return weather.snow(x, d.normal(len(x), *x.shape[2:]), d.angles(-135, -45), c)


def _frost(x: Tensor, c: tuple[float | Tensor, float | Tensor], d: Draws, kind: str) -> Tensor:
    side = _power_of_two(max(x.shape[2:]))
    texture = weather.frost_texture(d.uniform(len(x), 2 * (side * side - 1)), side)
    return weather.frost(x, texture[:, None, : x.shape[2], : x.shape[3]], *c)


def _elastic_transform(x: Tensor, c: tuple[float | Tensor, ...] | float | Tensor, d: Draws, kind: str) -> Tensor:
    count, _, height, width = x.shape
    spread: float | Tensor | tuple[float, float]
    if isinstance(c, tuple):
        amount, spread, reach = (part * min(height, width) for part in c)
        x = geometry.affine_corners(x, 2 * d.uniform(count, 3, 2).double() - 1, reach)
        bound = 1.0
    else:
        amount, spread, bound = c, (0.01 * height, 0.01 * width), 0.005 * height
    fields = geometry.smooth_field(bound * (2 * d.uniform(count, 2, height, width) - 1), amount, spread)
    return geometry.elastic(x, fields[:, 0], fields[:, 1])


# images, strength, draws, name of the strengths
Function = Callable[[Tensor, Any, Draws, str], Tensor]
FUNCTIONS: dict[str, Function] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": lambda x, c, d, kind: blurs.gaussian_blur(x, c),
    "defocus_blur": lambda x, c, d, kind: blurs.defocus_blur(x, *c),
    "glass_blur": _glass_blur,
    "motion_blur": lambda x, c, d, kind: blurs.motion_blur(x, d.angles(-45, 45), *c),
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
# These take images of one severity at a time; the others a strength for each image.
ONE_SEVERITY = frozenset({"defocus_blur", "zoom_blur", "pixelate", "jpeg_compression"})


def _check(names: Sequence[str], strengths: str) -> None:
    for name in names:
        if name not in FUNCTIONS:
            raise ReproodError(f"There is no corruption '{name}'; known: {', '.join(NAMES)}.")
    if strengths not in STRENGTHS:
        raise ReproodError(f"There are no strengths '{strengths}'; known: {', '.join(STRENGTHS)}.")


def _floats(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ReproodError(
            f"Corruptions take uint8 images [B, 1 or 3, H, W], and got {images.dtype} {tuple(images.shape)}."
        )
    return images.contiguous().float().div_(255)


def _bytes(values: Tensor) -> Tensor:
    return values.add(GUARD).clamp_(0, 255).to(torch.uint8)


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
    _check([name], strengths)
    if severity not in SEVERITIES:
        raise ReproodError(f"The severity of {name} is one of 1 to 5, not {severity}.")
    floats = _floats(images)
    strength = STRENGTHS[strengths][name][severity - 1]
    return _bytes(FUNCTIONS[name](floats, strength, Draws(floats, generator), strengths))


def corrupt_mixed(images: Tensor, names: Sequence[str], generator: Generator, strengths: str = "cifar") -> Tensor:
    """Give every image one corruption and one severity from 1 to 5, drawn evenly.

    Images that drew the same corruption go together as one batch, each with the strength of its severity.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    names : sequence of str
        Which corruptions may be drawn.
    generator : Generator
        On the CPU.
    strengths : {"cifar", "imagenet"}

    Returns
    -------
    uint8 Tensor [B, C, H, W]

    Raises
    ------
    ReproodError
        For an unknown name or set of strengths, or without names.
    """
    _check(names, strengths)
    if not names:
        raise ReproodError(f"corrupt_mixed got no corruption to draw; give at least one of {', '.join(NAMES)}.")
    drawn = torch.randint(len(names) * len(SEVERITIES), (len(images),), generator=generator)
    order = drawn.argsort(stable=True)
    places = order.to(images.device)
    floats = _floats(images.index_select(0, places))
    parts, start = [], 0
    for choice, members in groupby(drawn[order].tolist(), lambda number: _group(number, names)):
        levels = [number % len(SEVERITIES) for number in members]
        x = floats[start : start + len(levels)]
        start += len(levels)
        strength = _strengths(STRENGTHS[strengths][choice[0]], levels)
        parts.append(FUNCTIONS[choice[0]](x, strength, Draws(x, generator), strengths))
    found = torch.empty_like(images)
    return found.index_copy_(0, places, _bytes(torch.cat(parts))) if parts else found


def _group(number: int, names: Sequence[str]) -> tuple[str, int]:
    """What goes together: images of one name, and of one severity where the corruption cannot mix them."""
    name = names[number // len(SEVERITIES)]
    return name, number % len(SEVERITIES) if name in ONE_SEVERITY else 0


def _strengths(table: tuple[Any, ...], levels: list[int]) -> Any:
    """The strength of a table at one level, or as tensors [B] where the levels differ."""
    if len(set(levels)) == 1:
        return table[levels[0]]
    rows = torch.tensor([table[level] for level in levels], dtype=torch.float64)
    return tuple(rows.unbind(1)) if rows.ndim == 2 else rows
