"""Rotate batches of images by multiples of 90 degrees, and translate them."""

import torch
from torch import Tensor

from reprood.core.errors import ReproodError


def rotate(images: Tensor, quarter_turns: int | Tensor) -> Tensor:
    """Rotate images [B, C, H, W] counter-clockwise by multiples of 90 degrees.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Square, if `quarter_turns` is a tensor.
    quarter_turns : int or int64 Tensor [B]
        One number for all images, or one per image.

    Raises
    ------
    ReproodError
        For a tensor of turns and images that are not square.
    """
    if isinstance(quarter_turns, int):
        return torch.rot90(images, quarter_turns, (2, 3))
    height, width = images.shape[2:]
    if height != width:
        raise ReproodError(
            f"Images of {height} x {width} pixels cannot be rotated by different quarter turns; use square ones."
        )
    turned = torch.stack([torch.rot90(images, k, (2, 3)) for k in range(4)])
    return turned[quarter_turns % 4, torch.arange(len(images), device=images.device)]


def rotated_batch(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return all four rotations of a batch, [R0; R1; R2; R3] [4B, C, H, W], and their labels 0..3, int64 [4B]."""
    turns = torch.arange(4, device=images.device).repeat_interleave(len(images))
    return torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)]), turns


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Mirror positions at the end pixels of a line, which are not repeated ("reflect 101")."""
    period = 2 * (size - 1)
    inside = positions.remainder(period)
    return torch.where(inside < size, inside, period - inside)


def translate(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Shift each image by whole pixels and fill with its mirror image, without repeating the border pixel.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        With sides of at least two pixels.
    dx, dy : int64 Tensor [B]
        Positive = to the right, down.

    Raises
    ------
    ReproodError
        If a side has one pixel, so that there is nothing to mirror.
    """
    count, channels, height, width = images.shape
    if min(height, width) < 2:
        raise ReproodError(
            f"Images of {height} x {width} pixels cannot be translated with mirrored borders; use larger images."
        )
    rows = _reflected(torch.arange(height, device=images.device) - dy[:, None], height)
    columns = _reflected(torch.arange(width, device=images.device) - dx[:, None], width)
    moved = images.gather(2, rows[:, None, :, None].expand(count, channels, height, width))
    return moved.gather(3, columns[:, None, None, :].expand(count, channels, height, width))
