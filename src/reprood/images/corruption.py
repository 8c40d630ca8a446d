"""Corrupt batches of images: the record of a corruption, its random draws, and the two ways to apply it.

Definitions and strengths are those of Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to
common corruptions and perturbations". Each corruption is a module in `reprood.images.corruptions`. Random numbers are
drawn on the CPU, so that a seed gives the same images on every device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError

SEVERITIES = (1, 2, 3, 4, 5)
STRENGTHS = ("cifar", "imagenet")
# Added before values are cut to whole grey levels: float32 sums may end slightly below a whole number, and without this
# a blur would darken a uniform area by one level.
ROUNDING_GUARD = 1 / 1024


class Draws:
    """Random tensors for a batch, drawn on the CPU from one generator and moved to the images' device.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        The batch.
    generator : Generator
        On the CPU.
    frost : uint8 Tensor [N, C, H, W] or None
        Crops of photographs of frost, for the corruption of that name; None: it draws a texture instead.
    """

    def __init__(self, images: Tensor, generator: Generator, frost: Tensor | None = None) -> None:
        self.images, self.generator = images, generator
        if frost is not None and frost.shape[1:] != images.shape[1:]:
            raise ReproodError(
                f"Crops of frost have the shape {tuple(frost.shape[1:])}, the images {tuple(images.shape[1:])}; choose "
                "the split of the data set frost whose size is that of the images."
            )
        self.photographs = frost

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal float32 values."""
        return torch.randn(*shape, generator=self.generator).to(self.images.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform float32 values in [0, 1)."""
        return torch.rand(*shape, generator=self.generator).to(self.images.device)

    def angles(self, low: float, high: float) -> Tensor:
        """Draw one angle per image: float64 [B] in degrees, on the CPU."""
        return low + (high - low) * torch.rand(len(self.images), generator=self.generator, dtype=torch.float64)

    def frost(self) -> Tensor | None:
        """Draw one crop of a photograph of frost per image: [B, C, H, W] in [0, 1]; None without photographs."""
        if self.photographs is None:
            return None
        rows = torch.randint(len(self.photographs), (len(self.images),), generator=self.generator)
        chosen = self.photographs.index_select(0, rows.to(self.photographs.device))
        return chosen.to(self.images) / 255


@dataclass(frozen=True)
class Corruption:
    """One corruption: everything the project knows about it.

    Attributes
    ----------
    name : str
        Equal to the name of its module.
    function : callable
        (images float [B, C, H, W] in [0, 1], strength, draws) -> values on the scale 0..255.
    cifar, imagenet : tuple
        Strengths at severities 1 to 5, of CIFAR-10-C and of ImageNet-C, as the code of CnC has them (the former in its
        repository, the latter in the package that its pipeline calls). A strength is a number or a tuple of numbers.
    per_image : bool
        Whether `function` also takes strengths as tensors [B], one per image. If not, a batch has a single severity.
    """

    name: str
    function: Callable[[Tensor, Any, Draws], Tensor]
    cifar: tuple[Any, ...]
    imagenet: tuple[Any, ...]
    per_image: bool = True

    def __post_init__(self) -> None:
        for strengths in (self.cifar, self.imagenet):
            if len(strengths) != len(SEVERITIES):
                raise ValueError(f"{self.name}: expected {len(SEVERITIES)} strengths, not {len(strengths)}")

    def strengths(self, kind: str) -> tuple[Any, ...]:
        """Return the strengths at severities 1 to 5; `kind` is "cifar" or "imagenet"."""
        if kind not in STRENGTHS:
            raise ReproodError(f"There are no strengths '{kind}'; known: {', '.join(STRENGTHS)}.")
        return self.cifar if kind == "cifar" else self.imagenet


def clip_to_255(images: Tensor) -> Tensor:
    """Clip to [0, 1] and scale to 0..255."""
    return images.clamp(0, 1).mul_(255)


def broadcast(strength: float | Tensor, images: Tensor) -> float | Tensor:
    """Return a strength that multiplies images [B, C, H, W]: the number itself, or a tensor [B] as [B, 1, 1, 1]."""
    return strength.to(images).view(-1, 1, 1, 1) if isinstance(strength, Tensor) else strength


def corrupt(
    images: Tensor,
    corruption: Corruption,
    severity: int,
    generator: Generator,
    *,
    strengths: str = "cifar",
    frost: Tensor | None = None,
) -> Tensor:
    """Apply one corruption at one severity to every image of a batch, with random draws of its own for each.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    corruption : Corruption
        Record of the corruption.
    severity : int
        1 to 5.
    generator : Generator
        On the CPU.
    strengths : {"cifar", "imagenet"}
        Those of CIFAR-10-C or of ImageNet-C.
    frost : uint8 Tensor [N, C, H, W] or None
        As in `Draws`.

    Returns
    -------
    uint8 Tensor [B, C, H, W]
        Rounded down to whole grey levels, as in the published code.

    Raises
    ------
    ReproodError
        For an unknown severity or set of strengths, and for images of another form.
    """
    if severity not in SEVERITIES:
        raise ReproodError(f"The severity of {corruption.name} must be 1 to 5, not {severity}.")
    strength = corruption.strengths(strengths)[severity - 1]
    floats = _to_float(images)
    return _to_uint8(corruption.function(floats, strength, Draws(floats, generator, frost)))


def corrupt_mixed(
    images: Tensor,
    corruptions: Sequence[Corruption],
    generator: Generator,
    strengths: str = "cifar",
    frost: Tensor | None = None,
) -> Tensor:
    """Apply to every image one corruption at one severity from 1 to 5, both drawn uniformly.

    Images that drew the same corruption are processed as one batch, each with the strength of its own severity.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    corruptions : sequence of Corruption
        Those that may be drawn.
    generator : Generator
        On the CPU.
    strengths : {"cifar", "imagenet"}
        Those of CIFAR-10-C or of ImageNet-C.
    frost : uint8 Tensor [N, C, H, W] or None
        As in `Draws`.

    Returns
    -------
    uint8 Tensor [B, C, H, W]

    Raises
    ------
    ReproodError
        Without corruptions, for an unknown set of strengths, and for images of another form.
    """
    if not corruptions:
        raise ReproodError("corrupt_mixed got no corruption to draw from; pass at least one.")
    tables = [corruption.strengths(strengths) for corruption in corruptions]
    drawn = torch.randint(len(corruptions) * len(SEVERITIES), (len(images),), generator=generator)
    order = drawn.argsort(stable=True)
    rows = order.to(images.device)
    floats = _to_float(images.index_select(0, rows))

    def group(number: int) -> tuple[int, int]:
        """Return what images share that are processed together: a corruption, and a severity if it must be one."""
        index, level = divmod(number, len(SEVERITIES))
        return index, 0 if corruptions[index].per_image else level

    parts, start = [], 0
    for (index, _), members in groupby(drawn[order].tolist(), group):
        levels = [number % len(SEVERITIES) for number in members]
        x = floats[start : start + len(levels)]
        start += len(levels)
        strength = _strength_of(tables[index], levels)
        parts.append(corruptions[index].function(x, strength, Draws(x, generator, frost)))
    corrupted = torch.empty_like(images)
    return corrupted.index_copy_(0, rows, _to_uint8(torch.cat(parts))) if parts else corrupted


def _strength_of(table: tuple[Any, ...], levels: list[int]) -> Any:
    """Return the strength at one level, or tensors [B] where the levels differ."""
    if len(set(levels)) == 1:
        return table[levels[0]]
    rows = torch.tensor([table[level] for level in levels], dtype=torch.float64)
    return tuple(rows.unbind(1)) if rows.ndim == 2 else rows


def _to_float(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ReproodError(
            f"Corruptions take uint8 images [B, 1 or 3, H, W], but these are {images.dtype} {tuple(images.shape)}."
        )
    return images.contiguous().float().div_(255)


def _to_uint8(values: Tensor) -> Tensor:
    return values.add(ROUNDING_GUARD).clamp_(0, 255).to(torch.uint8)
