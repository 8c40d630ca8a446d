"""RandAugment on batches: every image draws its own operations, and images with the same operation are grouped.

The operations equal Pillow's to the last grey level (`randaugment_ops`). The tables are those of the published code of
ReSmooth (Wang et al. 2022) and HOOD (Lin et al. 2023). Both differ from the RandAugment paper: ReSmooth's has Invert
but no Contrast, and in HOOD's a translation can be longer than the image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.images import randaugment_ops as ops

Change = Callable[[Tensor, float, Tensor, float | None], Tensor]


@dataclass(frozen=True)
class Operation:
    """One operation of a table.

    Attributes
    ----------
    name : str
        As in the published code.
    low, high : float
        Strength at m = 0 and at m = `Table.full`.
    signed : bool
        Whether the sign of the strength is flipped with probability 1/2.
    change : callable
        (images [B, C, H, W], strength, positions [B, 2] in [0, 1), translate_limit) -> images.
    """

    name: str
    low: float
    high: float
    signed: bool
    change: Change


@dataclass(frozen=True)
class Table:
    """Operations that are drawn with equal probability; at magnitude `full` they have their strength `high`."""

    operations: tuple[Operation, ...]
    full: float

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names in the table's order, to which the drawn indices refer."""
        return tuple(operation.name for operation in self.operations)

    def strength(self, name: str, m: float) -> float:
        """Return the strength of an operation at magnitude `m` (0..`full`)."""
        operation = self.operations[self.names.index(name)]
        return m / self.full * float(operation.high - operation.low) + operation.low


@dataclass(frozen=True)
class Draws:
    """Random draws for n operations on each of B images.

    Attributes
    ----------
    operation : int64 Tensor [n, B]
        Index into the table.
    negative : bool Tensor [n, B]
        Whether the sign is flipped, if the operation is signed.
    position : float64 Tensor [n, B, 2]
        Position (x, y) of the cutout box, uniform in [0, 1).
    """

    operation: Tensor
    negative: Tensor
    position: Tensor


def draw(table: Table, n: int, batch: int, generator: Generator) -> Draws:
    """Draw `n` operations with replacement, with signs and positions, for each of `batch` images.

    The number of random numbers does not depend on their values, so the generator's later draws do not either.
    """
    device = generator.device
    operation = torch.randint(0, len(table.operations), (n, batch), generator=generator, device=device)
    negative = torch.rand((n, batch), generator=generator, device=device) < 0.5
    position = torch.rand((n, batch, 2), generator=generator, device=device, dtype=torch.float64)
    return Draws(operation, negative, position)


