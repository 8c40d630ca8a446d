"""Frosted-glass blur: pixels are replaced by near ones, between two Gaussian blurs."""

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, clip_to_255
from reprood.images.filters import blur


def _source_pixels(offsets: Tensor) -> Tensor:
    """Return which original pixel each pixel shows after all passes, int64 [B, H * W]; `offsets` as in `glass_blur`."""
    count, passes, _, height, width = offsets.shape
    own = torch.arange(height * width, device=offsets.device)
    source = own.expand(count, -1)
    for number in range(passes):
        neighbour = own + (offsets[:, number, 1] * width + offsets[:, number, 0]).flatten(1)
        # Pixels are visited from the last to the first, so a later neighbour has already been overwritten, whereas an
        # earlier one is still original. Original ones are marked by adding the number of pixels. Following links from
        # link to link doubles the length of the resolved chains at each step.
        link = torch.where(neighbour > own, neighbour, neighbour + len(own))
        ends = (own + len(own)).expand(count, -1)
        while bool((link < len(own)).any()):
            link = torch.cat((link, ends), dim=1).gather(1, link)
        source = source.gather(1, link - len(own))
    return source


def glass_blur(images: Tensor, offsets: Tensor, sigma: float | Tensor) -> Tensor:
    """Blur, overwrite pixels by near ones, and blur again.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    offsets : int64 Tensor [B, passes, 2, H, W]
        (dx, dy) of the neighbour that a pixel copies; (0, 0) leaves the pixel. Pixels are visited from the last row
        to the first and from right to left, and a pixel copies the current value of its neighbour. (The published code
        means to swap the two, but array views turn the swap into a copy.)
    sigma : float or Tensor [B]
        Standard deviation of both blurs in pixels.

    Returns
    -------
    Tensor [B, C, H, W]
        On the scale 0..255.
    """
    blurred = (blur(images, sigma) * 255).floor() / 255
    index = _source_pixels(offsets)[:, None].expand(-1, images.shape[1], -1)
    return clip_to_255(blur(blurred.flatten(2).gather(2, index).view_as(blurred), sigma))


def _draw(images: Tensor, strength: tuple[float | Tensor, ...], draws: Draws) -> Tensor:
    sigma = strength[0]
    reach, passes = (torch.as_tensor(value).view(-1, 1, 1, 1, 1) for value in strength[1:])
    height, width = images.shape[2:]
    most = int(passes.max())
    uniform = torch.rand(len(images), most, 2, height, width, generator=draws.generator)
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    visited = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    visited = visited & (torch.arange(most).view(1, -1, 1, 1, 1) < passes)
    offsets = torch.where(visited, (uniform * (2 * reach)).long() - reach.long(), 0)
    return glass_blur(images, offsets.to(images.device), sigma)


# Strength: sigma, largest offset, passes.
CORRUPTION = Corruption(
    "glass_blur",
    _draw,
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
