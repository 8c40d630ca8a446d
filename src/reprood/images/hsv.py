"""Value and saturation of HSV, as far as corruptions need them."""

import torch
from torch import Tensor


def decompose(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split RGB images [B, 3, H, W] into value, saturation and each channel's relative distance from the value.

    Returns
    -------
    value, saturation : Tensor [B, 1, H, W]
    position : Tensor [B, 3, H, W]
        (value - channel) / (largest - smallest channel): 0 for the largest channel, 1 for the smallest. It encodes the
        hue: channel = value * (1 - saturation * position).
    """
    value = images.amax(dim=1, keepdim=True)
    spread = value - images.amin(dim=1, keepdim=True)
    saturation = torch.where(value > 0, spread / value.clamp(min=1e-12), 0.0)
    position = torch.where(spread > 0, (value - images) / spread.clamp(min=1e-12), 0.0)
    return value, saturation, position
