"""Quarter turns and translations of whole batches, and the labels that a network is to find of them."""

import torch
from torch import Tensor

from reprood.core.errors import ReproodError


def rotate(images: Tensor, quarter_turns: int | Tensor) -> Tensor:
    """Turn images [B, C, H, W] counter-clockwise.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Square where an image is turned by an odd number.
    quarter_turns : int or int64 Tensor [B]
        One number for all, or one for each.
    """
    if isinstance(quarter_turns, int):
        return torch.rot90(images, quarter_turns, (2, 3))
    turned = torch.stack([torch.rot90(images, k, (2, 3)) for k in range(4)])
    return turned[quarter_turns % 4, torch.arange(len(images), device=images.device)]


def rotated_batch(images: Tensor) -> tuple[Tensor, Tensor]:
    """All four turns of a batch, [R0; R1; R2; R3] [4B, C, H, W], and their numbers int64 [4B]."""
    turns = torch.arange(4, device=images.device).repeat_interleave(len(images))
    return torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)]), turns


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places of a line mirrored at its end pixels, which are not repeated ("reflect 101")."""
    period = 2 * (size - 1)
    inside = places.remainder(period)
    return torch.where(inside < size, inside, period - inside)


def translate(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Shift each image by whole pixels; what comes in is a mirror image without the border pixel.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    dx, dy : int64 Tensor [B]
        Positive = to the right, down.

    Raises
    ------
    ReproodError
        When an image has a side of one pixel: there is nothing to mirror.
    """
    count, channels, height, width = images.shape
    if min(height, width) < 2:
        raise ReproodError(f"Images of {height} x {width} pixels cannot be shifted with mirrored borders.")
    rows = _reflected(torch.arange(height, device=images.device) - dy[:, None], height)
    columns = _reflected(torch.arange(width, device=images.device) - dx[:, None], width)
    moved = images.gather(2, rows[:, None, :, None].expand(count, channels, height, width))
    return moved.gather(3, columns[:, None, None, :].expand(count, channels, height, width))
