"""Shared pieces: borders, and linear operations on rows and columns as matrices.

Images are so small that a blur or an enlargement of a line is cheapest as one matrix [size, size] with its border rule
in it: rows @ images @ columns^T. What is not separable (zoom blur, defocus) is a short sum of such products.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def wrap(places: Tensor, size: int, mode: str) -> Tensor:
    """Places beyond the border brought inside: "edge", "mirror" (end pixel not repeated) or "reflect" (repeated)."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "mirror":
        inside = places.remainder(max(2 * (size - 1), 1))
        return torch.where(inside < size, inside, 2 * (size - 1) - inside)
    inside = places.remainder(2 * size)
    return torch.where(inside < size, inside, 2 * size - 1 - inside)


def filter_matrix(taps: Tensor, size: int, mode: str) -> Tensor:
    """Correlation of a line with taps [2r + 1] as a matrix float64 [size, size], borders as in `wrap`."""
    radius = len(taps) // 2
    places = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, wrap(places, size, mode), taps.double().expand(size, -1).contiguous())


@lru_cache(maxsize=512)
def gaussian_matrix(size: int, sigma: float, truncate: float, mode: str) -> Tensor:
    """Gaussian blur of a line as a matrix float64 [size, size], cut at `truncate` standard deviations."""
    if sigma <= 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(truncate * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    return filter_matrix(taps / taps.sum(), size, mode)


def matrices(build: Callable[[float], Tensor], value: float | Tensor, like: Tensor) -> Tensor:
    """`build(value)` for one number; for a tensor [B] one matrix for each image, [B, 1, n, m]."""
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
    """Separable Gaussian blur of [B, C, H, W]; `sigma` for all, for each image [B], or (down, across)."""
    down, across = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    rows = matrices(lambda s: gaussian_matrix(images.shape[2], s, truncate, mode), down, images)
    columns = matrices(lambda s: gaussian_matrix(images.shape[3], s, truncate, mode), across, images)
    return rows @ images @ columns.mT


def _enlarged(size: int, factor: float) -> np.ndarray:
    """The middle `ceil(size / factor)` pixels of a line, enlarged to `round(crop * factor)`: [length, size]."""
    crop = math.ceil(size / factor)
    start = (size - crop) // 2
    length = round(crop * factor)
    places = np.arange(length) * ((crop - 1) / (length - 1) if length > 1 else 0.0)
    left = np.minimum(places.astype(int), max(crop - 2, 0))
    share = places - left
    whole = np.zeros((length, size))
    whole[np.arange(length), start + left] += 1 - share
    whole[np.arange(length), start + np.minimum(left + 1, crop - 1)] += share
    return whole


def zoomed_length(size: int, factor: float) -> int:
    """Pixels of a line whose middle `ceil(size / factor)` were enlarged."""
    return round(math.ceil(size / factor) * factor)


@lru_cache(maxsize=512)
def zoom_matrix(size: int, factor: float, keep: str) -> Tensor:
    """Float64 [size, size] that cuts the middle `ceil(size / factor)` pixels out, enlarges them and cuts to `size`.

    Linear, end pixels on end pixels, `round(crop * factor)` pixels (SciPy's zoom). `keep`: the "middle" of the
    enlarged line or its "start"; rows beyond it are 0.
    """
    whole = _enlarged(size, factor)
    offset = (len(whole) - size) // 2 if keep == "middle" else 0
    cut = np.zeros((size, size))
    part = whole[offset : offset + size]
    cut[: len(part)] = part
    return torch.from_numpy(cut)


@lru_cache(maxsize=512)
def enlarging_matrix(size: int, factor: float, length: int) -> Tensor:
    """As `zoom_matrix`, but all of the enlarged line, its last pixel repeated up to `length`: [length, size]."""
    whole = _enlarged(size, factor)
    return torch.from_numpy(np.pad(whole, ((0, length - len(whole)), (0, 0)), mode="edge"))


def shorten(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """A sum over n of products rows[n] x columns[n] of matrices, [n, H, H] and [n, W, W], with as few as possible.

    By the singular values of the whole operator; what is left out is below 1e-8 of the largest. In float64 one
    would not see a difference; the 26 enlargements of a zoom blur become about a dozen products.
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
    """The sum over n of rows[n] @ images @ columns[n]^T; [n, H, H] and [n, W, W]."""
    count, height, width = rows.shape[0], images.shape[2], images.shape[3]
    stacked = rows.to(images).transpose(0, 1).reshape(1, height * count, height)
    beside = columns.to(images).mT.reshape(count * width, width)
    found = []
    for planes in torch.split(images.reshape(-1, height, width), 64):  # what lies between stays in the cache
        between = torch.bmm(stacked.expand(len(planes), -1, -1), planes)
        found.append(between.view(-1, count * width) @ beside)
    return torch.cat(found).view(images.shape)


def sample(images: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """Linear interpolation of [B, C, H, W] at floating-point places [B, H', W'], borders "mirror" or "reflect"."""
    mirror = mode == "mirror"
    # grid_sample's reflection about pixel centres, or about the outer edges of the pixels and then their centres
    places = [
        (2 * place / (size - 1) - 1 if mirror else (2 * place + 1) / size - 1).to(images.dtype)
        for place, size in ((columns, images.shape[3]), (rows, images.shape[2]))
    ]
    return functional.grid_sample(
        images, torch.stack(places, dim=-1), mode="bilinear", padding_mode="reflection", align_corners=mirror
    )
