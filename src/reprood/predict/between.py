"""Images between two test images: a weighted mean, or a square of one in the other (CutMix, Figure 5b)."""

import math

import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.core.seeds import hashed_seed


def partners(count: int, benchmark: str) -> Tensor:
    """Return the row of each image's partner, never its own if there are two; int64 [count].

    All methods share the permutation.

    Examples
    --------
    >>> bool((partners(5, "fashion_ood") == torch.arange(5)).any())
    False
    """
    generator = torch.Generator().manual_seed(hashed_seed("between", benchmark))
    order = torch.randperm(count, generator=generator)
    found = torch.empty_like(order)
    found[order] = order.roll(-1)
    return found


def between(images: Tensor, others: Tensor, kind: str, share: int) -> Tensor:
    """Mix each image with its partner.

    Parameters
    ----------
    images, others : Tensor [B, C, H, W]
        Both images of each pair.
    kind : {"mixup", "cutmix"}
        "mixup": (1 - w) image + w partner with w = share / 100. "cutmix": the middle of the image, of this share of the
        area, is that of its partner; the square is rounded to whole pixels and centred as an occluded one.
    share : int
        Share of the partner in percent.

    Raises
    ------
    ReproodError
        For an unknown kind.

    Examples
    --------
    >>> dark, light = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> between(dark, light, "mixup", 25)[0, 0, 0], between(dark, light, "cutmix", 25)[0, 0]
    (tensor([0.2500, 0.2500]), tensor([[1., 0.],
            [0., 0.]]))
    """
    if kind == "mixup":
        return torch.lerp(images, others, share / 100)
    if kind != "cutmix":
        raise ReproodError(f"Images are mixed by 'mixup' or 'cutmix', not '{kind}'.")
    height, width = images.shape[2:]
    rows, columns = (round(length * math.sqrt(share / 100)) for length in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    mixed = images.clone()
    mixed[:, :, top : top + rows, left : left + columns] = others[:, :, top : top + rows, left : left + columns]
    return mixed
