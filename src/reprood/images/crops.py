"""Cut smaller windows out of images at random places."""

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError


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
