"""Fog, snow and frost.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments.
"""

import torch
from torch import Tensor

from reprood.images.corruptions.blurs import motion
from reprood.images.corruptions.pixels import finish
from reprood.images.corruptions.sampling import blur, zoom_matrix


def plasma(uniform: Tensor, side: int, decay: float) -> Tensor:
    """Plasma maps by the diamond-square rule with wrap-around, in [0, 1].

    Parameters
    ----------
    uniform : float64 Tensor [B, side * side - 1]
        Draws in [0, 1), in the order of their use.
    side : int
        A power of two.
    decay : float
        The wobble is divided by it at each finer step.

    Returns
    -------
    float64 Tensor [B, side, side]
    """
    maps = uniform.new_zeros(len(uniform), side, side)
    used, wobble, step = 0, 100.0, side

    def draw(cells: Tensor) -> Tensor:
        nonlocal used
        count = cells.shape[1] * cells.shape[2]
        drawn = uniform[:, used : used + count].view(-1, cells.shape[1], cells.shape[2])
        used += count
        return wobble * (-wobble + 2 * wobble * drawn)

    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]
        around = corners + corners.roll(-1, 1)
        around = around + around.roll(-1, 2)
        maps[:, half::step, half::step] = around / 4 + draw(corners)
        centres, corners = maps[:, half::step, half::step], maps[:, ::step, ::step]
        vertical = centres + centres.roll(1, 1)
        maps[:, ::step, half::step] = (vertical + corners + corners.roll(-1, 2)) / 4 + draw(corners)
        horizontal = centres + centres.roll(1, 2)
        maps[:, half::step, ::step] = (horizontal + corners + corners.roll(-1, 1)) / 4 + draw(corners)
        step, wobble = half, wobble / decay
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / maps.amax(dim=(1, 2), keepdim=True)


def fog(images: Tensor, uniform: Tensor, side: int, amount: float, decay: float) -> Tensor:
    """X + a P, scaled so that the brightest value stays; the same plasma P for all channels."""
    height, width = images.shape[2:]
    mist = plasma(uniform, side, decay)[:, None, :height, :width].to(images)
    top = images.amax(dim=(1, 2, 3), keepdim=True)
    return finish((images + amount * mist) * top / (top + amount))


def luma(images: Tensor) -> Tensor:
    """Grey [B, 1, H, W]: .299 R + .587 G + .114 B, or the one channel."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def snow(images: Tensor, normal: Tensor, angles: Tensor, strength: tuple[float, ...]) -> Tensor:
    """Flakes: thresholded noise, enlarged, moved; added with their image turned by 180 degrees to a whitened image.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    normal : Tensor [B, H, W]
        Standard normal.
    angles : Tensor [B]
        Of the motion, in degrees.
    strength : tuple
        Mean, spread, zoom, threshold, radius, sigma, share of the image.
    """
    mean, spread, zoom, threshold, radius, sigma, share = strength
    flakes = (mean + spread * normal)[:, None].to(images)
    rows = zoom_matrix(images.shape[2], zoom, "start").to(images)
    columns = zoom_matrix(images.shape[3], zoom, "start").to(images)
    flakes = rows @ flakes @ columns.T
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = (motion(flakes, angles, int(radius), sigma) * 255).round() / 255
    white = share * images + (1 - share) * torch.maximum(images, luma(images) * 1.5 + 0.5)
    return finish(white + flakes + flakes.flip(2, 3))


def frost(images: Tensor, texture: Tensor, keep: float, amount: float) -> Tensor:
    """A x + b texture; `texture` [B, C, H, W] in [0, 1]."""
    return finish(keep * images + amount * texture)


def frost_texture(uniform: Tensor, side: int) -> Tensor:
    """A drawn stand-in for photographs of frost, [B, side, side] in [0, 1]: needles along the ridges of a plasma.

    The photographs that the published code uses are not distributed with it. Ridges (where a plasma crosses its
    middle) look like the edges of ice crystals; a second, rougher plasma gives them their grain.

    Parameters
    ----------
    uniform : float64 Tensor [B, 2 * (side * side - 1)]
        Draws in [0, 1).
    side : int
        A power of two.
    """
    count = side * side - 1
    ridges = 1 - (2 * plasma(uniform[:, :count], side, 2.0) - 1).abs()
    grain = plasma(uniform[:, count:], side, 1.3)
    crystals = (ridges**4 * 0.7 + 0.6 * (grain - 0.5).clamp(min=0) + 0.15)[:, None]
    return blur(crystals, 0.5)[:, 0].clamp(0, 1)
