"""Colour jitter of 8-bit images in 8-bit arithmetic, batched, with separate order and factors for every image.

Identical bit for bit to torchvision's `ColorJitter` on a Pillow image, which CutPaste's re-implementations use: after
each of the four changes the pixels are integers again, so the result differs by some grey levels from one in floating
point. Images are uint8 [B, C, H, W] with one or three channels; saturation and hue do not change grey images.
"""

from functools import cache

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
CHANGES = 4
AT_ONCE = 2**16  # pixels of a channel that one change takes at a time on a CPU, so that results stay in a cache
GREY = (19595, 38470, 7471)  # ITU-R 601 in units of 2^-16


def grey_levels(images: Tensor) -> Tensor:
    """Return luma 0..255 of images uint8 [B, C, H, W] as int32 [B, H, W]."""
    if images.shape[1] == 1:
        return images[:, 0].to(torch.int32)
    red, green, blue = images.to(torch.int32).unbind(1)
    return (red * GREY[0] + green * GREY[1] + blue * GREY[2] + (1 << 15)) >> 16


def _mixed(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return other + factor (images - other), clipped to 0..255 and truncated, in single precision; `factor` [B]."""
    weight = factor.to(torch.float32).view(-1, 1, 1, 1)
    base = other.to(torch.float32)
    # Product and sum are rounded separately, like Pillow's: no addcmul, which may fuse them.
    return (weight * (images.to(torch.float32) - base)).add_(base).clamp_(0, 255).to(torch.uint8)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale images uint8 [B, C, H, W] by `factor` [B]."""
    return _mixed(images, torch.zeros_like(images[:, :1, :1, :1]), factor)


def adjust_contrast(images: Tensor, factor: Tensor, region: Tensor | None = None) -> Tensor:
    """Stretch images uint8 [B, C, H, W] by `factor` [B] about their mean luma, taken over `region` (bool [B, H, W])."""
    luma = grey_levels(images)
    if region is None:
        total, pixels = luma.sum((1, 2), dtype=torch.int64), torch.tensor(luma[0].numel(), device=luma.device)
    else:
        total, pixels = (luma * region).sum((1, 2), dtype=torch.int64), region.sum((1, 2))
    mean = total.double() / pixels
    return _mixed(images, (mean + 0.5).floor().view(-1, 1, 1, 1), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move the colours of images uint8 [B, 3, H, W] away from their luma by `factor` [B]."""
    return _mixed(images, grey_levels(images)[:, None], factor)


@cache
def _hue_tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return tables of Pillow's hue and saturation, which depend on few enough numbers to be tabulated.

    Returns
    -------
    hues : uint8 Tensor [6 * 2^16]
        At code << 16 | spread << 8 | largest - middle; the code is twice the first largest channel, and one more if
        the channel behind it (red behind blue) is the smallest.
    shares : float32 Tensor [2^16]
        Saturation in 0..1 at value << 8 | spread.
    lows : uint8 Tensor [2^16]
        The smallest channel that Pillow computes from this value and saturation.
    """
    code, spread, below = torch.meshgrid(torch.arange(6), torch.arange(256), torch.arange(256), indexing="ij")
    one = torch.ones(code.shape)
    middle = below.float() / spread.float().clamp(min=1)
    behind_smallest = code % 2 == 1  # its distance from the largest is the whole spread
    behind, before = torch.where(behind_smallest, one, middle), torch.where(behind_smallest, middle, one)
    # Distances of green and blue from red; of blue and red from green; of red and green from blue. Single and double
    # precision alternate, as in Pillow.
    turns = torch.stack(
        (
            before - behind,
            (2 + before.double() - behind.double()).float(),
            (4 + before.double() - behind.double()).float(),
        )
    )
    hue = turns.gather(0, (code // 2)[None])[0]
    hue = torch.remainder(hue.double() / 6 + 1, 1).float()
    hues = (hue.double() * 255).to(torch.int64).to(torch.uint8)
    value, spread = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    share = ((spread.float() / value.float().clamp(min=1)).double() * 255).to(torch.int64).clamp_(0, 255).float() / 255
    lows = (value.float() * (1 - share) + 0.5).floor().to(torch.uint8)
    return tuple(table.flatten().to(device) for table in (hues, share, lows))  # type: ignore[return-value]


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of images uint8 [B, 3, H, W] by `shift` [B], a fraction of the colour circle in [-0.5, 0.5].

    Goes through 8-bit HSV with truncated hue and saturation, like Pillow.
    """
    hues, shares, lows = _hue_tables(images.device)
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    middle = red ^ green ^ blue ^ value ^ least
    # Selects with bit masks: torch.where is ten times slower for bytes on a CPU.
    from_red = _bits(red == value)
    from_green = _bits(green == value) & ~from_red
    behind = (_bits(green == least) & from_red) | (_bits(blue == least) & from_green)
    behind |= _bits(red == least) & ~(from_red | from_green)
    code = (behind & 1) | (from_green & 2) | (~(from_red | from_green) & 4)
    spread = value - least
    place = code.to(torch.int32).mul_(256).add_(spread).mul_(256).add_(value - middle)
    steps = ((shift.double() * 255).to(torch.int64) % 256).to(torch.uint8)
    hue = hues.index_select(0, place.view(-1)).view_as(value) + steps.view(-1, 1, 1)  # modulo 256
    place = value.to(torch.int32).mul_(256).add_(spread).view(-1)
    share, low = shares.index_select(0, place).view_as(value), lows.index_select(0, place).view_as(value)
    sixths = hue.float() * 6 / 255
    sector = sixths.floor()
    part = sixths - sector
    whole = sector.to(torch.uint8)
    whole *= whole != 6
    part = ((~whole & 1) - part).abs_()  # rising in even sectors, falling in odd ones
    between = (value * (1 - share * part) + 0.5).floor_().to(torch.uint8)
    half, next_half = whole >> 1, (whole + 1) >> 1
    next_half *= next_half != 3
    grey = _bits(spread == 0)
    outcome = []
    for channel, level in enumerate((red, green, blue)):
        largest, smallest = _bits(next_half == channel), _bits(half == (channel + 1) % 3)
        rotated = (value & largest) | (low & smallest) | (between & ~(largest | smallest))
        outcome.append((level & grey) | (rotated & ~grey))
    return torch.stack(outcome, 1)


def _bits(condition: Tensor) -> Tensor:
    """Return 255 where true and 0 elsewhere, uint8."""
    return condition.to(torch.uint8).neg_()


def jitter(images: Tensor, factors: Tensor, order: Tensor, region: Tensor | None = None) -> Tensor:
    """Apply the four changes, to each image in its own order.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        C = 1 or 3.
    factors : Tensor [B, 4]
        Brightness, contrast, saturation (1 = no change), hue (0 = no change). On the CPU.
    order : int64 Tensor [B, 4]
        A permutation of 0..3 per image: which change comes first, second, ... On the CPU.
    region : bool Tensor [B, H, W], optional
        Pixels over which the mean for the contrast is taken; default all.

    Raises
    ------
    ReproodError
        For images that are not uint8 with one or three channels.
    """
    if images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise ReproodError(
            f"8-bit colour jitter takes uint8 images of 1 or 3 channels, but got {images.dtype} with {images.shape[1]}."
        )
    changes = (BRIGHTNESS, CONTRAST) if images.shape[1] == 1 else (BRIGHTNESS, CONTRAST, SATURATION, HUE)
    at_once = max(1, AT_ONCE // (images.shape[2] * images.shape[3])) if images.device.type == "cpu" else len(images)
    images = images.clone()
    for place in range(CHANGES):
        for change in changes:
            every = (order[:, place] == change).nonzero().squeeze(1)
            for rows in torch.split(every, at_once) if len(every) else ():
                amount = factors[rows, change].to(images.device, non_blocking=True)
                rows = rows.to(images.device, non_blocking=True)
                some = images.index_select(0, rows)
                if change == CONTRAST:
                    changed = adjust_contrast(some, amount, None if region is None else region.index_select(0, rows))
                else:
                    changed = {BRIGHTNESS: adjust_brightness, SATURATION: adjust_saturation, HUE: adjust_hue}[change](
                        some, amount
                    )
                images.index_copy_(0, rows, changed)
    return images


def draw_jitter(count: int, generator: Generator, strength: float) -> tuple[Tensor, Tensor]:
    """Draw factors [count, 4] uniform in 1 -/+ `strength`, hue in -/+ `strength`, and a random order [count, 4]."""
    if not 0 <= strength <= 0.5:
        raise ReproodError(f"Colour jitter got the strength {strength}; it takes 0 to 0.5.")
    draws = torch.rand((2, count, CHANGES), generator=generator, device=generator.device, dtype=torch.float64)
    factors = (2 * draws[0] - 1) * strength
    factors[:, :HUE] += 1
    return factors, draws[1].argsort(1)


def random_jitter(images: Tensor, generator: Generator, strength: float, region: Tensor | None = None) -> Tensor:
    """Apply `jitter` with the factors and orders of `draw_jitter`."""
    return jitter(images, *draw_jitter(len(images), generator, strength), region)