def apply(images: Tensor, table: Table, m: float, draws: Draws, *, translate_limit: float | None = None) -> Tensor:
    """Apply the drawn operations in their order at magnitude `m`; parameters as in `randaugment`."""
    ops.check(images)
    if not 0 <= m <= table.full:
        raise ReproodError(
            f"RandAugment got the magnitude {m}; it must be between 0 and {table.full:g} for this table."
        )
    changed = images.clone()
    for step in range(draws.operation.shape[0]):
        # A signed operation and its opposite are two groups, every other operation is one. Sorting gives all groups at
        # once and, with a CPU generator, without synchronising with a GPU.
        signed = torch.tensor([operation.signed for operation in table.operations], device=draws.operation.device)
        group = 2 * draws.operation[step] + (draws.negative[step] & signed[draws.operation[step]])
        order = torch.argsort(group, stable=True)
        sizes = torch.bincount(group, minlength=2 * len(table.operations)).tolist()
        for number, rows in enumerate(torch.split(order, sizes)):
            operation = table.operations[number // 2]
            if len(rows) == 0 or operation.change is _identity:
                continue
            strength = table.strength(operation.name, m) * (-1 if number % 2 else 1)
            position = draws.position[step, rows]
            rows = rows.to(images.device, non_blocking=True)
            outcome = operation.change(changed.index_select(0, rows), strength, position, translate_limit)
            changed.index_copy_(0, rows, outcome)
    return changed


def randaugment(
    images: Tensor, table: Table, n: int, m: float, generator: Generator, *, translate_limit: float | None = None
) -> Tensor:
    """Apply `n` operations, drawn with replacement for each image, at the same magnitude `m`.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        One or three channels. Color does not change images with one channel.
    table : Table
        `RESMOOTH_TABLE`, `RESMOOTH_SEVERE_TABLE` or `HOOD_TABLE`.
    n : int
        Operations per image, 0 or more; every drawn operation is applied.
    m : float
        Magnitude, 0..`table.full` (30; 10 in the severe table). The strength is m / full * (high - low) + low; in
        Solarize and Posterize a larger strength changes the image less.
    generator : Generator
        Source of all random draws.
    translate_limit : float, optional
        Longest translation as a fraction of the side in its direction, in [0, 1]; default: as in the table.

    Returns
    -------
    uint8 Tensor [B, C, H, W]

    Raises
    ------
    ReproodError
        For images of another form, a negative n, or m or translate_limit out of range.
    """
    if n < 0:
        raise ReproodError(f"RandAugment got n = {n} operations; it must be 0 or more.")
    if translate_limit is not None and not 0 <= translate_limit <= 1:
        raise ReproodError(f"RandAugment got translate_limit = {translate_limit}; give a fraction of the side in 0..1.")
    return apply(images, table, m, draw(table, n, len(images), generator), translate_limit=translate_limit)


def _identity(images: Tensor, strength: float, position: Tensor, translate_limit: float | None) -> Tensor:
    return images


def _plain(function: Callable[[Tensor], Tensor]) -> Change:
    return lambda images, strength, position, limit: function(images)


def _graded(function: Callable[[Tensor, float], Tensor]) -> Change:
    return lambda images, strength, position, limit: function(images, strength)


def _translation(function: Callable[[Tensor, float], Tensor], axis: int, relative: bool) -> Change:
    """Make a translation along `axis` (-1 horizontal, -2 vertical), in pixels or (`relative`) fractions of the side."""

    def change(images: Tensor, strength: float, position: Tensor, limit: float | None) -> Tensor:
        side = images.shape[axis]
        pixels = strength * side if relative else strength
        if limit is not None:
            pixels = max(-limit * side, min(limit * side, pixels))
        return function(images, pixels)

    return change


def _cutout(images: Tensor, side: float, position: Tensor, limit: float | None) -> Tensor:
    # The published code calls uniform(width), which sets the lower bound: the draw is between 1 and the width.
    sizes = torch.tensor([images.shape[-1], images.shape[-2]], dtype=torch.float64, device=position.device)
    return ops.cutout(images, side, sizes + (1 - sizes) * position)


def _cutout_area(images: Tensor, area: float, position: Tensor, limit: float | None) -> Tensor:
    return _cutout(images, math.sqrt(area) * images.shape[-1], position, limit)


_UNGRADED = {
    "AutoContrast": Operation("AutoContrast", 0, 1, False, _plain(ops.auto_contrast)),
    "Equalize": Operation("Equalize", 0, 1, False, _plain(ops.equalize)),
    "Invert": Operation("Invert", 0, 1, False, _plain(ops.invert)),
}

RESMOOTH_TABLE = Table(
    (
        Operation("Identity", 0, 1, False, _identity),
        Operation("ShearX", 0, 0.3, True, _graded(ops.shear_x)),
        Operation("ShearY", 0, 0.3, True, _graded(ops.shear_y)),
        Operation("TranslateX", 0, 0.45, True, _translation(ops.translate_x, -1, True)),
        Operation("TranslateY", 0, 0.45, True, _translation(ops.translate_y, -2, True)),
        Operation("Rotate", 0, 30, True, _graded(ops.rotate)),
        _UNGRADED["AutoContrast"],
        _UNGRADED["Invert"],
        _UNGRADED["Equalize"],
        Operation("Solarize", 0, 256, False, _graded(ops.solarize)),
        Operation("Posterize", 4, 8, False, _graded(ops.posterize)),
        Operation("Color", 0.1, 1.9, False, _graded(ops.color)),
        Operation("Brightness", 0.1, 1.9, False, _graded(ops.brightness)),
        Operation("Sharpness", 0.1, 1.9, False, _graded(ops.sharpness)),
    ),
    full=30,
)

RESMOOTH_SEVERE_TABLE = Table(
    (
        Operation("ShearX", 0, 2, True, _graded(ops.shear_x)),
        Operation("ShearY", 0, 2, True, _graded(ops.shear_y)),
        Operation("TranslateX", 0, 1, True, _translation(ops.translate_x, -1, True)),
        Operation("TranslateY", 0, 1, True, _translation(ops.translate_y, -2, True)),
        Operation("Cutout", 0, 1, False, _cutout_area),
    ),
    full=10,
)

HOOD_TABLE = Table(
    (
        _UNGRADED["AutoContrast"],
        _UNGRADED["Equalize"],
        _UNGRADED["Invert"],
        Operation("Rotate", 0, 30, True, _graded(ops.rotate)),
        Operation("Posterize", 0, 4, False, _graded(ops.posterize)),
        Operation("Solarize", 0, 256, False, _graded(ops.solarize)),
        Operation("SolarizeAdd", 0, 110, False, _graded(ops.solarize_add)),
        Operation("Color", 0.1, 1.9, False, _graded(ops.color)),
        Operation("Contrast", 0.1, 1.9, False, _graded(ops.contrast)),
        Operation("Brightness", 0.1, 1.9, False, _graded(ops.brightness)),
        Operation("Sharpness", 0.1, 1.9, False, _graded(ops.sharpness)),
        Operation("ShearX", 0, 0.3, True, _graded(ops.shear_x)),
        Operation("ShearY", 0, 0.3, True, _graded(ops.shear_y)),
        Operation("CutoutAbs", 0, 40, False, _cutout),
        Operation("TranslateXabs", 0, 100, True, _translation(ops.translate_x, -1, False)),
        Operation("TranslateYabs", 0, 100, True, _translation(ops.translate_y, -2, False)),
    ),
    full=30,
)
