"""Spatter: drops of water (lower severities) or of mud (higher ones) on the lens.

The published code calls OpenCV; its functions for 8-bit images are written out here for batches: Canny's edges, the
distance to them, histogram equalisation. Results are equal, but for images without any liquid, which become black there
(0 / 0) and stay unchanged here.
"""

import torch
from torch import Tensor
from torch.nn import functional

from reprood.images.corruption import Corruption, Draws, clip_to_255
from reprood.images.filters import blur

WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)
LUMA = (0.299, 0.587, 0.114)
LOW, HIGH = 50, 150  # thresholds of Canny
FARTHEST = 20.0  # distances to an edge are cut here
LEAST = 0.8  # weight below which there is no mud
# Steps of OpenCV's distance with a 5 x 5 mask, as (rows, columns, length); reversed ones are added.
STEPS = (
    (0, 1, 1.0),
    (1, 0, 1.0),
    (1, 1, 1.4),
    (1, -1, 1.4),
    (1, 2, 2.1969),
    (1, -2, 2.1969),
    (2, 1, 2.1969),
    (2, -1, 2.1969),
)
EMBOSS = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def filtered(maps: Tensor, kernel: Tensor, mode: str = "reflect") -> Tensor:
    """Correlate maps [B, H, W] with one kernel [3, 3]; `mode` is a border rule of `torch.nn.functional.pad`."""
    padded = functional.pad(maps[:, None], (1, 1, 1, 1), mode=mode)
    return functional.conv2d(padded, kernel.to(maps)[None, None])[:, 0]


def box(maps: Tensor) -> Tensor:
    """Return the mean over 3 x 3 pixels of maps [B, H, W]; borders are mirrored."""
    return filtered(maps, maps.new_ones(3, 3)) / 9


def _shifted(maps: Tensor, rows: int, columns: int, fill: float) -> Tensor:
    """Return maps whose pixel (y, x) has the value of (y + rows, x + columns); `fill` from outside."""
    reach = 2
    height, width = maps.shape[1:]
    padded = functional.pad(maps, (reach, reach, reach, reach), value=fill)
    return padded[:, reach + rows : reach + rows + height, reach + columns : reach + columns + width]


def canny(levels: Tensor) -> Tensor:
    """Return the edges of whole grey levels 0..255, float64 [B, H, W] to bool [B, H, W]: Canny (1986) as in OpenCV.

    Sobel derivatives, the sum of their absolute values as magnitude, thinning along the gradient, and edges above `LOW`
    that are connected to one above `HIGH`.
    """
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    across, down = filtered(levels, sobel, "replicate"), filtered(levels, sobel.T, "replicate")
    magnitude = across.abs() + down.abs()

    def peak(rows: int, columns: int, strict: bool) -> Tensor:
        """Whether a magnitude exceeds that of the pixel behind, and that of the pixel ahead (or equals it)."""
        behind, ahead = _shifted(magnitude, -rows, -columns, 0.0), _shifted(magnitude, rows, columns, 0.0)
        return (magnitude > behind) & ((magnitude > ahead) if strict else (magnitude >= ahead))

    x, y = across.abs() * 13573, down.abs() * 32768  # tan(22.5 degrees) in OpenCV's fixed point
    flat, steep = y < x, y > x + across.abs() * 65536
    diagonal = torch.where(across * down < 0, peak(1, -1, True), peak(1, 1, True))
    thin = torch.where(flat, peak(0, 1, False), torch.where(steep, peak(1, 0, False), diagonal))
    candidates = thin & (magnitude > LOW)
    edges = candidates & (magnitude > HIGH)
    while True:
        grown = (functional.max_pool2d(edges[:, None].to(levels), 3, 1, 1)[:, 0] > 0) & candidates
        if torch.equal(grown, edges):
            return edges
        edges = grown


def distance(edges: Tensor) -> Tensor:
    """Return the chamfer distance to the nearest edge, at most `FARTHEST`: bool [B, H, W] to float64 [B, H, W]."""
    far = torch.where(edges, 0.0, FARTHEST).double()
    while True:
        nearer = far
        for rows, columns, length in STEPS:
            for sign in (1, -1):
                nearer = torch.minimum(nearer, _shifted(nearer, sign * rows, sign * columns, FARTHEST) + length)
        if torch.equal(nearer, far):
            return far
        far = nearer


def equalise(levels: Tensor) -> Tensor:
    """Equalise the histograms of whole grey levels 0..255, [B, H, W], as OpenCV does."""
    count, pixels = len(levels), levels[0].numel()
    index = levels.long().flatten(1)
    offset = 256 * torch.arange(count, device=levels.device)[:, None]
    histogram = (index + offset).flatten().bincount(minlength=256 * count).view(count, 256)
    lowest = index.amin(dim=1, keepdim=True)
    least = histogram.gather(1, lowest)
    others = pixels - least
    rank = (histogram.cumsum(1) - least).clamp(min=0)
    scale = torch.full_like(others, 255).float() / others.clamp(min=1).float()  # 255 / x is 255 times a rounded 1 / x
    table = (rank.float() * scale).round()
    table = torch.where(others == 0, lowest, table).clamp(0, 255)  # images of one level keep it
    return table.gather(1, index).view_as(levels).to(levels)


def water(liquid: Tensor, amount: float) -> Tensor:
    """Return the weight of water, [B, H, W]: bright along the rims of drops, at most `amount`."""
    levels = (liquid * 255).floor() % 256  # values above 1 start again at 0, as in the code's conversion to bytes
    rims = equalise(box(distance(canny(levels))).floor())
    relief = box(filtered(rims, torch.tensor(EMBOSS)).clamp(0, 255)).round()
    weight = levels * relief
    return amount * weight / weight.amax(dim=(1, 2), keepdim=True).clamp(min=1)


def spatter(images: Tensor, normal: Tensor, strength: tuple[float, ...]) -> Tensor:
    """Add drops of water, or cover parts with mud.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    normal : Tensor [B, H, W]
        Standard normal.
    strength : six numbers
        Mean and standard deviation of the noise that becomes the liquid, standard deviation of its blur in pixels,
        threshold, amount of water or blur of the mud, and 0 for water or 1 for mud.

    Returns
    -------
    Tensor [B, C, H, W]
        On the scale 0..255.
    """
    mean, deviation, sigma, threshold, amount, kind = strength
    liquid = blur((mean + deviation * normal.double())[:, None], sigma)[:, 0]
    liquid = liquid.where(liquid >= threshold, 0)
    if kind == 0:
        colour, weight = WATER, water(liquid, amount)[:, None].to(images)
        kept = torch.ones_like(weight)
    else:
        colour, mask = MUD, blur((liquid > threshold).double()[:, None], amount)
        weight = mask.where(mask >= LEAST, 0).to(images)
        kept = 1 - weight
    if images.shape[1] == 1:
        colour = (sum(share * part for share, part in zip(LUMA, colour, strict=True)),)  # type: ignore[assignment]
    return clip_to_255(images * kept + weight * images.new_tensor(colour).view(1, -1, 1, 1))


def _draw(images: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    return spatter(images, draws.normal(len(images), *images.shape[2:]), strength)


# Strength: as in `spatter`.
CORRUPTION = Corruption(
    "spatter",
    _draw,
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    per_image=False,
)
