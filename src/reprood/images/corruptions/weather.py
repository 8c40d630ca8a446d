"""Fog, snow and frost.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments. A strength is
one number for all images or a tensor [B] with one for each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reprood.images.corruptions.blurs import motion
from reprood.images.corruptions.pixels import each, finish
from reprood.images.corruptions.sampling import blur, enlarging_matrix, matrices, zoomed_length


def plasma(uniform: Tensor, side: int, decay: float | Tensor) -> Tensor:
    """Plasma maps by the diamond-square rule with wrap-around, in [0, 1].

    Parameters
    ----------
    uniform : Tensor [B, side * side - 1]
        Draws in [0, 1), in the order of their use.
    side : int
        A power of two.
    decay : float or Tensor [B]
        The wobble is divided by it at each finer step.

    Returns
    -------
    Tensor [B, side, side]
        Of the type of the draws.
    """
    if isinstance(decay, Tensor):
        decay = decay.to(uniform).view(-1, 1, 1)
    maps = uniform.new_zeros(len(uniform), side, side)
    signed = 2 * uniform - 1
    used, step = 0, side
    wobble: float | Tensor = 100.0

    def draw() -> Tensor:
        nonlocal used
        cells = side // step
        drawn = signed[:, used : used + cells * cells].view(-1, cells, cells)
        used += cells * cells
        return drawn * (wobble * wobble)

    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]
        down, across = corners + corners.roll(-1, 1), corners + corners.roll(-1, 2)
        centres = (down + down.roll(-1, 2)).div_(4).add_(draw())
        maps[:, half::step, half::step] = centres
        maps[:, ::step, half::step] = across.add_(centres).add_(centres.roll(1, 1)).div_(4).add_(draw())
        maps[:, half::step, ::step] = down.add_(centres).add_(centres.roll(1, 2)).div_(4).add_(draw())
        step, wobble = half, wobble / decay
    maps -= maps.amin(dim=(1, 2), keepdim=True)
    return maps.div_(maps.amax(dim=(1, 2), keepdim=True))


def fog(images: Tensor, uniform: Tensor, side: int, amount: float | Tensor, decay: float | Tensor) -> Tensor:
    """X + a P, scaled so that the brightest value stays; the same plasma P for all channels."""
    height, width = images.shape[2:]
    mist = plasma(uniform, side, decay)[:, None, :height, :width].to(images)
    amount = each(amount, images)
    top = images.amax(dim=(1, 2, 3), keepdim=True)
    return finish((images + amount * mist) * (top / (top + amount)))


def luma(images: Tensor) -> Tensor:
    """Grey [B, 1, H, W]: .299 R + .587 G + .114 B, or the one channel."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def snow(images: Tensor, normal: Tensor, angles: Tensor, strength: Sequence[float | Tensor]) -> Tensor:
    """Flakes: thresholded noise, enlarged, moved; added with their image turned by 180 degrees to a whitened image.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    normal : Tensor [B, H, W]
        Standard normal.
    angles : Tensor [B]
        Of the motion, in degrees.
    strength : seven numbers or Tensors [B]
        Mean, spread, zoom, threshold, radius, sigma, share of the image.
    """
    mean, spread, zoom, threshold, radius, sigma, share = strength
    height, width = images.shape[2:]
    noise = normal[:, None].to(images)
    noise = each(mean, images) + each(spread, images) * noise
    zooms = zoom.tolist() if isinstance(zoom, Tensor) else [zoom] * len(images)
    # The motion takes place in the whole enlarged layer, which is larger than the image at some zooms.
    lengths = [[zoomed_length(size, factor) for factor in zooms] for size in (height, width)]
    down, across = (max(own) for own in lengths)
    rows = matrices(lambda factor: enlarging_matrix(height, factor, down), zoom, images)
    columns = matrices(lambda factor: enlarging_matrix(width, factor, across), zoom, images)
    flakes = rows @ noise @ columns.mT
    flakes = torch.where(flakes < each(threshold, images), 0.0, flakes).clamp_(0, 1)
    limits = torch.tensor(lengths)
    flakes = motion(flakes, angles, radius, sigma, (limits[0], limits[1]))[:, :, :height, :width]
    flakes = (flakes * 255).round_().div_(255)
    share = each(share, images)
    white = share * images + (1 - share) * torch.maximum(images, luma(images) * 1.5 + 0.5)
    return finish(white + flakes + flakes.flip(2, 3))


def frost(images: Tensor, texture: Tensor, keep: float | Tensor, amount: float | Tensor) -> Tensor:
    """A x + b texture; `texture` [B, C, H, W] in [0, 1]."""
    return finish(each(keep, images) * images + each(amount, images) * texture)


def frost_texture(uniform: Tensor, side: int) -> Tensor:
    """A drawn stand-in for photographs of frost, [B, side, side] in [0, 1]: needles along the ridges of a plasma.

    The photographs that the published code uses are not distributed with it. Ridges (where a plasma crosses its
    middle) look like the edges of ice crystals; a second, rougher plasma gives them their grain. Every image gets a
    texture of its own, without colour.

    Parameters
    ----------
    uniform : Tensor [B, 2 * (side * side - 1)]
        Draws in [0, 1).
    side : int
        A power of two.
    """
    count = len(uniform)
    decay = torch.tensor([2.0] * count + [1.3] * count)
    half = side * side - 1
    maps = plasma(torch.cat((uniform[:, :half], uniform[:, half:])), side, decay)
    smooth, grain = maps[:count], maps[count:]
    ridges = 1 - (2 * smooth - 1).abs()
    crystals = ridges**4 * 0.7 + 0.6 * (grain - 0.5).clamp(min=0) + 0.15
    return blur(crystals[:, None], 0.5)[:, 0].clamp(0, 1)
