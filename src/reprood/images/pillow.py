"""Conversion between batches of tensors and Pillow images."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pillow(images: Tensor) -> list[Image.Image]:
    """Convert float images [B, 1 or 3, H, W] in [0, 1] to Pillow images, rounded to whole grey levels."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(row[..., 0] if row.shape[2] == 1 else row) for row in pixels]


def from_pillow(pictures: Sequence[Image.Image], like: Tensor) -> Tensor:
    """Convert Pillow images to a tensor [B, C, H, W] with values 0..255, of the dtype and device of `like`."""
    pixels = np.stack([np.array(picture) for picture in pictures])
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(like)
