"""Operations of RandAugment on batches of `uint8` images, equal to Pillow's in every grey level.

Every function takes images [B, C, H, W] with one channel (treated as Pillow's mode "L") or three (mode "RGB") and
returns new ones. Geometric operations use the nearest pixel and fill with black.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from reprood.core.errors import ReproodError

# Colour of the box of `cutout`: the mean of ImageNet; for grey images its luma.
CUTOUT_COLOUR = (125, 123, 114)
CUTOUT_GREY = 123

Matrix = tuple[float, float, float, float, float, float]


def affine(images: Tensor, matrix: Matrix) -> Tensor:
    """Take the output pixel (x, y) from (a x + b y + c, d x + e y + f), for `matrix` (a, b, c, d, e, f).

    The arithmetic is Pillow's: 16.16 fixed point from the centre of the first pixel, or, for a matrix without mixed
    terms, a running float64 sum along each axis. It decides between two neighbours that are almost equally near, so
    the textbook formula would differ in a few pixels.
    """
    height, width = images.shape[-2:]
    source = _source(matrix, height, width).to(images.device, non_blocking=True)
    planes = images.reshape(-1, height * width)
    # One extra black pixel represents everything outside. Here, gather is five times as fast as index_select.
    planes = torch.cat((planes, planes.new_zeros(len(planes), 1)), dim=1)
    return planes.gather(1, source.expand(len(planes), -1)).view(images.shape)


def shear_x(images: Tensor, slope: float) -> Tensor:
    """Shift row y to the left by `slope` * y pixels."""
    return affine(images, (1, slope, 0, 0, 1, 0))


def shear_y(images: Tensor, slope: float) -> Tensor:
    """Shift column x upwards by `slope` * x pixels."""
    return affine(images, (1, 0, 0, slope, 1, 0))


def translate_x(images: Tensor, pixels: float) -> Tensor:
    """Shift the content to the left by `pixels` (to the right if negative); fractions are allowed."""
    return affine(images, (1, 0, pixels, 0, 1, 0))


def translate_y(images: Tensor, pixels: float) -> Tensor:
    """Shift the content upwards by `pixels` (downwards if negative); fractions are allowed."""
    return affine(images, (1, 0, 0, 0, 1, pixels))


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate counter-clockwise about the centre, without enlarging the image."""
    height, width = images.shape[-2:]
    angle = degrees % 360.0
    if angle == 0:
        return images.clone()
    if angle == 180 or (angle in (90, 270) and height == width):
        return images.rot90(int(angle) // 90, (-2, -1))
    radians = -math.radians(angle)
    cosine, sine = round(math.cos(radians), 15), round(math.sin(radians), 15)
    negative = round(-math.sin(radians), 15)
    x, y = width / 2, height / 2
    return affine(
        images, (cosine, sine, cosine * -x + sine * -y + x, negative, cosine, negative * -x + cosine * -y + y)
    )


def invert(images: Tensor) -> Tensor:
    """Return 255 minus every value."""
    return 255 - images


def auto_contrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to 0..255; a constant channel is not changed."""
    flat = images.flatten(2)
    low, high = (extreme(2, keepdim=True).to(torch.float64) for extreme in (flat.amin, flat.amax))
    # torch computes number / tensor through the reciprocal, whose last bit would change grey levels.
    scale = torch.full_like(low, 255.0) / (high - low)
    scale, shift = torch.where(high > low, scale, 1.0), torch.where(high > low, -low * scale, 0.0)
    return flat.to(torch.float64).mul_(scale).add_(shift).clamp_(0, 255).to(torch.uint8).view(images.shape)


def equalize(images: Tensor) -> Tensor:
    """Equalise the histogram of each channel of each image.

    A channel is not changed if fewer than 255 pixels are below its largest value (Pillow's integer step is then 0).
    """
    channels = images.shape[0] * images.shape[1]
    flat = images.reshape(channels, -1).to(torch.int64)
    row = torch.arange(channels, device=images.device).unsqueeze(1)
    counts = torch.bincount((flat + 256 * row).view(-1), minlength=256 * channels).view(channels, 256)
    largest = counts.gather(1, flat.amax(1, keepdim=True))
    step = (flat.shape[1] - largest) // 255
    below = counts.cumsum(1) - counts
    # Where the step is 0, the table is not used; 1 only avoids a division by zero.
    table = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.to(torch.uint8).gather(1, flat).view_as(images)


def solarize(images: Tensor, threshold: float) -> Tensor:
    """Invert values of at least `threshold` (0..256)."""
    if threshold > 255:  # 256 does not fit into uint8 and would be compared as 0
        return images.clone()
    # 255 - v is v XOR 255, five times as fast as torch.where.
    return (images >= math.ceil(threshold)).to(torch.uint8).mul_(255).bitwise_xor_(images)


def solarize_add(images: Tensor, addition: float) -> Tensor:
    """Add `addition`, clip to 0..255, drop the fraction, then `solarize` at 128."""
    raised = (images.to(torch.float64) + addition).clamp_(0, 255).to(torch.uint8)
    return solarize(raised, 128)


def posterize(images: Tensor, bits: float) -> Tensor:
    """Keep the `int(bits)` highest bits of every value, at least one."""
    kept = max(1, int(bits))
    return images.bitwise_and(256 - int(2 ** (8 - kept)))


def color(images: Tensor, factor: float) -> Tensor:
    """Apply `blend` with the grey version of the image; images with one channel are not changed."""
    if images.shape[1] == 1:
        return images.clone()
    return blend(_luma(images), images, factor)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Apply `blend` with a constant image of the mean luma, rounded half up."""
    luma = _luma(images).flatten(1).to(torch.float64)
    mean = (luma.sum(1) / luma.shape[1] + 0.5).to(torch.uint8)
    return blend(mean.view(-1, 1, 1, 1), images, factor)


def brightness(images: Tensor, factor: float) -> Tensor:
    """Apply `blend` with black."""
    return blend(images.new_zeros(1, 1, 1, 1), images, factor)


def sharpness(images: Tensor, factor: float) -> Tensor:
    """Apply `blend` with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, except for its outermost pixels."""
    height, width = images.shape[-2:]
    smooth = images.clone()
    if height >= 3 and width >= 3:
        wide = images.to(torch.int16)
        lines = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
        total = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
        # total / 13 is never halfway between two integers, so the rounding of 1 / 13 does not matter.
        smooth[:, :, 1:-1, 1:-1] = total.to(torch.float32).mul_(1 / 13).add_(0.5).to(torch.uint8)
    return blend(smooth, images, factor)


def blend(first: Tensor, second: Tensor, factor: float) -> Tensor:
    """Return first + factor (second - first), clipped to 0..255 and rounded down; shapes are broadcast."""
    start = first.to(torch.float32)
    # Two roundings, as in Pillow: a fused multiply-add would change grey levels.
    return (second.to(torch.float32) - start).mul_(factor).add_(start).clamp_(0, 255).to(torch.uint8)


def cutout(images: Tensor, side: float, centres: Tensor) -> Tensor:
    """Cover a square with the colour (125, 123, 114), or 123 in grey images.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    side : float
        In pixels; the end pixel is covered too, as in the published code, so 0 covers one pixel.
    centres : float64 Tensor [B, 2]
        x and y of the centre; the corner is rounded down and at least 0.
    """
    height, width = images.shape[-2:]
    sizes = torch.tensor([width, height], dtype=torch.float64, device=images.device)
    start = (centres.to(images.device, torch.float64) - side / 2.0).clamp_(min=0).floor_()
    stop = torch.minimum(start + side, sizes).floor_()
    columns, rows = (torch.arange(size, device=images.device) for size in (width, height))
    across = (columns >= start[:, :1]) & (columns <= stop[:, :1])
    down = (rows >= start[:, 1:]) & (rows <= stop[:, 1:])
    covered = (down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1)
    colour = CUTOUT_COLOUR if images.shape[1] == 3 else (CUTOUT_GREY,)
    fill = torch.tensor(colour, dtype=torch.uint8, device=images.device).view(1, -1, 1, 1)
    return torch.where(covered, fill, images)


def check(images: Tensor) -> None:
    """Raise `ReproodError` unless these are `uint8` images [B, 1 or 3, H, W]."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ReproodError(
            f"RandAugment takes uint8 images [B, 1 or 3, H, W], but these are {images.dtype} of shape "
            f"{tuple(images.shape)}; apply it to the stored images, before normalisation."
        )


def _luma(images: Tensor) -> Tensor:
    """Convert to grey as Pillow does: [B, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.to(torch.int32).unbind(1)
    luma = (red * 19595).add_(green * 38470).add_(blue * 7471).add_(0x8000)
    return luma.bitwise_right_shift(16).to(torch.uint8).unsqueeze(1)


@lru_cache(maxsize=256)
def _source(matrix: Matrix, height: int, width: int) -> Tensor:
    """Return the source pixel of each output pixel, int64 [height * width]; height * width means none."""
    a, b, c, d, e, f = matrix
    if b == 0 and d == 0:
        x, y = _steps(c + 0.5 * a, a, width), _steps(f + 0.5 * e, e, height).unsqueeze(1)
    else:
        across, down = torch.arange(width), torch.arange(height).unsqueeze(1)
        x = (_fixed(c + a * 0.5 + b * 0.5) + across * _fixed(a) + down * _fixed(b)) >> 16
        y = (_fixed(f + d * 0.5 + e * 0.5) + across * _fixed(d) + down * _fixed(e)) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, height * width).view(-1)


def _fixed(value: float) -> int:
    return math.floor(value * 65536.0 + 0.5)


def _steps(start: float, step: float, count: int) -> Tensor:
    """Return the pixel indices int64 [count] of a running sum; -1 below 0."""
    positions = []
    for _ in range(count):
        positions.append(-1 if start < 0 else int(start))
        start += step
    return torch.tensor(positions)
