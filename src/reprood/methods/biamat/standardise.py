"""Standardisation of each image by its own mean and standard deviation."""

import math

from torch import Tensor


def standardise_each(images: Tensor, white: float = 1.0) -> Tensor:
    """Return (x - mean) / max(deviation, 1 / sqrt(n)) of each image, over all its n = C * H * W values.

    The deviation is that of the population. Its lower bound, in units of 0..255 images, keeps images without contrast
    finite; a constant image becomes 0. This is TensorFlow's `per_image_standardization`, which the networks of
    Madry et al. (2018) have as their first layer; gradients pass through the statistics.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floats.
    white : float
        The value of a white pixel: 1 or 255.

    Returns
    -------
    Tensor [B, C, H, W]

    Examples
    --------
    >>> import torch
    >>> standardise_each(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)).flatten()
    tensor([-1.,  1.])
    """
    each = (1, 2, 3)
    centred = images - images.mean(dim=each, keepdim=True)
    least = white / 255 / math.sqrt(images[0].numel()) if len(images) else 1.0
    # The root is taken above the bound only: its slope at 0 is infinite.
    variance = centred.square().mean(dim=each, keepdim=True).clamp(min=least**2)
    return centred / variance.sqrt()
