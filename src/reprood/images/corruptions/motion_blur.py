"""Motion blur: a one-sided Gaussian trail along an angle."""

import torch
from torch import Tensor
from torch.nn import functional

from reprood.images.corruption import Corruption, clip_to_255

# Weights below this do not show in a byte.
NEGLIGIBLE = 1e-7
TAPS_AT_ONCE = 8


def motion(
    images: Tensor,
    angles: Tensor,
    radius: float | Tensor,
    sigma: float | Tensor,
    limits: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Average shifted copies of each image along its angle, with Gaussian weights and edge pixels repeated.

    The trail has 2 `radius` steps of a pixel, or fewer if a shift reaches the height or width of the image.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floating point.
    angles : Tensor [B]
        In degrees.
    radius, sigma : float or Tensor [B]
        In pixels.
    limits : pair of Tensor [B], optional
        Heights and widths at which the trail ends, instead of those of the images.

    Returns
    -------
    Tensor [B, C, H, W]
    """
    count, channels, height, width = images.shape
    radius, sigma = (torch.as_tensor(v, dtype=torch.float64).cpu().expand(count)[:, None] for v in (radius, sigma))
    radians = torch.deg2rad(angles.double().cpu())[:, None]
    i = torch.arange(2 * int(radius.max()) + 1)
    weights = torch.exp(-(i**2) / (2 * sigma**2)) * (i <= 2 * radius)
    weights = weights / weights.sum(dim=1, keepdim=True)
    down, right = (-torch.ceil(i * along - 0.5).long() for along in (radians.sin(), radians.cos()))
    rows, columns = (height, width) if limits is None else (limit.view(-1, 1) for limit in limits)
    weights = weights * ((weights > NEGLIGIBLE) & (down.abs() < rows) & (right.abs() < columns))
    taps = int((weights > 0).any(dim=0).sum())
    weights, down, right = weights[:, :taps], down[:, :taps], right[:, :taps]
    down, right = (torch.where(weights > 0, shift, 0) for shift in (down, right))
    reach = int(torch.maximum(down.abs(), right.abs()).max())
    padded = functional.pad(images.contiguous(), (reach, reach, reach, reach), mode="replicate")
    # Copy rows of overlapping windows with one index_select, as in `augment.crop_at`.
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
    """Apply `motion` to images in [0, 1]; returns values on the scale 0..255."""
    return clip_to_255(motion(images, angles, radius, sigma))


# Strength: radius and sigma in pixels.
CORRUPTION = Corruption(
    "motion_blur",
    lambda x, strength, draws: motion_blur(x, draws.angles(-45, 45), *strength),
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
