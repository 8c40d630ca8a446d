"""Square holes in images: what is hidden is the middle, or everything but the middle (CutMix, section 4.4)."""

import torch
from torch import Tensor


def occlude(images: Tensor, side: int, where: str) -> Tensor:
    """Hide a square of normalised images [B, C, H, W] behind the mean colour (0)."""
    height, width = images.shape[2:]
    top, left = (height - side) // 2, (width - side) // 2
    inside = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    inside[top : top + side, left : left + side] = True
    return images.masked_fill(inside if where == "center" else ~inside, 0.0)
