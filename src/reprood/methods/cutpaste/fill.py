"""Patches without an image's own texture, from which CutPaste's section 5.1 starts: Cutout, Confetti, coloured scars.

Rectangles have the sizes and shapes of CutPaste's large patches, scars those of its thin ones, so that comparisons are
about the content. Images are uint8 [B, C, H, W]. The text names the variants and gives no more detail: that the mean
pixel is the mean of the image, and what Confetti adds, is our reading.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from reprood.methods.cutpaste.paste import Bounds, Boxes, Law, paste, place_scars, rectangle_boxes

Fill = Literal["grey", "mean", "colour"]

GREY = 128


def random_colours(images: Tensor, generator: Generator) -> Tensor:
    """Return a colour for each image [B, C, H, W], uniform in 0..255 in every channel: int64 [B, C, 1, 1]."""
    shape = (*images.shape[:2], 1, 1)
    return torch.randint(256, shape, generator=generator, device=generator.device).to(images.device, non_blocking=True)


def random_rectangles(images: Tensor, generator: Generator, area: Bounds, aspect: Bounds, law: Law) -> Tensor:
    """Return a rectangle in each image, bool [B, 1, H, W], with sizes like CutPaste's large patches."""
    height, width = images.shape[2:]
    draws = torch.rand((5, len(images)), generator=generator, device=generator.device, dtype=torch.float64)
    boxes = rectangle_boxes(draws, height, width, area, aspect, law)
    return boxes.to(images.device).mask(height, width)[:, None]


def random_cutout(
    images: Tensor,
    generator: Generator,
    area: Bounds = (0.02, 0.15),
    aspect: Bounds = (0.3, 3.3),
    law: Law = "log",
    fill: Fill = "grey",
) -> Tensor:
    """Fill a rectangle of each image with one colour (Cutout; DeVries and Taylor 2017).

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
    generator : Generator
        Source of the draws.
    area, aspect, law
        As in `reprood.methods.cutpaste.paste.random_cutpaste`.
    fill : {"grey", "mean", "colour"}
        128 in every channel; the mean colour of the image; a random colour.
    """
    inside = random_rectangles(images, generator, area, aspect, law)
    if fill == "grey":
        return torch.where(inside, GREY, images).to(images.dtype)
    if fill == "mean":
        return torch.where(inside, images.float().mean((2, 3), keepdim=True).round().to(images.dtype), images)
    return torch.where(inside, random_colours(images, generator).to(images.dtype), images)


def random_confetti(
    images: Tensor,
    generator: Generator,
    area: Bounds = (0.02, 0.15),
    aspect: Bounds = (0.3, 3.3),
    law: Law = "log",
) -> Tensor:
    """Add a random colour to a rectangle of each image, clipped to 0..255; its texture stays visible.

    A patch of FCDD's confetti noise (Liznerski et al. 2021), which adds rectangles of one random colour each. A
    channel's value is the difference of two uniform ones in 0..255; parameters as in `random_cutout`.
    """
    inside = random_rectangles(images, generator, area, aspect, law)
    added = random_colours(images, generator) - random_colours(images, generator)
    return torch.where(inside, (images.to(torch.int64) + added).clamp_(0, 255).to(images.dtype), images)


def random_colour_scar(
    images: Tensor,
    generator: Generator,
    width: Bounds = (2, 16),
    height: Bounds = (10, 25),
    degrees: Bounds = (-45, 45),
) -> Tensor:
    """Draw a thin rotated rectangle of one random colour on each image ("Scar" of Table 1).

    Parameters as in `reprood.methods.cutpaste.paste.random_scar`.

    Raises
    ------
    ReproodError
        If a scar may be larger than the image.
    """
    if not len(images):
        return images
    boxes, angle, corner, canvas = place_scars(images, generator, width, height, degrees)
    size = int(boxes.height.max()), int(boxes.width.max())
    source = random_colours(images, generator).to(images.dtype).expand(-1, -1, *size).contiguous()
    start = torch.zeros_like(boxes.row)
    cut = Boxes(start, start, boxes.height, boxes.width).to(images.device)
    top, left = corner.to(images.device, non_blocking=True)
    return paste(images, source, cut, angle.to(images.device, non_blocking=True), top, left, canvas)
