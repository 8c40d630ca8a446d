"""Blurs: Gaussian, defocus, frosted glass, motion, zoom.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments. A strength is
one number for all images or, where the signature says so, a tensor [B] with one for each.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reprood.images.corruptions.pixels import finish
from reprood.images.corruptions.sampling import blur, filter_matrix, shorten, sum_of_products, zoom_matrix

# Less than this part of an image does not show in a byte.
LIGHT = 1e-7
TAPS_AT_ONCE = 8


def gaussian_blur(images: Tensor, sigma: float | Tensor) -> Tensor:
    """Cut at four standard deviations, edge pixels repeated."""
    return finish(blur(images, sigma))


@lru_cache(maxsize=64)
def disk(radius: float, alias: float) -> Tensor:
    """A disk of a radius in pixels, smoothed by a small Gaussian; float64 [17, 17], larger for radii above 8."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (places[:, None] ** 2 + places**2 <= radius**2).double()
    half = taps // 2
    line = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * alias**2))
    matrix = filter_matrix(line / line.sum(), len(places), "mirror")
    return matrix @ (inside / inside.sum()) @ matrix.mT


@lru_cache(maxsize=64)
def _defocus(height: int, width: int, radius: float, alias: float) -> tuple[Tensor, Tensor]:
    """The correlation with a disk as a sum of products, [n, H, H] and [n, W, W]: one for each singular value."""
    u, values, v = torch.linalg.svd(disk(radius, alias))
    rank = int((values > LIGHT * values[0]).sum())
    rows = torch.stack([filter_matrix(u[:, i] * values[i], height, "mirror") for i in range(rank)])
    return rows, torch.stack([filter_matrix(v[i], width, "mirror") for i in range(rank)])


def defocus_blur(images: Tensor, radius: float, alias: float) -> Tensor:
    """Correlation with a disk, borders mirrored."""
    return finish(sum_of_products(images, *_defocus(images.shape[2], images.shape[3], radius, alias)))


def glass_steps(height: int, width: int, reach: int) -> int:
    """Pixels that are visited in one pass."""
    return max(height - 2 * reach, 0) * max(width - 2 * reach, 0)


