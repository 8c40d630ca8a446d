"""Changes of stored images, bytes, applied to normalised ones; for figures."""

from collections.abc import Callable

import torch
from torch import Tensor


def on_bytes(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return normalised images [B, C, H, W] after a change of uint8 images.

    Normalised images do not say what black and white are: their extremes are used.

    Examples
    --------
    >>> on_bytes(torch.tensor([[[[-1.0, 1.0]]]]), lambda images: 255 - images)
    tensor([[[[ 1., -1.]]]])
    """
    low = images.amin()
    scale = (images.amax() - low).clamp(min=1e-12) / 255
    stored = ((images - low) / scale).round().to(torch.uint8)
    return change(stored).to(images.dtype) * scale + low
