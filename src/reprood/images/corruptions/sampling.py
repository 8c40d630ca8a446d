"""Shared pieces: Gaussian kernels, borders, linear interpolation."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def gaussian_kernel(sigma: float, truncate: float, like: Tensor) -> Tensor:
    """Normalised taps of a Gaussian cut at `truncate` standard deviations, [2r + 1]."""
    radius = int(truncate * sigma + 0.5)
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (places / sigma) ** 2)
    return (taps / taps.sum()).to(like)


def border_rows(size: int, radius: int, mode: str) -> Tensor:
    """Source rows of a line padded by `radius`: "edge", "mirror" (end pixel not repeated), "reflect" (repeated)."""
    places = torch.arange(-radius, size + radius)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "mirror":
        period = max(2 * (size - 1), 1)
        inside = places.remainder(period)
        return torch.where(inside < size, inside, period - inside)
    inside = places.remainder(2 * size)
    return torch.where(inside < size, inside, 2 * size - 1 - inside)


def blur(
    images: Tensor, sigma: float, *, truncate: float = 4.0, mode: str = "edge", axes: tuple[int, ...] = (2, 3)
) -> Tensor:
    """Separable Gaussian blur of [B, C, H, W]."""
    if sigma <= 0:
        return images
    taps = gaussian_kernel(sigma, truncate, images)
    radius = len(taps) // 2
    for axis in axes:
        rows = border_rows(images.shape[axis], radius, mode).to(images.device)
        matrix = images.new_zeros(images.shape[axis], images.shape[axis])
        window = rows.unfold(0, 2 * radius + 1, 1)
        matrix.scatter_add_(1, window, taps.expand(window.shape[0], -1).contiguous())
        images = torch.einsum("bchw,ih->bciw" if axis == 2 else "bchw,iw->bchi", images, matrix)
    return images


@lru_cache(maxsize=512)
def zoom_matrix(size: int, factor: float, keep: str) -> Tensor:
    """Rows [size, size] that cut the middle `ceil(size / factor)` pixels out, enlarge them and cut to `size`.

    Linear, end pixels on end pixels, `round(crop * factor)` pixels (SciPy's zoom). `keep`: the "middle" of the
    enlarged line or its "start"; rows beyond it are 0.
    """
    crop = math.ceil(size / factor)
    start = (size - crop) // 2
    length = round(crop * factor)
    places = np.arange(length) * ((crop - 1) / (length - 1) if length > 1 else 0.0)
    left = np.minimum(places.astype(int), max(crop - 2, 0))
    share = places - left
    whole = np.zeros((length, size))
    whole[np.arange(length), start + left] += 1 - share
    whole[np.arange(length), start + np.minimum(left + 1, crop - 1)] += share
    offset = (length - size) // 2 if keep == "middle" else 0
    cut = np.zeros((size, size))
    part = whole[offset : offset + size]
    cut[: len(part)] = part
    return torch.from_numpy(cut)


def sample(images: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """Linear interpolation of [B, C, H, W] at floating-point places [B, H', W'] beyond borders of a kind."""
    count, channels, height, width = images.shape
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).to(images.dtype), (columns - left).to(images.dtype)
    flat = images.flatten(2)
    found = torch.zeros(count, channels, *rows.shape[1:], dtype=images.dtype, device=images.device)
    for dy, wy in ((0, 1 - down), (1, down)):
        for dx, wx in ((0, 1 - right), (1, right)):
            y = wrap(top.long() + dy, height, mode)
            x = wrap(left.long() + dx, width, mode)
            index = (y * width + x).flatten(1)[:, None].expand(-1, channels, -1)
            found += flat.gather(2, index).view_as(found) * (wy * wx)[:, None]
    return found


def wrap(places: Tensor, size: int, mode: str) -> Tensor:
    """Whole places beyond the border brought inside: "edge", "mirror" or "reflect"."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "mirror":
        inside = places.remainder(2 * (size - 1))
        return torch.where(inside < size, inside, 2 * (size - 1) - inside)
    inside = places.remainder(2 * size)
    return torch.where(inside < size, inside, 2 * size - 1 - inside)


def correlate(images: Tensor, kernel: Tensor, mode: str = "mirror") -> Tensor:
    """Correlation of every channel with one kernel [k, k], k odd."""
    radius = kernel.shape[0] // 2
    rows = border_rows(images.shape[2], radius, mode).to(images.device)
    columns = border_rows(images.shape[3], radius, mode).to(images.device)
    padded = images.index_select(2, rows).index_select(3, columns)
    count, channels = images.shape[:2]
    single = padded.reshape(count * channels, 1, *padded.shape[2:])
    return functional.conv2d(single, kernel.to(images)[None, None]).view_as(images)
