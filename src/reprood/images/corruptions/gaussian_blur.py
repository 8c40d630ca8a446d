"""Gaussian blur."""

from torch import Tensor

from reprood.images.corruption import Corruption, clip_to_255
from reprood.images.filters import blur


def gaussian_blur(images: Tensor, sigma: float | Tensor) -> Tensor:
    """Blur images [B, C, H, W] in [0, 1]; the filter is cut at four standard deviations, edge pixels are repeated.

    `sigma` is in pixels, a number or a tensor [B]. Returns values on the scale 0..255.
    """
    return clip_to_255(blur(images, sigma))


CORRUPTION = Corruption(
    "gaussian_blur",
    lambda x, sigma, draws: gaussian_blur(x, sigma),
    cifar=(0.4, 0.6, 0.7, 0.8, 1.0),
    imagenet=(1, 2, 3, 4, 6),
)
