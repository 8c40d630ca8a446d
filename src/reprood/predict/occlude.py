"""Occlusion of images: a square in the middle is hidden, or everything around it (CutMix, section 4.4)."""

import torch
from torch import Tensor

from reprood.core.errors import ReproodError


def occlude(images: Tensor, side: int, where: str) -> Tensor:
    """Replace a square in the middle of each image, or everything around it, by the mean colour.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Normalised: 0 is the mean colour of the training images. The paper does not say in which space it sets zeros.
    side : int
        Of the square, 0 to the image's side; of an odd remainder, the smaller half is above and left of it.
    where : {"center", "boundary"}
        Which part is hidden.

    Returns
    -------
    Tensor [B, C, H, W]

    Raises
    ------
    ReproodError
        For an unknown `where`, or a square that is larger than the image.
    """
    height, width = images.shape[2:]
    if where not in ("center", "boundary"):
        raise ReproodError(f"Occlusion is 'center' or 'boundary', not '{where}'.")
    if not 0 <= side <= min(height, width):
        raise ReproodError(f"A hole of {side} pixels does not fit into images of {height} x {width}; lower 'sides'.")
    top, left = (height - side) // 2, (width - side) // 2
    inside = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    inside[top : top + side, left : left + side] = True
    return images.masked_fill(inside if where == "center" else ~inside, 0.0)
