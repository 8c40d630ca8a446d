"""Blurs: Gaussian, defocus, frosted glass, motion, zoom.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from reprood.images.corruptions.pixels import finish
from reprood.images.corruptions.sampling import blur, correlate, wrap, zoom_matrix


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Cut at four standard deviations, edge pixels repeated."""
    return finish(blur(images, sigma))


@lru_cache(maxsize=64)
def disk(radius: float, alias: float) -> Tensor:
    """A disk of a radius in pixels, smoothed by a small Gaussian; [17, 17], or larger for radii above 8."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    places = np.arange(-reach, reach + 1)
    inside = (places[:, None] ** 2 + places[None] ** 2 <= radius**2).astype(np.float64)
    kernel = torch.from_numpy(inside / inside.sum())[None, None]
    half = taps // 2
    line = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * alias**2))
    line = line / line.sum()
    return correlate(kernel, line[:, None] * line[None])[0, 0]


def defocus_blur(images: Tensor, radius: float, alias: float) -> Tensor:
    """Correlation with a disk, borders mirrored."""
    return finish(correlate(images, disk(radius, alias)))


def glass_blur(images: Tensor, offsets: Tensor, sigma: float, reach: int) -> Tensor:
    """Blur, let pixels be overwritten by near ones, blur again.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    offsets : int64 Tensor [B, passes, n, 2]
        (dx, dy) in -reach..reach - 1 of the n pixels in the order in which they are visited: rows from H - reach down
        to reach + 1, columns alike. A pixel copies its neighbour as it is by then (the published code means to swap
        the two, but array views make it a copy).
    sigma, reach
        Strength.
    """
    height, width = images.shape[2:]
    soft = (blur(images, sigma) * 255).floor() / 255
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    order = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    drawn = offsets.cpu().numpy()
    # where each pixel's value comes from, [pixels, B], followed through the copies
    source = np.repeat(np.arange(height * width)[:, None], len(images), axis=1)
    batch = np.arange(len(images))
    for part in range(drawn.shape[1]):
        near = (order[None, :, 0] + drawn[:, part, :, 1]) * width + order[None, :, 1] + drawn[:, part, :, 0]
        own = order[:, 0] * width + order[:, 1]
        for step in range(len(order)):
            source[own[step]] = source[near[:, step], batch]
    index = torch.from_numpy(source.T.copy()).to(images.device)[:, None].expand(-1, images.shape[1], -1)
    moved = soft.flatten(2).gather(2, index).view_as(soft)
    return finish(blur(moved, sigma))


def glass_steps(height: int, width: int, reach: int) -> int:
    """Pixels that are visited in one pass."""
    return max(height - 2 * reach, 0) * max(width - 2 * reach, 0)


def motion(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """One-sided motion of [B, C, H, W] by whole pixels along each image's angle in degrees [B], edges repeated."""
    taps = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    height, width = images.shape[2:]
    radians = torch.deg2rad(angles.double())
    found = torch.zeros_like(images)
    going = torch.ones(len(images), dtype=torch.bool, device=images.device)
    flat = images.flatten(2)
    for i, weight in enumerate(taps):
        dy = -torch.ceil(i * torch.sin(radians) - 0.5).long()
        dx = -torch.ceil(i * torch.cos(radians) - 0.5).long()
        going = going & (dy.abs() < height) & (dx.abs() < width)
        y = wrap(torch.arange(height, device=images.device) - dy[:, None], height, "edge")
        x = wrap(torch.arange(width, device=images.device) - dx[:, None], width, "edge")
        index = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None].expand(-1, images.shape[1], -1)
        share = (weight / sum(taps)) * going.to(images.dtype)
        found += flat.gather(2, index).view_as(images) * share.view(-1, 1, 1, 1)
    return found


def motion_blur(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Motion along an angle in degrees for each image [B]."""
    return finish(motion(images, angles, radius, sigma))


def zoom_blur(images: Tensor, largest: float, step: float, keep: str) -> Tensor:
    """Mean of the image and of its enlargements by 1, 1 + step, ... below `largest`; `keep` as in `zoom_matrix`."""
    factors = np.arange(1, largest, step)  # its rounding decides the sizes
    total = images.clone()
    for factor in factors:
        rows = zoom_matrix(images.shape[2], float(factor), keep).to(images)
        columns = zoom_matrix(images.shape[3], float(factor), keep).to(images)
        total += rows @ images @ columns.T
    return finish(total / (len(factors) + 1))
