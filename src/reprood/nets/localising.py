"""What networks for localisation share: the middle of an image, and its maps in the frame of the whole image."""

from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError

REDUCTION = 16  # pixels of an image for one position of the last maps


def centre_crop(images: Tensor, size: int | None) -> Tensor:
    """Return the middle `size` x `size` pixels of images [B, C, H, H]; the images themselves if they have that size.

    `size` None crops nothing.

    Raises
    ------
    ReproodError
        If the images are smaller, or cannot be cropped by the same number of pixels on all sides.

    Examples
    --------
    >>> import torch
    >>> centre_crop(torch.arange(16).view(1, 1, 4, 4), 2)[0, 0]
    tensor([[ 5,  6],
            [ 9, 10]])
    """
    if size is None or images.shape[2:] == (size, size):
        return images
    margin, odd = divmod(images.shape[2] - size, 2)
    if margin < 0 or odd or images.shape[2] != images.shape[3]:
        raise ReproodError(
            f"The middle {size} x {size} pixels of images of {images.shape[2]} x {images.shape[3]} cannot be cut out; "
            f"prepare square images of {size} pixels, or of an even number more."
        )
    return images[:, :, margin : margin + size, margin : margin + size]


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
