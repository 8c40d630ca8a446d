"""Transformations of images that CSI compares as shifts: Cutout, Sobel filter, Gaussian noise, Gaussian blur.

The authors' code has rotations and permuted quarters only, and the text was not available: the sizes and strengths here
are ours. Each function takes floats [B, C, H, W] in [0, 1] and returns the same.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reprood.images.filters import blur as gaussian_blur

GREY = 0.5
NOISE = 0.1  # standard deviation
LUMA = (0.299, 0.587, 0.114)


def cutout(images: Tensor, generator: Generator) -> Tensor:
    """Fill a square of half the side, at a random place inside each image, with grey (0.5)."""
    height, width = images.shape[2:]
    tall, wide = height // 2, width // 2
    draws = torch.rand((2, len(images), 1), generator=generator, device=generator.device)
    room = torch.tensor((height - tall + 1, width - wide + 1), device=draws.device).view(2, 1, 1)
    top, left = (draws * room).floor().to(images.device, non_blocking=True)
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    down, across = (rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide)
    return images.masked_fill((down[:, :, None] & across[:, None, :])[:, None], GREY)


def sobel(images: Tensor) -> Tensor:
    """Return the length of the luma's Sobel gradient in every channel, 1 (the largest) at a step from 0 to 1."""
    channels = images.shape[1]
    weights = torch.tensor(LUMA if channels == 3 else (1 / channels,) * channels, device=images.device)
    luma = (images * weights.to(images.dtype).view(1, -1, 1, 1)).sum(1, keepdim=True)
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype, device=images.device) / 4
    kernels = torch.stack((across, across.T))[:, None]
    gradient = functional.conv2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), kernels)
    return gradient.square().sum(1, keepdim=True).sqrt().clamp(max=1).expand(-1, channels, -1, -1).contiguous()


def noise(images: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise with a standard deviation of 0.1, clipped to [0, 1]."""
    drawn = torch.randn(images.shape, generator=generator, device=generator.device)
    return (images + NOISE * drawn.to(images.device, images.dtype, non_blocking=True)).clamp(0, 1)


def blur(images: Tensor) -> Tensor:
    """Smooth with a Gaussian with a standard deviation of 1/32 of the longer side, mirrored at the border."""
    return gaussian_blur(images, max(images.shape[2:]) / 32, truncate=3, mode="mirror")
