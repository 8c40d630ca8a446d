"""Impulse noise (salt and pepper)."""

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255


def impulse_noise(images: Tensor, flipped: Tensor, salted: Tensor) -> Tensor:
    """Set flipped values to 1 where they are salted, else to 0; each channel of a pixel independently.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    flipped : bool Tensor [B, C, H, W]
        Values to replace.
    salted : bool Tensor [B, C, H, W]
        Those that become 1.

    Returns
    -------
    Tensor [B, C, H, W]
        On the scale 0..255.
    """
    return clip_to_255(torch.where(flipped, salted.to(images.dtype), images))


def _draw(images: Tensor, amount: float | Tensor, draws: Draws) -> Tensor:
    uniform, amount = draws.uniform(*images.shape), broadcast(amount, images)
    # One draw decides both: values below `amount` are flipped, those below half of it salted.
    return impulse_noise(images, uniform < amount, uniform < amount / 2)


# Strength: fraction of flipped values.
CORRUPTION = Corruption(
    "impulse_noise",
    _draw,
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07),
    imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
)
