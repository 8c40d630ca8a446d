"""CutPaste (Li et al. 2021): a patch of an image pasted elsewhere in it, large and upright, or thin and rotated (scar).

Images [B, C, H, W] of any type, rows downwards. Sizes are those of the paper (A.2), the order of draws is that of the
re-implementation by Runinho. One gather pastes the patches of a batch, each with its own size, angle and places; the
rotation equals Pillow's (nearest neighbour, expanded canvas, 16-bit fixed point) in every pixel, except for exact
quarter turns.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.methods.cutpaste.jitter import draw_jitter, jitter

Law = Literal["log", "intervals"]
Bounds = tuple[float, float]

FIXED = 1 << 16
TOGETHER = 2**17  # pixels of patches that are jittered in one canvas


@dataclass(frozen=True)
class Boxes:
    """The box that is cut out of each image, [row, row + height) x [column, column + width): int64 [B] in pixels."""

    row: Tensor
    column: Tensor
    height: Tensor
    width: Tensor

    def to(self, device: torch.device) -> "Boxes":
        """Return the boxes on another device."""
        parts = torch.stack((self.row, self.column, self.height, self.width)).to(device, non_blocking=True)
        return Boxes(*parts)

    def mask(self, height: int, width: int) -> Tensor:
        """Return which pixels are inside, bool [B, height, width]."""
        rows = torch.arange(height, device=self.row.device) - self.row[:, None]
        columns = torch.arange(width, device=self.row.device) - self.column[:, None]
        down, across = (rows >= 0) & (rows < self.height[:, None]), (columns >= 0) & (columns < self.width[:, None])
        return down[:, :, None] & across[:, None, :]


def rectangle_sizes(area: Tensor, log_aspect: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return heights and widths of patches, int64 [B], at least 1 and at most the image's.

    `area` [B] is a fraction of the image's, `log_aspect` [B] the logarithm of width / height.
    """
    pixels, aspect = area.double() * (height * width), log_aspect.double().exp()
    heights, widths = (pixels / aspect).sqrt().round(), (pixels * aspect).sqrt().round()
    return heights.clamp(1, height).to(torch.int64), widths.clamp(1, width).to(torch.int64)


