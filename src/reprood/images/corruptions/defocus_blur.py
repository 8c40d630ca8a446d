"""Defocus blur: correlation with a disk."""

from functools import lru_cache

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, clip_to_255
from reprood.images.filters import filter_matrix, sum_of_products

# Singular values below this fraction of the largest are dropped: the difference does not show in a byte.
NEGLIGIBLE = 1e-7


@lru_cache(maxsize=64)
def disk(radius: float, alias: float) -> Tensor:
    """Return a disk with a radius in pixels, smoothed by a Gaussian of standard deviation `alias`.

    Returns
    -------
    float64 Tensor [17, 17]
        Larger for radii above 8.
    """
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    positions = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (positions[:, None] ** 2 + positions**2 <= radius**2).double()
    half = taps // 2
    line = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * alias**2))
    matrix = filter_matrix(line / line.sum(), len(positions), "mirror")
    return matrix @ (inside / inside.sum()) @ matrix.mT


@lru_cache(maxsize=64)
def _products(height: int, width: int, radius: float, alias: float) -> tuple[Tensor, Tensor]:
    """Return the correlation with a disk as a sum of products, [n, H, H] and [n, W, W], one per singular value."""
    u, values, v = torch.linalg.svd(disk(radius, alias))
    rank = int((values > NEGLIGIBLE * values[0]).sum())
    rows = torch.stack([filter_matrix(u[:, i] * values[i], height, "mirror") for i in range(rank)])
    return rows, torch.stack([filter_matrix(v[i], width, "mirror") for i in range(rank)])


def defocus_blur(images: Tensor, radius: float, alias: float) -> Tensor:
    """Correlate images [B, C, H, W] in [0, 1] with a disk, borders mirrored; returns values on the scale 0..255."""
    return clip_to_255(sum_of_products(images, *_products(images.shape[2], images.shape[3], radius, alias)))


# Strength: radius of the disk and standard deviation of its smoothing, in pixels.
CORRUPTION = Corruption(
    "defocus_blur",
    lambda x, strength, draws: defocus_blur(x, *strength),
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    per_image=False,
)
