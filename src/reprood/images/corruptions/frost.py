"""Frost: a photograph of frost is blended in, or a drawn texture of ice crystals if there are no photographs."""

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255
from reprood.images.corruptions.fog import plasma, power_of_two
from reprood.images.filters import blur


def frost_texture(uniform: Tensor, side: int) -> Tensor:
    """Draw a grey texture per image in place of a photograph of frost: needles along the ridges of a plasma.

    Ridges (where a plasma map crosses 1/2) look like the edges of ice crystals; a second, rougher plasma adds grain.
    Compared with crops of the photographs the texture is darker (mean 0.44 instead of 0.64), grey instead of blue, and
    has three times the contrast within a crop.

    Parameters
    ----------
    uniform : Tensor [B, 2 * (side * side - 1)]
        Draws in [0, 1).
    side : int
        A power of two.

    Returns
    -------
    Tensor [B, side, side]
        In [0, 1].
    """
    count = len(uniform)
    decay = torch.tensor([2.0] * count + [1.3] * count)
    half = side * side - 1
    maps = plasma(torch.cat((uniform[:, :half], uniform[:, half:])), side, decay)
    smooth, grain = maps[:count], maps[count:]
    ridges = 1 - (2 * smooth - 1).abs()
    crystals = ridges**4 * 0.7 + 0.6 * (grain - 0.5).clamp(min=0) + 0.15
    return blur(crystals[:, None], 0.5)[:, 0].clamp(0, 1)


def frost(images: Tensor, texture: Tensor, keep: float | Tensor, amount: float | Tensor) -> Tensor:
    """Return keep x + amount texture on the scale 0..255, for images and textures [B, C, H, W] in [0, 1]."""
    return clip_to_255(broadcast(keep, images) * images + broadcast(amount, images) * texture)


def _draw(images: Tensor, strength: tuple[float | Tensor, float | Tensor], draws: Draws) -> Tensor:
    photographs = draws.frost()
    if photographs is not None:
        return frost(images, photographs, *strength)
    side = power_of_two(max(images.shape[2:]))
    texture = frost_texture(draws.uniform(len(images), 2 * (side * side - 1)), side)
    return frost(images, texture[:, None, : images.shape[2], : images.shape[3]], *strength)


# Strength: weights of the image and of the texture.
CORRUPTION = Corruption(
    "frost",
    _draw,
    cifar=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    imagenet=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
)
