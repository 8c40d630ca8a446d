"""Draws of the published frosted-glass blur, in the form that the batched one takes."""

from torch import Tensor


def in_place(offsets: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Put offsets, given in the order of the visits, at the positions of their pixels, and (0, 0) elsewhere.

    Parameters
    ----------
    offsets : int64 Tensor [B, passes, n, 2]
        (dx, dy) in -reach..reach - 1 of the n visited pixels: rows from H - reach down to reach + 1, in each row
        columns from W - reach down to reach + 1.

    Returns
    -------
    int64 Tensor [B, passes, 2, H, W]
    """
    count, passes = offsets.shape[:2]
    visited = offsets.view(count, passes, height - 2 * reach, width - 2 * reach, 2).flip(2, 3).permute(0, 1, 4, 2, 3)
    placed = offsets.new_zeros(count, passes, 2, height, width)
    placed[..., reach + 1 : height - reach + 1, reach + 1 : width - reach + 1] = visited
    return placed
