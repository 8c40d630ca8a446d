"""Windows of images, and maps of the image's size from one score per window (CutPaste, localisation).

The paper (A.5) smooths with a Gaussian kernel of the window's size in a transposed convolution, after P. Liznerski et
al.: Explainable Deep One-Class Classification, ICLR 2021 (FCDD). The width of the kernel is that of FCDD's code.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError


def window_places(size: int, side: int, stride: int) -> int:
    """Return the number of windows along a side of the image.

    Raises
    ------
    ReproodError
        If the windows do not end at the image's border.
    """
    if side > size or (size - side) % stride:
        raise ReproodError(
            f"Windows of {side} pixels with stride {stride} do not tile images of {size} pixels; choose a stride that "
            f"divides {size - side}."
        )
    return (size - side) // stride + 1


def windows_at(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Return square windows of images.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Images to cut from.
    top, left : int64 Tensor [B, M]
        Upper left corners.
    side : int
        Of the windows, in pixels.

    Returns
    -------
    Tensor [B, M, C, side, side]
    """
    line = torch.arange(side, device=images.device)
    rows, columns = (top.unsqueeze(-1) + line)[..., :, None], (left.unsqueeze(-1) + line)[..., None, :]
    number = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    return images.permute(0, 2, 3, 1)[number, rows, columns].permute(0, 1, 4, 2, 3)


def all_corners(size: int, side: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows and columns of the corners of all windows, int64 [L] each, row by row."""
    line = torch.arange(window_places(size, side, stride), device=device) * stride
    top, left = torch.meshgrid(line, line, indexing="ij")
    return top.reshape(-1), left.reshape(-1)


def random_windows(images: Tensor, side: int, generator: Generator) -> Tensor:
    """Return one window per image, uniform over all places: [B, C, H, W] to [B, C, side, side].

    Raises
    ------
    ReproodError
        If the window is larger than the image.
    """
    free = min(images.shape[2:]) - side
    if free < 0:
        raise ReproodError(f"Windows of {side} pixels do not fit into images of {min(images.shape[2:])}; lower 'crop'.")
    corners = torch.randint(free + 1, (2, len(images), 1), generator=generator, device=generator.device)
    top, left = corners.to(images.device, non_blocking=True)
    return windows_at(images, top, left, side)[:, 0]


def kernel_deviation(side: int) -> float:
    """Return the standard deviation in pixels of the Gaussian over a window.

    10 from 32 pixels on, log10(0.45 side + 1) + 0.25 below.
    """
    return 10.0 if side >= 32 else math.log10(0.45 * side + 1) + 0.25


def gaussian_kernel(side: int) -> Tensor:
    """Return the Gaussian over a window, float64 [side, side]: 1 in the middle of an odd side, 1/4 of an even one."""
    odd = side - 1 + side % 2
    line = torch.arange(odd, dtype=torch.float64) - (odd - 1) / 2
    values = (-line.square() / (2 * kernel_deviation(side) ** 2)).exp()
    if side % 2 == 0:
        middle = odd // 2
        values = torch.cat((values[: middle + 1], values[middle:])) / 2
    return torch.outer(values, values)


def spread_scores(scores: Tensor, side: int, stride: int) -> Tensor:
    """Return each window's score spread over the window, summed over the windows.

    Borders, which fewer windows cover, get less, as in FCDD's code.

    Parameters
    ----------
    scores : Tensor [B, h, w]
        One score per window.
    side, stride : int
        Of the windows, in pixels.

    Returns
    -------
    float64 Tensor [B, (h - 1) * stride + side, (w - 1) * stride + side]
    """
    kernel = gaussian_kernel(side).to(scores.device)[None, None]
    return functional.conv_transpose2d(scores.double()[:, None], kernel, stride=stride)[:, 0]
