"""Crops of photographs of frost, which the corruption "frost" blends in (Hendrycks and Dietterich 2019)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits
from reprood.data.generators import ImageData
from reprood.data.prepare import decode, to_array

Scale = Literal["imagenet", "cifar"]
ENLARGEMENT = 1.1  # of the function for ImageNet-C
STRIDE = 5  # the function for CIFAR-10-C shrinks by 0.2 without antialiasing: it takes every fifth pixel
OFFSET = 2
CUBIC = -0.75  # OpenCV's parameter of the cubic kernel


def cubic_matrix(length: int, longer: int) -> np.ndarray:
    """Return OpenCV's cubic enlargement of a line as a matrix float64 [longer, length]; end pixels are repeated."""
    matrix = np.zeros((longer, length))
    positions = (np.arange(longer) + 0.5) * (length / longer) - 0.5
    first = np.floor(positions).astype(int)
    for tap in range(-1, 3):
        x = np.abs(positions - first - tap)
        near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
        far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
        np.add.at(matrix, (np.arange(longer), np.clip(first + tap, 0, length - 1)), np.where(x <= 1, near, far))
    return matrix


def rescaled(photograph: np.ndarray, scale: Scale) -> np.ndarray:
    """Return a photograph uint8 [H, W, C] at the size from which crops are taken.

    "imagenet" enlarges both sides by 1.1 (cubic, rounded up), "cifar" shrinks them by 0.2.
    """
    height, width = photograph.shape[:2]
    if scale == "cifar":
        small: np.ndarray = photograph[OFFSET::STRIDE, OFFSET::STRIDE][
            : round(height / STRIDE), : round(width / STRIDE)
        ]
        return small
    rows, columns = (cubic_matrix(side, int(np.ceil(side * ENLARGEMENT))) for side in (height, width))
    planes = [rows @ photograph[..., channel] @ columns.T for channel in range(photograph.shape[2])]
    enlarged: np.ndarray = np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)
    return enlarged


def frost_crops(
    paths: Sequence[Path], channels: int, size: int, scale: Scale, count: int = 5000, seed: int = 0
) -> ImageData:
    """Cut random squares out of rescaled photographs.

    Parameters
    ----------
    paths : sequence of Path
        The photographs; each is equally likely.
    channels : int
        Of the crops.
    size : int
        Side of the crops in pixels.
    scale : {"imagenet", "cifar"}
        As in the function for ImageNet-C or for CIFAR-10-C.
    count, seed : int
        Number of crops; seed of the draws.

    Raises
    ------
    ReproodError
        If a rescaled photograph is not larger than a crop, or the scale is unknown.
    """
    if scale not in ("imagenet", "cifar"):
        raise ReproodError(f"The scale of frost is imagenet or cifar, not {scale!r}; correct the catalogue entry.")
    fits(count * size * size * channels, f"{count} crops of frost")
    photographs = []
    for path in paths:
        photograph = rescaled(to_array(decode(path.read_bytes(), str(path)), channels), scale)
        if min(photograph.shape[:2]) <= size:
            raise ReproodError(
                f"{path}: at the scale {scale} the photograph has {photograph.shape[0]} x {photograph.shape[1]} "
                f"pixels; expected more than {size} on both sides. Choose a smaller size."
            )
        photographs.append(photograph)
    rng = np.random.Generator(np.random.PCG64(seed))
    images = np.empty((count, size, size, channels), np.uint8)
    for crop in images:
        photograph = photographs[int(rng.integers(len(photographs)))]
        top, left = (int(rng.integers(side - size)) for side in photograph.shape[:2])
        crop[:] = photograph[top : top + size, left : left + size]
    return ImageData(images, np.full(count, -1, np.int64))
