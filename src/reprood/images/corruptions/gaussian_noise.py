"""Gaussian noise."""

from torch import Tensor

from reprood.images.corruption import Corruption, broadcast, clip_to_255


def gaussian_noise(images: Tensor, normal: Tensor, sigma: float | Tensor) -> Tensor:
    """Return x + sigma z on the scale 0..255, for images x [B, C, H, W] in [0, 1] and standard normal z of that shape.

    `sigma` is a number or a tensor [B].
    """
    return clip_to_255(images + broadcast(sigma, images) * normal)


CORRUPTION = Corruption(
    "gaussian_noise",
    lambda x, sigma, draws: gaussian_noise(x, draws.normal(*x.shape), sigma),
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10),
    imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
)
