"""Elastic transformation, pixelation, JPEG compression.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments. A strength is
one number for all images or, where the signature says so, a tensor [B] with one for each.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reprood.images.corruptions.pixels import each, finish
from reprood.images.corruptions.sampling import blur, sample


def _affine(corners: Tensor, moved: Tensor) -> Tensor:
    """The map [B, 2, 3] that sends three points (x, y) to three others, [B, 3, 2] each."""
    ones = torch.ones(*corners.shape[:2], 1, dtype=corners.dtype, device=corners.device)
    found: Tensor = torch.linalg.solve(torch.cat([corners, ones], dim=2), moved)
    return found.transpose(1, 2)


def affine_corners(images: Tensor, uniform: Tensor, reach: float | Tensor) -> Tensor:
    """Every image under the affine map that moves three points near its middle by up to `reach` pixels.

    Linear interpolation, borders mirrored.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
    uniform : float64 Tensor [B, 3, 2]
        In [-1, 1].
    reach : float or Tensor [B]
    """
    height, width = images.shape[2:]
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float32, device=images.device)
    quarter = min(height, width) // 3
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], device=images.device)
    corners = (middle + quarter * signs).expand(len(images), 3, 2)
    if isinstance(reach, Tensor):
        reach = reach.to(uniform).view(-1, 1, 1)
    moved = (corners.double() + reach * uniform).float()
    inverse = _affine(moved.double(), corners.double())
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64, device=images.device),
        torch.arange(width, dtype=torch.float64, device=images.device),
        indexing="ij",
    )
    places = inverse[:, :, 0, None, None] * x + inverse[:, :, 1, None, None] * y + inverse[:, :, 2, None, None]
    return sample(images, places[:, 1], places[:, 0], "mirror")


def elastic(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Values at (row + dy, column + dx), linear, borders reflected; displacements [B, H, W] in pixels."""
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=dy.dtype, device=images.device)[:, None] + dy
    columns = torch.arange(width, dtype=dx.dtype, device=images.device) + dx
    return finish(sample(images, rows, columns, "reflect"))


def smooth_field(uniform: Tensor, amount: float | Tensor, sigma: float | Tensor | tuple[float, float]) -> Tensor:
    """Displacements [B, n, H, W]: draws, blurred (cut at three deviations, borders reflected), times `amount`."""
    return each(amount, uniform) * blur(uniform, sigma, truncate=3.0, mode="reflect")


def _pictures(images: Tensor) -> list[Image.Image]:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(row[..., 0] if row.shape[2] == 1 else row) for row in pixels]


def _tensor(pictures: Sequence[Image.Image], like: Tensor) -> Tensor:
    pixels = np.stack([np.array(picture) for picture in pictures])
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(like)


def pixelate(images: Tensor, share: float) -> Tensor:
    """Made smaller by averaging (Pillow's box filter), then larger by repeating."""
    height, width = images.shape[2:]
    small = (max(int(width * share), 1), max(int(height * share), 1))
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    changed = [p.resize(small, box).resize((width, height), nearest) for p in _pictures(images)]
    return _tensor(changed, images)


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Written and read again as JPEG of a quality (Pillow)."""
    changed = []
    for picture in _pictures(images):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        changed.append(Image.open(io.BytesIO(buffer.getvalue())))
    return _tensor(changed, images)
