"""Speckle noise: Gaussian noise proportional to the value."""

from torch import Tensor

from reprood.images.corruption import Corruption, broadcast, clip_to_255


def speckle_noise(images: Tensor, normal: Tensor, sigma: float | Tensor) -> Tensor:
    """Return x + x sigma z on the scale 0..255, for images x [B, C, H, W] in [0, 1] and standard normal z.

    `sigma` is a number or a tensor [B].
    """
    return clip_to_255(images + images * broadcast(sigma, images) * normal)


CORRUPTION = Corruption(
    "speckle_noise",
    lambda x, sigma, draws: speckle_noise(x, draws.normal(*x.shape), sigma),
    cifar=(0.06, 0.1, 0.12, 0.16, 0.2),
    imagenet=(0.15, 0.2, 0.35, 0.45, 0.6),
)
