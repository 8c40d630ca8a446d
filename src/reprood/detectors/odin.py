"""ODIN: a temperature and a small input step that raises the confidence (Liang, Li, Srikant 2018)."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from reprood.detectors.logits import msp

Network = Callable[[Tensor], Tensor]


def signs(gradient: Tensor) -> Tensor:
    """+1 where the gradient is >= 0, else -1: an exact zero counts as +1, as in the authors' code."""
    return torch.where(gradient >= 0, 1.0, -1.0).to(gradient.dtype)


def perturb(network: Network, images: Tensor, std: Tensor, temperature: float, epsilon: float) -> Tensor:
    """Move images by `epsilon` (in raw [0, 1] pixel units) towards a higher confidence.

    x' = x - epsilon * sign(dL/dx) / std with L = CE(l(x) / T, argmax l(x)); no clipping.

    Parameters
    ----------
    network : callable
        Normalised images [B, C, H, W] -> logits [B, K]; in evaluation mode, so that images are independent.
    images : Tensor [B, C, H, W]
        Normalised images.
    std : Tensor [C]
        The channel standard deviations of the in-distribution normalisation (also for OOD images).
    temperature : float
        T of the softmax.
    epsilon : float
        Size of the step in units of [0, 1] pixels.

    Returns
    -------
    Tensor [B, C, H, W]
        `images` itself when `epsilon` is 0.
    """
    if epsilon == 0:
        return images
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        # In float64 from the logits on: at T = 1000 the gradient is about 1/1000 of an ordinary one.
        logits = network(leaf).double() / temperature
        loss = functional.cross_entropy(logits, logits.detach().argmax(dim=1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
    return images - epsilon * signs(gradient) / std.to(images).view(1, -1, 1, 1)


def odin(network: Network, images: Tensor, std: Tensor, temperature: float = 1000.0, epsilon: float = 0.0014) -> Tensor:
    """Score max softmax(l(x') / T), x' from `perturb`.

    The softmax is taken in float64: in float32 at T = 1000 all scores lie within about 1e-3 of 1/K and tie.

    Returns
    -------
    Tensor [B], float64
    """
    moved = perturb(network, images, std, temperature, epsilon)
    with torch.no_grad():
        return msp(network(moved), temperature)


def choose_epsilon(
    network: Network, batches: Callable[[], Iterable[Tensor]], std: Tensor, temperature: float, grid: Sequence[float]
) -> float:
    """Step size that gives ID validation images the highest mean score (Generalized ODIN's rule; no OOD data).

    Parameters
    ----------
    network : callable
        As in `perturb`.
    batches : callable
        Gives an iterator over normalised ID validation images [B, C, H, W], anew on each call.
    std : Tensor [C]
        As in `perturb`.
    temperature : float
        T of the softmax.
    grid : sequence of float
        Candidates; the smallest wins a tie.
    """
    candidates = sorted(grid)
    sums = [
        float(sum(odin(network, images, std, temperature, epsilon).sum() for images in batches()))
        for epsilon in candidates
    ]
    return candidates[sums.index(max(sums))]
