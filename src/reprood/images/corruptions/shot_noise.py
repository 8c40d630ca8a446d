"""Shot noise (Poisson noise): a limited number of photons."""

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255


def shot_noise(counts: Tensor, photons: float | Tensor) -> Tensor:
    """Return counts / photons on the scale 0..255.

    Parameters
    ----------
    counts : Tensor [B, C, H, W]
        Draws from Poisson(photons * x), for images x in [0, 1].
    photons : float or Tensor [B]
        Expected count of a white value; fewer are noisier.
    """
    return clip_to_255(counts / broadcast(photons, counts))


def _draw(images: Tensor, photons: float | Tensor, draws: Draws) -> Tensor:
    counts = torch.poisson((images * broadcast(photons, images)).cpu(), generator=draws.generator)
    return shot_noise(counts.to(images.device), photons)


CORRUPTION = Corruption(
    "shot_noise",
    _draw,
    cifar=(500, 250, 100, 75, 50),
    imagenet=(60, 25, 12, 5, 3),
)
