"""Contrast: values move towards the mean of their channel."""

from torch import Tensor

from reprood.images.corruption import Corruption, broadcast, clip_to_255


def contrast(images: Tensor, factor: float | Tensor) -> Tensor:
    """Return (x - m) factor + m on the scale 0..255, for images x [B, C, H, W] in [0, 1] and channel means m.

    `factor` is a number or a tensor [B].
    """
    mean = images.mean(dim=(2, 3), keepdim=True)
    return clip_to_255((images - mean) * broadcast(factor, images) + mean)


CORRUPTION = Corruption(
    "contrast",
    lambda x, factor, draws: contrast(x, factor),
    cifar=(0.75, 0.5, 0.4, 0.3, 0.15),
    imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
)
