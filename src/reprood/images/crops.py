"""Cut smaller windows out of images: at random places in training, at the centre otherwise."""

import torch
from torch import Generator, Tensor

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


def random_windows(images: Tensor, size: int, generator: Generator) -> Tensor:
    """Return a `size` x `size` window of each image [B, C, H, W], at a place drawn uniformly for each.

    Raises
    ------
    ReproodError
        If the images are smaller.
    """
    count, channels, height, width = images.shape
    if min(height, width) < size:
        raise ReproodError(
            f"Windows of {size} x {size} pixels do not fit into images of {height} x {width}; prepare larger images or "
            "lower 'crop'."
        )
    room = torch.tensor([height - size + 1, width - size + 1])
    draws = torch.rand(2, count, generator=generator, device=generator.device)
    top, left = (draws.cpu() * room[:, None]).long().to(images.device, non_blocking=True)
    span = torch.arange(size, device=images.device)
    rows, columns = top[:, None] + span, left[:, None] + span
    tall = images.gather(2, rows[:, None, :, None].expand(count, channels, size, width))
    return tall.gather(3, columns[:, None, None, :].expand(count, channels, size, size))
