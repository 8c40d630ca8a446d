"""CSI's views: flips, shifts, colours and crops, in training, in the linear stage and at test time.

The flip comes before the shift, because it would turn one quarter turn into another after it.
"""

import torch
from torch import Generator, Tensor

from reprood.core.seeds import hashed_seed
from reprood.images.augment import choose, flip_at, random_flip, to_float
from reprood.methods.csi.shifts import COUNTS, Shift, all_shifts, augment_by_shift, shift
from reprood.methods.csi.simclr import random_colour_jitter, random_grey, random_resized_crop


def assembled(images: Tensor, flipped: Tensor, kind: Shift, generator: Generator | None = None) -> Tensor:
    """Return copies of a batch, each mirrored or not and then put under all shifts, concatenated.

    Parameters
    ----------
    images : Tensor [B, C, H, H]
        uint8 or floating point.
    flipped : bool Tensor [V B]
        Which images of which of the V copies to mirror.
    kind : str
        Family of K shifts.
    generator : Generator, optional
        Source of the draws of families that have some.

    Returns
    -------
    Tensor [V K B, C, H, H]
        Copy by copy, and in each shift by shift; with V = 2 rows i and i + K B are two views of one shifted image.
    """
    copies = len(flipped) // len(images)
    every = flip_at(images.repeat(copies, 1, 1, 1), flipped.to(images.device, non_blocking=True))
    return torch.cat([all_shifts(part, kind, generator) for part in every.chunk(copies)])


def coloured(images: Tensor, generator: Generator) -> Tensor:
    """Apply colour jitter and grey scale to images in [0, 1], with draws for every row.

    Grey images change in brightness and contrast only.
    """
    return random_grey(random_colour_jitter(images, generator), generator)


def training_views(
    images: Tensor,
    kind: Shift,
    generator: Generator,
    *,
    positive: bool = False,
    crop_first: bool = False,
    views: int = 2,
) -> Tensor:
    """Return the images that the network receives in a step.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, H]
        The batch.
    kind : str
        Family of K shifts.
    generator : Generator
        Source of the draws.
    positive : bool
        The shift is an augmentation (`augment_by_shift`), so that views with and without it are positives; K is 1.
    crop_first : bool
        Each view is cropped before the shift and never after it: the order of ImageNet, whose loader crops.
    views : int
        2 for a contrastive loss, 1 for the linear stage.

    Returns
    -------
    float32 Tensor [views K B, C, H, H]
        In [0, 1], in the order of `assembled`.
    """
    count = views * len(images)
    if crop_first:
        every = random_resized_crop(to_float(images).repeat(views, 1, 1, 1), generator, flip=0.5)
        flipped = torch.zeros(len(images), dtype=torch.bool)
        shifted = (
            every if positive else torch.cat([assembled(part, flipped, kind, generator) for part in every.chunk(views)])
        )
    else:
        flipped = choose(count, 0.5, generator)
        shifted = to_float(assembled(images, flipped, "none" if positive else kind, generator))
    if positive:
        shifted = augment_by_shift(shifted, kind, generator)
    shown = coloured(shifted, generator)
    return shown if crop_first else random_resized_crop(shown, generator)


def view_at_test(images: Tensor, kind: Shift, number: int, area: float, crop_first: bool = False) -> Tensor:
    """Return test-time view `number` of a batch; the same draws for every batch of the same size.

    Parameters
    ----------
    images : Tensor [B, C, H, H]
        In [0, 1].
    kind : str
        Family of K shifts; with several, each shift has a flip of its own, with one there is none.
    number : int
        Index of the view; seeds its draws.
    area : float
        Fraction of the area that is cut out, at a random place and aspect ratio.
    crop_first : bool
        As in `training_views`; then each view is mirrored in cropping, and once more for each of several shifts.

    Returns
    -------
    Tensor [K B, C, H, H]
        Shift by shift.
    """
    generator = torch.Generator().manual_seed(hashed_seed("csi test view", number))
    shown = random_resized_crop(images, generator, (area, area), flip=0.5) if crop_first else images
    if COUNTS[kind] > 1:
        shown = torch.cat([shift(random_flip(shown, generator), kind, k, generator) for k in range(COUNTS[kind])])
    shown = coloured(shown, generator)
    return shown if crop_first else random_resized_crop(shown, generator, (area, area))
