"""CSI's shifts: small families of transformations that keep an image's pixels and change its content.

All K shifts of a family are in one batch, [S_0; S_1; ...], and a classifier predicts the index of the shift. S_0 is the
identity. Families of one transformation have K = 2.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.images.augment import choose
from reprood.images.rotations import rotate
from reprood.methods.csi import transformations

Shift = Literal["rotation", "cutperm", "cutout", "sobel", "noise", "blur", "none"]

COUNTS: dict[Shift, int] = {"rotation": 4, "cutperm": 4, "cutout": 2, "sobel": 2, "noise": 2, "blur": 2, "none": 1}
RANDOM = ("cutout", "noise")  # families with draws of their own


def cutperm(images: Tensor, number: int) -> Tensor:
    """Exchange halves of images [B, C, H, W]: number 0 none, 1 left and right, 2 top and bottom, 3 both.

    Images are cut at H // 2 and W // 2; of an odd side the second half, which then comes first, is the longer one.

    Examples
    --------
    >>> cutperm(torch.tensor([[[[1, 2], [3, 4]]]]), 1)[0, 0]
    tensor([[2, 1],
            [4, 3]])
    """
    top, left = (images.shape[2] // 2) * (number // 2), (images.shape[3] // 2) * (number % 2)
    return torch.roll(images, (-top, -left), (2, 3))


def transformed(images: Tensor, kind: Shift, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], uint8 or floats in [0, 1], under the one transformation of a family with K = 2."""
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    if kind in RANDOM:
        changed = (transformations.cutout if kind == "cutout" else transformations.noise)(pixels, generator)
    else:
        changed = (transformations.sobel if kind == "sobel" else transformations.blur)(pixels)
    return (changed * 255).round().to(torch.uint8) if images.dtype == torch.uint8 else changed


def shift(images: Tensor, kind: Shift, number: int, generator: Generator | None = None) -> Tensor:
    """Apply shift `number` of a family to images [B, C, H, W].

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Square for `rotation`, if all shifts are to have one shape.
    kind : str
        "rotation": quarter turns counter-clockwise; "cutperm": exchanged halves; "cutout", "sobel", "noise", "blur":
        one transformation (`reprood.methods.csi.transformations`); "none": the image alone.
    number : int
        0 .. `COUNTS[kind]` - 1.
    generator : Generator, optional
        Source of the draws of "cutout" and "noise"; without one they are the same at every call.

    Raises
    ------
    ReproodError
        If the family has no such shift.
    """
    if not 0 <= number < COUNTS[kind]:
        raise ReproodError(f"There is no shift {number} in the family '{kind}', which has {COUNTS[kind]}.")
    if kind == "rotation":
        return rotate(images, number)
    if number == 0 or kind == "cutperm":
        return cutperm(images, number)
    return transformed(images, kind, torch.Generator().manual_seed(0) if generator is None else generator)


def all_shifts(images: Tensor, kind: Shift, generator: Generator | None = None) -> Tensor:
    """Return [S_0; S_1; ...] of images [B, C, H, H]: [K B, C, H, H]; `generator` as in `shift`."""
    return torch.cat([shift(images, kind, number, generator) for number in range(COUNTS[kind])])


def random_shift(images: Tensor, kind: Shift, numbers: Tensor, generator: Generator) -> Tensor:
    """Return each image [B, C, H, H] under the shift of its number (int64 [B]); `generator` as in `shift`."""
    every = all_shifts(images, kind, generator)
    return every.index_select(0, numbers * len(images) + torch.arange(len(images), device=images.device))


def augment_by_shift(images: Tensor, kind: Shift, generator: Generator) -> Tensor:
    """Return images [B, C, H, H] under one shift, drawn for the batch, of each image with probability 1/2.

    This is what the layers of the authors' code do when no index is given. Most images are not changed: with K = 4,
    62.5 % on average, because S_0 is among the shifts.
    """
    number = int(torch.randint(COUNTS[kind], (1,), generator=generator))
    chosen = choose(len(images), 0.5, generator).to(images.device, non_blocking=True)
    return torch.where(chosen.view(-1, 1, 1, 1), shift(images, kind, number, generator), images)


def shift_numbers(count: int, kind: Shift, device: torch.device | str = "cpu") -> Tensor:
    """Return the numbers of the shifts of `all_shifts` on `count` images, int64 [K * count].

    Examples
    --------
    >>> shift_numbers(2, "rotation")
    tensor([0, 0, 1, 1, 2, 2, 3, 3])
    """
    return torch.arange(COUNTS[kind], device=device).repeat_interleave(count)
