"""Saturation: a linear change of the saturation of HSV."""

import torch
from torch import Tensor

from reprood.images import hsv
from reprood.images.corruption import Corruption, broadcast, clip_to_255


def saturate(images: Tensor, factor: float | Tensor, shift: float | Tensor) -> Tensor:
    """Return images [B, C, H, W] in [0, 1] with the saturation S of HSV replaced by factor S + shift, clipped.

    Grey pixels of RGB images get the hue 0 (red), as HSV defines it. Images with one channel have no colour and stay
    unchanged at every severity. `factor` and `shift` are numbers or tensors [B]; values are on the scale 0..255.
    """
    if images.shape[1] == 1:
        return clip_to_255(images)
    value, saturation, position = hsv.decompose(images)
    red = torch.tensor([0.0, 1.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    position = torch.where(saturation == 0, red, position)
    vivid = (saturation * broadcast(factor, images) + broadcast(shift, images)).clamp_(0, 1)
    return clip_to_255(value * (1 - vivid * position))


# Strength: factor, shift.
CORRUPTION = Corruption(
    "saturate",
    lambda x, strength, draws: saturate(x, *strength),
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)
