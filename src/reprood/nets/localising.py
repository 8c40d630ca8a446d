"""What networks for localisation share: maps of a cropped image in the frame of the whole one."""

from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError

REDUCTION = 16  # pixels of an image for one position of the last maps


def framed(maps: Tensor, images: Tensor, inner: Tensor) -> Tensor:
    """Return maps [B, d, h, w] of the middle part of images with a border of zeros, where there are no activations.

    A box found in them has the coordinates of the whole image.

    Parameters
    ----------
    maps : Tensor [B, d, h, w]
        Of `inner`, one position for 16 x 16 pixels.
    images, inner : Tensor [B, C, H, H], [B, C, I, I]
        The images and their middle part.

    Raises
    ------
    ReproodError
        If the border is not a whole number of positions.
    """
    border = (images.shape[2] - inner.shape[2]) // 2
    if border % REDUCTION:
        raise ReproodError(
            f"Maps of the middle {inner.shape[2]} of {images.shape[2]} pixels do not fit into the whole image: the "
            f"border of {border} pixels is no multiple of {REDUCTION}; change the image size or 'crop'."
        )
    positions = border // REDUCTION
    return functional.pad(maps, (positions,) * 4) if positions else maps
