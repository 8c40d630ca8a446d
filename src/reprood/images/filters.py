"""Linear filters of small images as matrix products, border rules, and sampling at fractional positions.

At these sizes, a blur or an enlargement along one axis is fastest as one matrix [size, size] that includes the border
rule: rows @ images @ columns^T. What is not separable (zoom blur, defocus blur) is a short sum of such products.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def wrap(positions: Tensor, size: int, mode: str) -> Tensor:
    """Map positions beyond the border to pixels inside.

    Parameters
    ----------
    positions : int64 Tensor
        May be negative or beyond `size`.
    size : int
        Length of the axis.
    mode : {"edge", "mirror", "reflect"}
        Repeat the end pixel; mirror without repeating the end pixel; mirror and repeat it.
    """
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "mirror":
        inside = positions.remainder(max(2 * (size - 1), 1))
        return torch.where(inside < size, inside, 2 * (size - 1) - inside)
    inside = positions.remainder(2 * size)
    return torch.where(inside < size, inside, 2 * size - 1 - inside)


def filter_matrix(taps: Tensor, size: int, mode: str) -> Tensor:
    """Return the correlation of a line with taps [2r + 1] as a matrix float64 [size, size]; borders as in `wrap`."""
    radius = len(taps) // 2
    positions = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, wrap(positions, size, mode), taps.double().expand(size, -1).contiguous())


@lru_cache(maxsize=512)
def gaussian_matrix(size: int, sigma: float, truncate: float, mode: str) -> Tensor:
    """Return the Gaussian blur of a line, cut at `truncate` standard deviations, as a matrix float64 [size, size]."""
    if sigma <= 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(truncate * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    return filter_matrix(taps / taps.sum(), size, mode)


def matrices(build: Callable[[float], Tensor], value: float | Tensor, like: Tensor) -> Tensor:
    """Return `build(value)` for one number; for a tensor [B] one matrix per image, [B, 1, n, m]."""
    if not isinstance(value, Tensor):
        return build(value).to(like)
    return torch.stack([build(number) for number in value.tolist()]).unsqueeze(1).to(like)


def blur(
    images: Tensor,
    sigma: float | Tensor | tuple[float, float],
    *,
    truncate: float = 4.0,
    mode: str = "edge",
) -> Tensor:
    """Apply a separable Gaussian blur to images [B, C, H, W].

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floating point.
    sigma : float, Tensor [B] or tuple
        Standard deviation in pixels: for all images, per image, or (vertical, horizontal).
    truncate : float
        Where the filter is cut, in standard deviations.
    mode : {"edge", "mirror", "reflect"}
        Border rule, as in `wrap`.
    """
    vertical, horizontal = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    rows = matrices(lambda s: gaussian_matrix(images.shape[2], s, truncate, mode), vertical, images)
    columns = matrices(lambda s: gaussian_matrix(images.shape[3], s, truncate, mode), horizontal, images)
    return rows @ images @ columns.mT


def _enlarged(size: int, factor: float) -> np.ndarray:
    """Return the matrix [length, size] that enlarges the central `ceil(size / factor)` pixels of a line.

    The length is `round(crop * factor)`; interpolation is linear with end pixels aligned. A position that rounding
    places beyond the last pixel gives 0, as in SciPy's zoom: at some sizes (36, 71, 78, 136, ...) the last row.
    """
    crop = math.ceil(size / factor)
    start = (size - crop) // 2
    length = round(crop * factor)
    positions = np.arange(length) * ((crop - 1) / (length - 1) if length > 1 else 0.0)
    left = np.minimum(positions.astype(int), max(crop - 2, 0))
    fraction = positions - left
    matrix = np.zeros((length, size))
    matrix[np.arange(length), start + left] += 1 - fraction
    matrix[np.arange(length), start + np.minimum(left + 1, crop - 1)] += fraction
    matrix[positions > crop - 1] = 0
    return matrix


def zoomed_length(size: int, factor: float) -> int:
    """Return the length of a line whose central `ceil(size / factor)` pixels are enlarged."""
    return round(math.ceil(size / factor) * factor)


@lru_cache(maxsize=512)
def zoom_matrix(size: int, factor: float, keep: str) -> Tensor:
    """Return the matrix float64 [size, size] that enlarges the centre of a line and cuts the result to `size`.

    The central `ceil(size / factor)` pixels are enlarged to `round(crop * factor)`, linearly and with end pixels
    aligned (as SciPy's zoom). `keep` is the part that is kept, "middle" or "start"; rows beyond it are 0.
    """
    enlarged = _enlarged(size, factor)
    offset = (len(enlarged) - size) // 2 if keep == "middle" else 0
    matrix = np.zeros((size, size))
    part = enlarged[offset : offset + size]
    matrix[: len(part)] = part
    return torch.from_numpy(matrix)


@lru_cache(maxsize=512)
def enlarging_matrix(size: int, factor: float, length: int) -> Tensor:
    """Return `zoom_matrix` without the cut: the full enlarged line, its last pixel repeated up to [length, size]."""
    enlarged = _enlarged(size, factor)
    return torch.from_numpy(np.pad(enlarged, ((0, length - len(enlarged)), (0, 0)), mode="edge"))


def shorten(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Rewrite a sum over n of rows[n] x columns[n], [n, H, H] and [n, W, W], with as few terms as possible.

    Uses the singular values of the operator and drops those below 1e-8 of the largest, which makes no visible
    difference in float64. The 26 enlargements of a zoom blur become about a dozen products.
    """
    left, upper = torch.linalg.qr(rows.flatten(1).mT)
    right, lower = torch.linalg.qr(columns.flatten(1).mT)
    u, values, v = torch.linalg.svd(upper @ lower.mT)
    rank = int((values > 1e-8 * values[0]).sum())
    root = values[:rank].sqrt()
    return (
        (left @ u[:, :rank] * root).mT.reshape(rank, *rows.shape[1:]),
        (right @ v[:rank].mT * root).mT.reshape(rank, *columns.shape[1:]),
    )


def sum_of_products(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the sum over n of rows[n] @ images @ columns[n]^T, for [n, H, H] and [n, W, W]."""
    count, height, width = rows.shape[0], images.shape[2], images.shape[3]
    left = rows.to(images).transpose(0, 1).reshape(1, height * count, height)
    right = columns.to(images).mT.reshape(count * width, width)
    parts = []
    for planes in torch.split(images.reshape(-1, height, width), 64):  # small, so that intermediates stay in the cache
        products = torch.bmm(left.expand(len(planes), -1, -1), planes)
        parts.append(products.view(-1, count * width) @ right)
    return torch.cat(parts).view(images.shape)


def sample(images: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """Interpolate images [B, C, H, W] linearly at fractional positions [B, H', W'].

    `mode` is the border rule "mirror" or "reflect", as in `wrap`.
    """
    mirror = mode == "mirror"
    # grid_sample reflects about pixel centres ("mirror"), or about the outer edges of the border pixels ("reflect").
    positions = [
        (2 * position / (size - 1) - 1 if mirror else (2 * position + 1) / size - 1).to(images.dtype)
        for position, size in ((columns, images.shape[3]), (rows, images.shape[2]))
    ]
    return functional.grid_sample(
        images, torch.stack(positions, dim=-1), mode="bilinear", padding_mode="reflection", align_corners=mirror
    )
