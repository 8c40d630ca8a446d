"""Colour jitter of 8-bit images in 8-bit arithmetic, a batch at a time with its own order and factors for every image.

What torchvision's `ColorJitter` does with a Pillow image, bit for bit, which is what CutPaste's re-implementations use:
after each of the four changes the pixels are whole numbers again, so the result differs by some grey levels from one in
floating point. Images are uint8 [B, C, H, W] with one or three channels; saturation and hue do nothing to grey images.
"""

import torch
from torch import Generator, Tensor

from reprood.errors import ReproodError

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
CHANGES = 4
GREY = (19595, 38470, 7471)  # ITU-R 601 in units of 2^-16


def grey_levels(images: Tensor) -> Tensor:
    """Luma 0..255 of images uint8 [B, C, H, W] as int32 [B, H, W]."""
    if images.shape[1] == 1:
        return images[:, 0].to(torch.int32)
    red, green, blue = images.to(torch.int32).unbind(1)
    return (red * GREY[0] + green * GREY[1] + blue * GREY[2] + (1 << 15)) >> 16


def _mixed(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Other + factor (images - other), cut to 0..255 and to whole numbers, in single precision; `factor` [B]."""
    weight = factor.to(torch.float32).view(-1, 1, 1, 1)
    base = other.to(torch.float32)
    # Product and sum are rounded one after the other, as Pillow's are: no addcmul, which may fuse them.
    return (weight * (images.to(torch.float32) - base)).add_(base).clamp_(0, 255).to(torch.uint8)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale images uint8 [B, C, H, W] by `factor` [B]."""
    return _mixed(images, torch.zeros_like(images[:, :1, :1, :1]), factor)


def adjust_contrast(images: Tensor, factor: Tensor, region: Tensor | None = None) -> Tensor:
    """Stretch images uint8 [B, C, H, W] by `factor` [B] about their mean luma, taken over `region` (bool [B, H, W])."""
    luma = grey_levels(images).to(torch.float64)
    weight = torch.ones_like(luma) if region is None else region.to(torch.float64)
    mean = (luma * weight).sum((1, 2)) / weight.sum((1, 2))
    return _mixed(images, (mean + 0.5).floor().view(-1, 1, 1, 1), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move the colours of images uint8 [B, 3, H, W] away from their luma by `factor` [B]."""
    return _mixed(images, grey_levels(images)[:, None], factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of images uint8 [B, 3, H, W] by `shift` [B], a part of the colour circle in [-0.5, 0.5].

    By way of 8-bit HSV with truncated hue and saturation, as Pillow has it.
    """
    levels = images.to(torch.float32)
    red, green, blue = levels.unbind(1)
    value = levels.amax(1)
    spread = value - levels.amin(1)
    some = spread.clamp(min=1)
    from_red, from_green, from_blue = ((value - channel) / some for channel in (red, green, blue))
    hue = torch.where(
        red == value,
        from_blue - from_green,
        torch.where(
            green == value,
            (2 + from_red.double() - from_blue.double()).float(),
            (4 + from_green.double() - from_red.double()).float(),
        ),
    )
    hue = torch.remainder(hue.double() / 6 + 1, 1).float()  # single and double precision in turn, as in Pillow
    steps = (shift.double() * 255).to(torch.int64).view(-1, 1, 1)
    turned = ((hue.double() * 255).to(torch.int64) + steps) % 256
    share = ((spread / value.clamp(min=1)).double() * 255).to(torch.int64).clamp_(0, 255).float() / 255
    place = turned.float() * 6 / 255
    sector = place.floor()
    part = place - sector
    low, falling, rising = (
        (value * (1 - amount) + 0.5).floor() for amount in (share, share * part, share * (1 - part))
    )
    sixth = sector.to(torch.int64) % 6
    table = torch.stack((value, low, falling, rising))  # of each sector and channel: which of these
    which = torch.tensor([[0, 2, 1, 1, 3, 0], [3, 0, 0, 2, 1, 1], [1, 1, 3, 0, 0, 2]], device=images.device)
    outcome = torch.stack([table.gather(0, which[channel][sixth][None])[0] for channel in range(3)], 1)
    return torch.where((spread > 0)[:, None], outcome, levels).clamp_(0, 255).to(torch.uint8)


def jitter(images: Tensor, factors: Tensor, order: Tensor, region: Tensor | None = None) -> Tensor:
    """The four changes, for each image in its own order.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    factors : Tensor [B, 4]
        Brightness, contrast, saturation (1 = no change), hue (0 = no change). On the CPU.
    order : int64 Tensor [B, 4]
        A permutation of 0..3 each: which change comes first, second, ... On the CPU.
    region : bool Tensor [B, H, W], optional
        Pixels over which the mean for the contrast is taken; default all.

    Raises
    ------
    ReproodError
        For images that are not uint8 with one or three channels.
    """
    if images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise ReproodError(
            f"8-bit colour jitter takes uint8 images of 1 or 3 channels, and got {images.dtype} with {images.shape[1]}."
        )
    changes = (BRIGHTNESS, CONTRAST) if images.shape[1] == 1 else (BRIGHTNESS, CONTRAST, SATURATION, HUE)
    for place in range(CHANGES):
        for change in changes:
            rows = (order[:, place] == change).nonzero().squeeze(1)
            if len(rows) == 0:
                continue
            amount = factors[rows, change].to(images.device, non_blocking=True)
            rows = rows.to(images.device, non_blocking=True)
            some = images.index_select(0, rows)
            if change == CONTRAST:
                changed = adjust_contrast(some, amount, None if region is None else region.index_select(0, rows))
            else:
                changed = {BRIGHTNESS: adjust_brightness, SATURATION: adjust_saturation, HUE: adjust_hue}[change](
                    some, amount
                )
            images = images.index_copy(0, rows, changed)
    return images


def random_jitter(images: Tensor, generator: Generator, strength: float, region: Tensor | None = None) -> Tensor:
    """`jitter` with factors uniform in 1 -/+ `strength`, hue in -/+ `strength`, and a random order for each image."""
    if not 0 <= strength <= 0.5:
        raise ReproodError(f"Colour jitter got the strength {strength}; it takes 0 to 0.5.")
    draws = torch.rand((2, len(images), CHANGES), generator=generator, device=generator.device, dtype=torch.float64)
    factors = (2 * draws[0] - 1) * strength
    factors[:, :HUE] += 1
    return jitter(images, factors, draws[1].argsort(1), region)