def rotated_canvas(height: Tensor, width: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the pixels of a rotated patch come from.

    Parameters
    ----------
    height, width : int64 Tensor [B]
        Of the patch.
    degrees : Tensor [B]
        Counter-clockwise.

    Returns
    -------
    rows, columns : int64 Tensor [B]
        Size of the smallest canvas that Pillow computes for the rotated patch.
    table : int64 Tensor [B, 6]
        Pixel (y, x) of the canvas shows the patch's row (t3 x + t4 y + t5) >> 16 and column (t0 x + t1 y + t2) >> 16,
        and nothing where that is outside.
    """
    angle = -torch.deg2rad(degrees.double() % 360)
    cos, sin = (torch.round(values, decimals=15) for values in (angle.cos(), angle.sin()))
    across, down = width.double(), height.double()
    column_shift = across / 2 - (cos * across + sin * down) / 2
    row_shift = down / 2 - (-sin * across + cos * down) / 2
    zero = torch.zeros_like(across)
    corners = ((zero, zero), (across, zero), (across, down), (zero, down))
    xs = torch.stack([cos * x + sin * y + column_shift for x, y in corners])
    ys = torch.stack([-sin * x + cos * y + row_shift for x, y in corners])
    columns, rows = (ends.amax(0).ceil() - ends.amin(0).floor() for ends in (xs, ys))
    left, top = -(columns - across) / 2, -(rows - down) / 2
    column_shift, row_shift = cos * left + sin * top + column_shift, -sin * left + cos * top + row_shift
    entries = (
        cos, sin, column_shift + (cos + sin) / 2, -sin, cos, row_shift + (cos - sin) / 2,
    )  # fmt: skip
    table = (torch.stack(entries, 1) * FIXED + 0.5).floor().to(torch.int64)
    return rows.to(torch.int64), columns.to(torch.int64), table


def paste(
    images: Tensor,
    source: Tensor,
    boxes: Boxes,
    degrees: Tensor,
    top: Tensor,
    left: Tensor,
    canvas: tuple[int, int] | None = None,
) -> Tensor:
    """Paste a rotated patch of `source` into each image; parts beyond the border are lost.

    Parameters
    ----------
    images, source : Tensor [B, C, H, W], [B, C, h, w]
        Of one type; `source` may be `images`.
    boxes : Boxes
        What is cut, inside `source`.
    degrees : Tensor [B]
        Rotation of the patch, counter-clockwise; 0: not rotated.
    top, left : int64 Tensor [B]
        Position of the upper left corner of the rotated patch's canvas.
    canvas : (int, int), optional
        Largest numbers of rows and columns of any canvas; only a part of this size of each image is processed.

    Returns
    -------
    Tensor [B, C, H, W]
    """
    count, channels, height, width = images.shape
    canvas_rows, canvas_columns, table = rotated_canvas(boxes.height, boxes.width, degrees)
    rows_seen, columns_seen = (min(pair) for pair in zip(canvas or (height, width), (height, width), strict=True))
    first_row, first_column = top.clamp(0, height - rows_seen), left.clamp(0, width - columns_seen)
    seen_rows = first_row[:, None] + torch.arange(rows_seen, device=images.device)
    seen_columns = first_column[:, None] + torch.arange(columns_seen, device=images.device)
    down, across = (seen_rows - top[:, None])[:, :, None], (seen_columns - left[:, None])[:, None, :]
    on_canvas = (down >= 0) & (down < canvas_rows.view(-1, 1, 1))
    on_canvas = on_canvas & (across >= 0) & (across < canvas_columns.view(-1, 1, 1))
    entry = table.view(count, 6, 1, 1).unbind(1)
    columns = (entry[0] * across + entry[1] * down + entry[2]) >> 16
    rows = (entry[3] * across + entry[4] * down + entry[5]) >> 16
    shown = on_canvas & (rows >= 0) & (rows < boxes.height.view(-1, 1, 1))
    shown &= (columns >= 0) & (columns < boxes.width.view(-1, 1, 1))
    place = (rows + boxes.row.view(-1, 1, 1)) * source.shape[3] + columns + boxes.column.view(-1, 1, 1)
    place = torch.where(shown, place, 0).view(count, 1, -1).expand(count, channels, -1)
    pixels = source.flatten(2).gather(2, place)
    seen = (seen_rows[:, :, None] * width + seen_columns[:, None, :]).view(count, 1, -1).expand(count, channels, -1)
    flat = images.flatten(2)
    pixels = torch.where(shown.view(count, 1, -1), pixels, flat.gather(2, seen))
    return flat.scatter(2, seen, pixels).view_as(images)


def _between(draws: Tensor, bounds: Bounds) -> Tensor:
    return bounds[0] + draws * (bounds[1] - bounds[0])


def log_aspects(draws: Tensor, coins: Tensor, bounds: Bounds, law: Law) -> Tensor:
    """Return logarithms of width / height [B] from uniform `draws` and `coins` in [0, 1).

    "log": the logarithm is uniform between those of the bounds, as in torchvision's RandomErasing, on which the paper
    bases its code. "intervals": the aspect is uniform in (low, 1) or in (1, high), by a fair coin, which is the literal
    reading of the paper's "(0.3, 1) U (1, 3.3)" (A.2).
    """
    if law == "log":
        return _between(draws, (math.log(bounds[0]), math.log(bounds[1])))
    return torch.where(coins < 0.5, _between(draws, (bounds[0], 1.0)), _between(draws, (1.0, bounds[1]))).log()


def _corners(draws: Tensor, free: Tensor) -> Tensor:
    """Return integers uniform in 0 .. max(free, 1) - 1 from draws [B] in [0, 1): the floor of U(0, free)."""
    return (draws * free.clamp(min=0)).floor().to(torch.int64)


def rectangle_boxes(draws: Tensor, height: int, width: int, area: Bounds, aspect: Bounds, law: Law) -> Boxes:
    """Return upright boxes inside images of `height` x `width` pixels from uniform draws in [0, 1).

    Parameters
    ----------
    draws : Tensor [5 or more, B]
        For area, aspect, the coin of its law, row and column.
    height, width : int
        Of the images.
    area, aspect, law
        As in `random_cutpaste`.
    """
    sizes = rectangle_sizes(_between(draws[0], area), log_aspects(draws[1], draws[2], aspect, law), height, width)
    return Boxes(_corners(draws[3], height - sizes[0]), _corners(draws[4], width - sizes[1]), *sizes)


def _largest(rows: Tensor, columns: Tensor) -> tuple[int, int]:
    return int(rows.max()), int(columns.max())


def _patches(images: Tensor, boxes: Boxes, generator: Generator, strength: float) -> tuple[Tensor, Boxes]:
    """Return the jittered patches, in one canvas [B, C, h, w] that holds the largest, and their boxes in it.

    `boxes` are on the device of the draws, the result on that of the images. Only patches are jittered, because whole
    images would take longer than everything else.
    """
    if strength == 0:
        return images, boxes.to(images.device)
    heights, widths, by_height = boxes.height, boxes.width, boxes.height.argsort(stable=True)
    height, width = int(heights.max()), int(widths.max())
    boxes = boxes.to(images.device)
    rows = (boxes.row[:, None] + torch.arange(height, device=images.device)).clamp(max=images.shape[2] - 1)
    columns = (boxes.column[:, None] + torch.arange(width, device=images.device)).clamp(max=images.shape[3] - 1)
    place = (
        (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    )
    cut = images.flatten(2).gather(2, place).view(*images.shape[:2], height, width)
    corner = torch.zeros_like(boxes.row)
    inside = Boxes(corner, corner, boxes.height, boxes.width)
    factors, order = draw_jitter(len(images), generator, strength)
    jittered = torch.zeros_like(cut)
    groups = min(8, 1 + cut[:, 0].numel() // TOGETHER)
    for some in by_height.chunk(groups):  # patches of similar heights share a smaller canvas
        size = int(heights[some].max()), int(widths[some].max())
        rows = some.to(images.device, non_blocking=True)
        part = cut.index_select(0, rows)[:, :, : size[0], : size[1]]
        mask = inside.mask(*size).index_select(0, rows)
        jittered[rows, :, : size[0], : size[1]] = jitter(part, factors[some], order[some], mask)
    return jittered, inside


def random_cutpaste(
    images: Tensor,
    generator: Generator,
    area: Bounds = (0.02, 0.15),
    aspect: Bounds = (0.3, 3.3),
    law: Law = "log",
    strength: float = 0.1,
) -> Tensor:
    """Paste an upright patch of each image, its colours jittered, at another place of the image (CutPaste).

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        uint8, or of any type with `strength` 0.
    generator : Generator
        Source of the draws.
    area : (float, float)
        Bounds of the patch's fraction of the image's area, which is uniform.
    aspect, law
        Bounds of width / height, and how it is drawn (`log_aspects`).
    strength : float
        Of the colour jitter of the patch.
    """
    height, width = images.shape[2:]
    if not len(images):
        return images
    draws = torch.rand((7, len(images)), generator=generator, device=generator.device, dtype=torch.float64)
    boxes = rectangle_boxes(draws, height, width, area, aspect, law)
    corner = torch.stack((_corners(draws[5], height - boxes.height), _corners(draws[6], width - boxes.width)))
    top, left = corner.to(images.device, non_blocking=True)
    upright = torch.zeros(len(images))
    canvas = _largest(*rotated_canvas(boxes.height, boxes.width, upright)[:2])
    source, cut = _patches(images, boxes, generator, strength)
    return paste(images, source, cut, upright.to(images.device), top, left, canvas)


def random_scar(
    images: Tensor,
    generator: Generator,
    width: Bounds = (2, 16),
    height: Bounds = (10, 25),
    degrees: Bounds = (-45, 45),
    strength: float = 0.1,
) -> Tensor:
    """Paste a thin patch of each image, its colours jittered, rotated, at another place of the image (CutPaste-Scar).

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        uint8, or of any type with `strength` 0.
    generator : Generator
        Source of the draws.
    width, height : (float, float)
        Bounds of the patch's sides in pixels, which are uniform and then rounded.
    degrees : (float, float)
        Bounds of the rotation, counter-clockwise.
    strength : float
        Of the colour jitter of the patch.

    Raises
    ------
    ReproodError
        If a scar may be larger than the image.
    """
    if not len(images):
        return images
    boxes, angle, corner, canvas = place_scars(images, generator, width, height, degrees)
    top, left = corner.to(images.device, non_blocking=True)
    source, cut = _patches(images, boxes, generator, strength)
    return paste(images, source, cut, angle.to(images.device, non_blocking=True), top, left, canvas)


def place_scars(
    images: Tensor, generator: Generator, width: Bounds, height: Bounds, degrees: Bounds
) -> tuple[Boxes, Tensor, Tensor, tuple[int, int]]:
    """Return boxes, rotations [B], corners [2, B] of the canvases and the size of the largest one, for `random_scar`.

    Raises
    ------
    ReproodError
        If a scar may be larger than the image.
    """
    rows, columns = images.shape[2:]
    if height[1] > rows or width[1] > columns:
        raise ReproodError(
            f"Scars of {width[1]} x {height[1]} pixels do not fit into {columns} x {rows}; set smaller bounds."
        )
    draws = torch.rand((7, len(images)), generator=generator, device=generator.device, dtype=torch.float64)
    across, down = (_between(draw, bounds).round().clamp(min=1) for draw, bounds in zip(draws, (width, height)))
    row, column = _corners(draws[2], rows - down), _corners(draws[3], columns - across)
    angle = _between(draws[4], degrees)
    boxes = Boxes(row, column, down.to(torch.int64), across.to(torch.int64))
    # The re-implementation swaps the canvas' sides here, so that scars hang over the lower border more often.
    canvas_rows, canvas_columns, _ = rotated_canvas(boxes.height, boxes.width, angle)
    corner = torch.stack((_corners(draws[5], rows - canvas_rows), _corners(draws[6], columns - canvas_columns)))
    return boxes, angle, corner, _largest(canvas_rows, canvas_columns)
