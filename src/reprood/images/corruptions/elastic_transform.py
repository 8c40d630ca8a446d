"""Elastic transformation: smooth random displacements of pixels, in CIFAR-10-C after a random affine map."""

import torch
from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255
from reprood.images.filters import blur, sample


def _affine(corners: Tensor, moved: Tensor) -> Tensor:
    """Return the affine maps [B, 2, 3] that send three points (x, y) to three others, [B, 3, 2] each."""
    ones = torch.ones(*corners.shape[:2], 1, dtype=corners.dtype, device=corners.device)
    solution: Tensor = torch.linalg.solve(torch.cat([corners, ones], dim=2), moved)
    return solution.transpose(1, 2)


def affine_corners(images: Tensor, uniform: Tensor, reach: float | Tensor) -> Tensor:
    """Apply to each image the affine map that moves three points near its centre by up to `reach` pixels.

    Interpolation is linear, borders are mirrored.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floating point.
    uniform : float64 Tensor [B, 3, 2]
        Draws in [-1, 1].
    reach : float or Tensor [B]
        In pixels.
    """
    height, width = images.shape[2:]
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float32, device=images.device)
    third = min(height, width) // 3
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], device=images.device)
    corners = (middle + third * signs).expand(len(images), 3, 2)
    if isinstance(reach, Tensor):
        reach = reach.to(uniform).view(-1, 1, 1)
    moved = (corners.double() + reach * uniform).float()
    inverse = _affine(moved.double(), corners.double())
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64, device=images.device),
        torch.arange(width, dtype=torch.float64, device=images.device),
        indexing="ij",
    )
    source = inverse[:, :, 0, None, None] * x + inverse[:, :, 1, None, None] * y + inverse[:, :, 2, None, None]
    return sample(images, source[:, 1], source[:, 0], "mirror")


def displacements(uniform: Tensor, amount: float | Tensor, sigma: float | Tensor | tuple[float, float]) -> Tensor:
    """Return draws [B, n, H, W], blurred (cut at three standard deviations, borders reflected), times `amount`."""
    return broadcast(amount, uniform) * blur(uniform, sigma, truncate=3.0, mode="reflect")


def displace(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Return the values at (row + dy, column + dx) on the scale 0..255: linear interpolation, borders reflected.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    dx, dy : Tensor [B, H, W]
        In pixels.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=dy.dtype, device=images.device)[:, None] + dy
    columns = torch.arange(width, dtype=dx.dtype, device=images.device) + dx
    return clip_to_255(sample(images, rows, columns, "reflect"))


def _draw(images: Tensor, strength: tuple[float | Tensor, ...] | float | Tensor, draws: Draws) -> Tensor:
    count, _, height, width = images.shape
    sigma: float | Tensor | tuple[float, float]
    if isinstance(strength, tuple):
        amount, sigma, reach = (part * min(height, width) for part in strength)
        images = affine_corners(images, 2 * draws.uniform(count, 3, 2).double() - 1, reach)
        bound = 1.0
    else:
        amount, sigma, bound = strength, (0.01 * height, 0.01 * width), 0.005 * height
    fields = displacements(bound * (2 * draws.uniform(count, 2, height, width) - 1), amount, sigma)
    return displace(images, fields[:, 0], fields[:, 1])


CORRUPTION = Corruption(
    "elastic_transform",
    _draw,
    # As fractions of the side: displacement, its smoothness, reach of the affine map.
    cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    # No affine map; factor of the displacement.
    imagenet=(12.5, 16.25, 21.25, 25, 30),
)
