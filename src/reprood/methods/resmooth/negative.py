"""Negative augmentations, which move images away from their class: jigsaw, quarter turns, blur.

As in the published code of ReSmooth (Wang et al. 2022). The deterministic functions have counterparts that draw their
arguments.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.images.rotations import rotate

LARGEST_PARTS = 4  # 16 tiles: the number of their orders still fits an int64


def jigsaw(images: Tensor, order: Tensor, parts: int) -> Tensor:
    """Put the tiles of every image in another order.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        H and W divisible by `parts`; usually normalised.
    order : int64 Tensor [B, parts * parts]
        A permutation for each image. Tiles are numbered row by row, and the tile `order[c * parts + r]` moves to row r
        and column c: the index is that of the published code, transposed. For two parts (0, 2, 1, 3) gives the image
        itself, and (0, 1, 2, 3) exchanges its upper right and lower left tiles.
    parts : int
        Tiles along each side.

    Raises
    ------
    ReproodError
        If the sides are not divisible.

    Examples
    --------
    >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
    >>> jigsaw(image, torch.tensor([[0, 1, 2, 3]]), 2)[0, 0]
    tensor([[1, 3],
            [2, 4]])
    """
    batch, channels, height, width = images.shape
    if parts < 1 or height % parts or width % parts:
        raise ReproodError(f"jigsaw cannot cut images of {height} x {width} pixels into {parts} x {parts} equal tiles.")
    tall, wide = height // parts, width // parts
    tiles = images.reshape(batch, channels, parts, tall, parts, wide).permute(0, 2, 4, 1, 3, 5)
    tiles = tiles.reshape(batch * parts * parts, channels, tall, wide)
    source = order.to(images.device).view(batch, parts, parts).transpose(1, 2).reshape(batch, parts * parts)
    source = source + parts * parts * torch.arange(batch, device=images.device).unsqueeze(1)
    moved = tiles.index_select(0, source.view(-1)).view(batch, parts, parts, channels, tall, wide)
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)


def permutations(rank: Tensor, count: int) -> Tensor:
    """Return the permutations of 0..count-1 at lexicographic positions `rank` (int64 [B]): int64 [B, count].

    Position 0 is the identity.

    Examples
    --------
    >>> permutations(torch.tensor([0, 5]), 3)
    tensor([[0, 1, 2],
            [2, 1, 0]])
    """
    digits = []
    for place in range(count):
        step = math.factorial(count - 1 - place)
        digits.append(rank // step)
        rank = rank % step
    order = torch.stack(digits, dim=1)
    # Each digit counts the smaller numbers to its right.
    for place in range(count - 2, -1, -1):
        later = order[:, place + 1 :]
        later += later >= order[:, place : place + 1]
    return order


def random_jigsaw(images: Tensor, generator: Generator, parts: int = 2) -> Tensor:
    """Apply `jigsaw` with an order per image, uniform over all but the identity (parts: 2 to 4).

    For two parts one of the 23 orders gives the image itself.
    """
    if not 2 <= parts <= LARGEST_PARTS:
        raise ReproodError(f"random_jigsaw got {parts} parts; it takes 2 to {LARGEST_PARTS}.")
    count = parts * parts
    rank = torch.randint(1, math.factorial(count), (len(images),), generator=generator, device=generator.device)
    return jigsaw(images, permutations(rank, count).to(images.device, non_blocking=True), parts)


def random_quarter_turn(images: Tensor, generator: Generator) -> Tensor:
    """Rotate square images [B, C, S, S] by 90, 180 or 270 degrees with equal probability, per image."""
    if images.shape[-1] != images.shape[-2]:
        raise ReproodError(f"random_quarter_turn takes square images, but these are {tuple(images.shape[-2:])}.")
    turns = torch.randint(1, 4, (len(images),), generator=generator, device=generator.device)
    return rotate(images, turns.to(images.device, non_blocking=True))


def blur(images: Tensor, deviation: Tensor, reach: int) -> Tensor:
    """Convolve every image with a Gaussian of its own standard deviation; the outermost pixels are repeated.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        Images to blur.
    deviation : Tensor [B]
        Pixels, above 0.
    reach : int
        Pixels from the middle of the kernel to its ends.

    Notes
    -----
    A true Gaussian. Pillow, which the published code calls, approximates it by three box filters: on natural images
    the two differ by a few grey levels at edges.
    """
    batch, channels, height, width = images.shape
    if batch == 0:
        return images.clone()
    sigma = deviation.to(images.device, torch.float32).view(-1, 1)
    place = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = (-0.5 * (place / sigma).square()).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    # One group per plane: every image has its own kernel.
    planes = images.to(torch.float32).reshape(1, batch * channels, height, width)
    for across in (True, False):
        pad = (reach, reach, 0, 0) if across else (0, 0, reach, reach)
        weight = kernel.view(-1, 1, 1, 2 * reach + 1) if across else kernel.view(-1, 1, 2 * reach + 1, 1)
        planes = functional.conv2d(functional.pad(planes, pad, mode="replicate"), weight, groups=batch * channels)
    return planes.view_as(images).round_().clamp_(0, 255).to(torch.uint8)


def random_blur(images: Tensor, generator: Generator, low: float = 0.6, high: float = 2.0) -> Tensor:
    """Apply `blur` with a standard deviation per image, uniform from `low` to `high`, truncated at three of `high`."""
    draws = torch.rand(len(images), generator=generator, device=generator.device)
    return blur(images, low + (high - low) * draws, math.ceil(3 * high))
