"""The middle of an image, which networks for localisation see (CutMix, appendix B)."""

from torch import Tensor

from reprood.core.errors import ReproodError


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
