"""The random views of contrastive learning, batched, with separate draws for every image.

Random resized crop, colour jitter in HSV and grey scale as in CSI's code (Tack et al. 2020). Images are floats in
[0, 1], [B, C, H, W] with one or three channels; an image of one channel changes like an RGB image of three equal
channels. The deterministic functions (`resized_crop`, `adjust_contrast`, `adjust_hsv`, `grey`) have counterparts that
draw their arguments.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.images.augment import choose

# CSI's code multiplies a draw in [-0.1, 0.1] by this, so hues move by at most 0.0708 of the circle.
HUE_UNIT = 255 / 360
LUMA = (0.299, 0.587, 0.114)


def resized_crop(images: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cut a window out of every image and stretch it to the full size, bilinearly.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floating point.
    width, height : Tensor [B]
        Size of the window as a fraction of the image's, in (0, 1]; a negative width mirrors as well.
    x, y : Tensor [B]
        Centre of the window, -1 (left, top) to 1 (right, bottom), 0 is the middle. Windows lie inside the image
        (then CSI's reflection at the outer pixel borders never happens, and repeating the border is the same).
    """
    batch, _, rows, columns = images.shape
    across, down = (
        torch.arange(1 - size, size, 2, device=images.device, dtype=images.dtype) / size for size in (columns, rows)
    )
    # At 32 x 32 grid_sample is the fastest exact form (1.5x two batched matrix products, 3x separable gathers); a grid
    # written plane by plane and no reflection make it 1.6x as fast again as with affine_grid.
    grid = images.new_empty(batch, rows, columns, 2)
    grid[..., 0] = torch.addcmul(x[:, None], width[:, None], across)[:, None, :]
    grid[..., 1] = torch.addcmul(y[:, None], height[:, None], down)[:, :, None]
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def crop_sizes(area: Tensor, log_ratio: Tensor, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return widths and heights in pixels of the first `count` candidates that fit into the image.

    Parameters
    ----------
    area : Tensor [N]
        Fractions of the image's area, N > `count`: CSI draws ten candidates per image, for the whole batch at once.
    log_ratio : Tensor [N]
        Logarithms of width / height.
    count, height, width : int
        Number of images, and their size.

    Returns
    -------
    widths, heights : float64 Tensor [count]
        Integers; the full image where too few candidates fit.
    """
    pixels = area.double() * (height * width)
    ratio = log_ratio.double().exp()
    widths, heights = (pixels * ratio).sqrt().round(), (pixels / ratio).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    # A stable sort brings those that fit to the front, in their order, without waiting for a GPU.
    order = torch.argsort(~fits, stable=True)[:count]
    fits = fits[order]
    return torch.where(fits, widths[order], float(width)), torch.where(fits, heights[order], float(height))


def random_resized_crop(
    images: Tensor,
    generator: Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.0,
) -> Tensor:
    """Apply `resized_crop` with a random window per image.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Floats.
    generator : Generator
        Source of the draws.
    scale : tuple of float
        Bounds of the uniform area fraction; equal bounds fix it (CSI tests with 0.54).
    ratio : tuple of float
        Bounds of width / height, whose logarithm is uniform.
    flip : float
        Probability of mirroring the image first, which costs nothing here.

    Notes
    -----
    Positions are whole pixels, uniform over those at which the window lies inside the image.
    """
    if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise ReproodError(
            f"random_resized_crop got scale {scale} and ratio {ratio}; it takes 0 < low <= high (and scale at most 1)."
        )
    batch, _, rows, columns = images.shape
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    widths, heights = crop_sizes(
        _uniform(10 * batch, scale, generator), _uniform(10 * batch, log_ratio, generator), batch, rows, columns
    )
    x, y = (
        ((_uniform(batch, (0.0, 1.0), generator) * (2 * free + 1)).floor().clamp_(max=2 * free) - free) / size
        for free, size in ((columns - widths, columns), (rows - heights, rows))
    )
    direction = torch.where(choose(batch, flip, generator), -1.0, 1.0) if flip > 0 else 1.0
    window = torch.stack((direction * widths / columns, heights / rows, x, y))
    return resized_crop(images, *window.to(images.device, images.dtype, non_blocking=True))


def adjust_hsv(images: Tensor, hue: Tensor, saturation: Tensor, brightness: Tensor) -> Tensor:
    """Rotate the hue and scale saturation and value, per image.

    Parameters
    ----------
    images : Tensor [B, 1 or 3, H, W]
        Floats in [0, 1].
    hue : Tensor [B]
        Fraction of the colour circle to rotate by.
    saturation, brightness : Tensor [B]
        Factors; the products are clipped at 1.

    Returns
    -------
    Tensor like `images`
        Colours change slightly even with neutral arguments: CSI converts back with the hexagon's formula.
    """
    hue, saturation, brightness = (values.to(images.dtype).view(-1, 1, 1) for values in (hue, saturation, brightness))
    if _channels(images) == 1:
        return (images * brightness.unsqueeze(1)).clamp_(0, 1)
    angle, vivid, value = _to_hsv(images)
    angle.add_(6 * hue)
    angle.sub_(torch.mul(angle, 1 / 6).floor_(), alpha=6)  # 0..6: red is at 0 and 6, green at 2, blue at 4
    value.mul_(brightness).clamp_(0, 1)
    chroma = vivid.mul_(saturation).clamp_(0, 1).mul_(value)
    # A channel is value - chroma * clamp(d - 1, 0, 1), d = distance of the angle from the channel's place on a circle
    # of circumference 6. With one modulus instead of four, and in place, this is 3x as fast as CSI's formulas. For
    # green and blue |angle - place| is never above 4 and can replace d; for red d = 3 - |angle - 3|.
    outcome = torch.empty_like(images)
    torch.addcmul(value, (angle - 3).abs_().neg_().add_(2).clamp_(0, 1), chroma, value=-1, out=outcome[:, 0])
    torch.addcmul(value, (angle - 2).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=outcome[:, 1])
    torch.addcmul(value, (angle - 4).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=outcome[:, 2])
    return outcome


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Stretch every image [B, C, H, W] by `factor` [B] about the mean of each of its channels, clipped to [0, 1]."""
    _channels(images)
    factor = factor.to(images.dtype).view(-1, 1, 1, 1)
    mean = images.mean(dim=(2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - factor), images, factor).clamp_(0, 1)


def colour_jitter(
    images: Tensor, contrast: Tensor, hue: Tensor, saturation: Tensor, brightness: Tensor, contrast_first: bool
) -> Tensor:
    """Apply `adjust_contrast` and `adjust_hsv` in this order, or the other way round; arguments [B] as there."""
    if contrast_first:
        return adjust_hsv(adjust_contrast(images, contrast), hue, saturation, brightness)
    return adjust_contrast(adjust_hsv(images, hue, saturation, brightness), contrast)


def random_colour_jitter(
    images: Tensor,
    generator: Generator,
    probability: float = 0.8,
    contrast: float = 0.4,
    hue: float = 0.1,
    saturation: float = 0.4,
    brightness: float = 0.4,
) -> Tensor:
    """Apply `colour_jitter` with `probability` per image.

    Parameters
    ----------
    images : Tensor [B, 1 or 3, H, W]
        Floats in [0, 1].
    generator : Generator
        Source of the draws.
    probability : float
        Each image is changed with this probability.
    contrast, saturation, brightness : float
        Factors are uniform in 1 -/+ this.
    hue : float
        The rotation of the hue is uniform in -/+ this, times 255 / 360.

    Notes
    -----
    Whether contrast or HSV comes first is one coin flip per batch.
    """
    batch = images.shape[0]
    chosen = choose(batch, probability, generator)
    contrast_first = bool(choose(1, 0.5, generator))
    factors = [
        _uniform(batch, bounds, generator)
        for bounds in (
            (1 - contrast, 1 + contrast),
            (-hue * HUE_UNIT, hue * HUE_UNIT),
            (1 - saturation, 1 + saturation),
            (1 - brightness, 1 + brightness),
        )
    ]
    # With a generator on the CPU the rows are known without waiting for the GPU, and the others cost nothing.
    rows = chosen.nonzero().squeeze(1)
    drawn = torch.stack(factors)[:, rows].to(images.device, images.dtype, non_blocking=True)
    rows = rows.to(images.device, non_blocking=True)
    changed = colour_jitter(images.index_select(0, rows), drawn[0], drawn[1], drawn[2], drawn[3], contrast_first)
    return images.index_copy(0, rows, changed)


def grey(images: Tensor) -> Tensor:
    """Return 0.299 R + 0.587 G + 0.114 B in every channel of [B, 3, H, W]; one-channel images are copied."""
    if _channels(images) == 1:
        return images.clone()
    red, green, blue = images.unbind(1)
    luma = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return luma.unsqueeze(1).repeat(1, 3, 1, 1)


def random_grey(images: Tensor, generator: Generator, probability: float = 0.2) -> Tensor:
    """Apply `grey` with `probability` per image."""
    rows = choose(images.shape[0], probability, generator).nonzero().squeeze(1).to(images.device, non_blocking=True)
    return images.index_copy(0, rows, grey(images.index_select(0, rows)))


def _to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, saturation and value [B, H, W] of RGB images: hue in -3..3 (sixths), the others in [0, 1].

    The hue is the angle atan2(sqrt(3) (G - B), 2 R - G - B) of the colour circle (not the hexagon's), saturation is
    (max - min) / max (0 for black) and value is max.
    """
    if _channels(images) != 3:
        raise ReproodError("Hue and saturation need images of three channels, but these have one.")
    red, green, blue = images.unbind(1)
    sine, cosine = (green - blue).mul_(math.sqrt(3) / 2), torch.sub(red, green + blue, alpha=0.5)
    angle = torch.atan2(sine, cosine, out=sine).mul_(3 / math.pi)
    value = torch.maximum(red, green)
    torch.maximum(value, blue, out=value)
    least = torch.minimum(red, green)
    torch.minimum(least, blue, out=least)
    saturation = torch.sub(value, least, out=least).div_(value.clamp(min=torch.finfo(value.dtype).tiny))
    return angle, saturation, value


def _channels(images: Tensor) -> int:
    channels = images.shape[1]
    if channels not in (1, 3) or not images.is_floating_point():
        raise ReproodError(
            f"Colour augmentation takes float images of 1 or 3 channels, but got {images.dtype} with {channels}; "
            "convert with to_float first."
        )
    return channels


def _uniform(count: int, bounds: tuple[float, float], generator: Generator) -> Tensor:
    """Return `count` uniform float64 draws from [low, high) on the generator's device."""
    draws = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
    return draws * (bounds[1] - bounds[0]) + bounds[0]
