"""Snow: moving flakes over a whitened image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255
from reprood.images.corruptions.motion_blur import motion
from reprood.images.filters import enlarging_matrix, matrices, zoomed_length


def luma(images: Tensor) -> Tensor:
    """Return .299 R + .587 G + .114 B of images [B, 3, H, W], or the single channel: [B, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def snow(images: Tensor, normal: Tensor, angles: Tensor, strength: Sequence[float | Tensor]) -> Tensor:
    """Add flakes, and the same flakes rotated by 180 degrees, to a whitened image.

    Flakes are noise, enlarged, thresholded and blurred by motion.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    normal : Tensor [B, H, W]
        Standard normal.
    angles : Tensor [B]
        Of the motion, in degrees.
    strength : seven numbers or Tensors [B]
        Mean and standard deviation of the noise, zoom, threshold, radius and sigma of the motion, weight of the image
        against its whitened version.

    Returns
    -------
    Tensor [B, C, H, W]
        On the scale 0..255.
    """
    mean, deviation, zoom, threshold, radius, sigma, weight = strength
    height, width = images.shape[2:]
    noise = normal[:, None].to(images)
    noise = broadcast(mean, images) + broadcast(deviation, images) * noise
    zooms = zoom.tolist() if isinstance(zoom, Tensor) else [zoom] * len(images)
    # The motion is applied to the full enlarged layer, which is larger than the image at some zooms.
    lengths = [[zoomed_length(size, factor) for factor in zooms] for size in (height, width)]
    tallest, widest = (max(own) for own in lengths)
    rows = matrices(lambda factor: enlarging_matrix(height, factor, tallest), zoom, images)
    columns = matrices(lambda factor: enlarging_matrix(width, factor, widest), zoom, images)
    flakes = rows @ noise @ columns.mT
    flakes = torch.where(flakes < broadcast(threshold, images), 0.0, flakes).clamp_(0, 1)
    limits = torch.tensor(lengths)
    flakes = motion(flakes, angles, radius, sigma, (limits[0], limits[1]))[:, :, :height, :width]
    flakes = (flakes * 255).round_().div_(255)
    weight = broadcast(weight, images)
    white = weight * images + (1 - weight) * torch.maximum(images, luma(images) * 1.5 + 0.5)
    return clip_to_255(white + flakes + flakes.flip(2, 3))


def _draw(images: Tensor, strength: tuple[float | Tensor, ...], draws: Draws) -> Tensor:
    return snow(images, draws.normal(len(images), *images.shape[2:]), draws.angles(-135, -45), strength)


# Strength: as in `snow`.
CORRUPTION = Corruption(
    "snow",
    _draw,
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
