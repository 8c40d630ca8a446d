"""Zoom blur: the mean of an image and of its enlargements."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from reprood.images.corruption import Corruption, clip_to_255
from reprood.images.filters import shorten, sum_of_products, zoom_matrix


@lru_cache(maxsize=64)
def _products(height: int, width: int, largest: float, step: float, keep: str) -> tuple[Tensor, Tensor]:
    """Return the mean of an image and its enlargements as a sum of products, [n, H, H] and [n, W, W]."""
    factors = [float(factor) for factor in np.arange(1, largest, step)]  # the rounding of arange decides the sizes
    rows, columns = (
        torch.stack([torch.eye(size, dtype=torch.float64), *(zoom_matrix(size, factor, keep) for factor in factors)])
        for size in (height, width)
    )
    return shorten(rows / (len(factors) + 1), columns)


def zoom_blur(images: Tensor, largest: float, step: float, keep: str) -> Tensor:
    """Average images [B, C, H, W] in [0, 1] with their enlargements by 1, 1 + step, ... below `largest`.

    `keep` is the part of an enlargement that is kept, as in `filters.zoom_matrix`. Returns values on the scale 0..255.
    """
    return clip_to_255(sum_of_products(images, *_products(images.shape[2], images.shape[3], largest, step, keep)))


# Strength: largest factor, step, and which part of an enlargement the published code keeps.
CORRUPTION = Corruption(
    "zoom_blur",
    lambda x, strength, draws: zoom_blur(x, *strength),
    cifar=tuple((largest, 0.01, "middle") for largest in (1.06, 1.11, 1.16, 1.21, 1.26)),
    imagenet=(
        (1.11, 0.01, "start"),
        (1.16, 0.01, "start"),
        (1.21, 0.02, "start"),
        (1.26, 0.02, "start"),
        (1.31, 0.03, "start"),
    ),
    per_image=False,
)