def glass_places(offsets: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Offsets in the order of the visits at the places of their pixels, (0, 0) elsewhere.

    Parameters
    ----------
    offsets : int64 Tensor [B, passes, n, 2]
        (dx, dy) in -reach..reach - 1 of the n pixels in the order in which they are visited: rows from H - reach down
        to reach + 1, columns alike.
    height, width, reach : int

    Returns
    -------
    int64 Tensor [B, passes, 2, H, W]
    """
    count, passes = offsets.shape[:2]
    visited = offsets.view(count, passes, height - 2 * reach, width - 2 * reach, 2).flip(2, 3).permute(0, 1, 4, 2, 3)
    places = offsets.new_zeros(count, passes, 2, height, width)
    places[..., reach + 1 : height - reach + 1, reach + 1 : width - reach + 1] = visited
    return places


def _copied_from(places: Tensor) -> Tensor:
    """Which pixel of the original each pixel shows after all passes, int64 [B, H * W]."""
    count, passes, _, height, width = places.shape
    own = torch.arange(height * width, device=places.device)
    source = own.expand(count, -1)
    for part in range(passes):
        near = own + (places[:, part, 1] * width + places[:, part, 0]).flatten(1)
        # Visits go from the last pixel to the first, so a neighbour further on has been overwritten already, and the
        # others are as they were: those are marked by adding the number of pixels. Jumping from link to link doubles
        # the length of the chains that are resolved.
        link = torch.where(near > own, near, near + len(own))
        ends = (own + len(own)).expand(count, -1)
        while bool((link < len(own)).any()):
            link = torch.cat((link, ends), dim=1).gather(1, link)
        source = source.gather(1, link - len(own))
    return source


def glass_blur(images: Tensor, places: Tensor, sigma: float | Tensor) -> Tensor:
    """Blur, let pixels be overwritten by near ones, blur again.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    places : int64 Tensor [B, passes, 2, H, W]
        (dx, dy) of the neighbour that a pixel copies; (0, 0) changes nothing. Pixels are visited from the last row up
        and from the right to the left, and a pixel copies its neighbour as it is by then (the published code means
        to swap the two, but array views make it a copy). See `glass_places`.
    sigma : float or Tensor [B]
    """
    soft = (blur(images, sigma) * 255).floor() / 255
    index = _copied_from(places)[:, None].expand(-1, images.shape[1], -1)
    return finish(blur(soft.flatten(2).gather(2, index).view_as(soft), sigma))


def motion(
    images: Tensor,
    angles: Tensor,
    radius: float | Tensor,
    sigma: float | Tensor,
    limits: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """One-sided motion of [B, C, H, W] by whole pixels along each image's angle in degrees [B], edges repeated.

    It goes on for 2 `radius` pixels with Gaussian weights, or until a shift reaches the image's height and width, or
    `limits` ([B] each).
    """
    count, channels, height, width = images.shape
    radius, sigma = (torch.as_tensor(v, dtype=torch.float64).cpu().expand(count)[:, None] for v in (radius, sigma))
    radians = torch.deg2rad(angles.double().cpu())[:, None]
    i = torch.arange(2 * int(radius.max()) + 1)
    weights = torch.exp(-(i**2) / (2 * sigma**2)) * (i <= 2 * radius)
    weights = weights / weights.sum(dim=1, keepdim=True)
    down, right = (-torch.ceil(i * along - 0.5).long() for along in (radians.sin(), radians.cos()))
    rows, columns = (height, width) if limits is None else (limit.view(-1, 1) for limit in limits)
    weights = weights * ((weights > LIGHT) & (down.abs() < rows) & (right.abs() < columns))
    taps = int((weights > 0).any(dim=0).sum())
    weights, down, right = weights[:, :taps], down[:, :taps], right[:, :taps]
    down, right = (torch.where(weights > 0, shift, 0) for shift in (down, right))
    reach = int(torch.maximum(down.abs(), right.abs()).max())
    padded = functional.pad(images.contiguous(), (reach, reach, reach, reach), mode="replicate")
    # rows of overlapping windows by one index_select, as in `augment.crop_at`
    windows = padded.view(-1).as_strided((padded.numel() - width + 1, width), (1, 1))
    plane = torch.arange(count * channels).view(count, 1, channels, 1) * (height + 2 * reach)
    first = plane + (reach - down).view(count, taps, 1, 1) + torch.arange(height)
    first = (first * (width + 2 * reach) + (reach - right).view(count, taps, 1, 1)).to(images.device)
    weights = weights.to(images)[:, None]
    total = images.new_zeros(count, 1, channels * height * width)
    for start in range(0, taps, TAPS_AT_ONCE):
        part = slice(start, start + TAPS_AT_ONCE)
        shifted = windows.index_select(0, first[:, part].reshape(-1)).view(count, -1, channels * height * width)
        total.baddbmm_(weights[:, :, part], shifted)
    return total.view(images.shape)


def motion_blur(images: Tensor, angles: Tensor, radius: float | Tensor, sigma: float | Tensor) -> Tensor:
    """Motion along an angle in degrees for each image [B]."""
    return finish(motion(images, angles, radius, sigma))


@lru_cache(maxsize=64)
def _zooms(height: int, width: int, largest: float, step: float, keep: str) -> tuple[Tensor, Tensor]:
    """The mean of an image and its enlargements as a sum of products, [n, H, H] and [n, W, W]."""
    factors = [float(factor) for factor in np.arange(1, largest, step)]  # its rounding decides the sizes
    rows, columns = (
        torch.stack([torch.eye(size, dtype=torch.float64), *(zoom_matrix(size, factor, keep) for factor in factors)])
        for size in (height, width)
    )
    return shorten(rows / (len(factors) + 1), columns)


def zoom_blur(images: Tensor, largest: float, step: float, keep: str) -> Tensor:
    """Mean of the image and of its enlargements by 1, 1 + step, ... below `largest`; `keep` as in `zoom_matrix`."""
    return finish(sum_of_products(images, *_zooms(images.shape[2], images.shape[3], largest, step, keep)))
