"""Learning rates of the papers as pure functions of the epoch (0-based) or of the finished share of a training."""

import math
from collections.abc import Sequence


def multistep(lr: float, epoch: int, epochs: int, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """Return `lr` times `gamma` for every milestone f with epoch >= int(f * epochs).

    Generalized ODIN (drops at int(0.5 E) and int(0.75 E)); torch's MultiStepLR.

    Examples
    --------
    >>> [multistep(1.0, epoch, 4, (0.5, 0.75), gamma=0.5) for epoch in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return float(lr * gamma ** sum(epoch >= int(share * epochs) for share in milestones))


def floor_steps(lr: float, epoch: int, epochs: int, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """Return `lr` times `gamma` to the power epoch // (f * epochs) for every milestone f: CutMix's rule for CIFAR.

    The floor divisions are by floats: with 7 epochs and f = 0.5, 0.75 the rate drops at epochs 4 and 6.

    Examples
    --------
    >>> [floor_steps(1.0, epoch, 7, (0.5, 0.75), gamma=0.5) for epoch in (3, 4, 6)]
    [1.0, 0.5, 0.25]
    """
    for share in milestones:
        lr *= gamma ** (epoch // (epochs * share))
    return lr


def imagenet_steps(lr: float, epoch: int, epochs: int, gamma: float = 0.1) -> float:
    """Return the rate of CutMix's rule for ImageNet: a drop every 75 epochs in trainings of 300, else every 30.

    Examples
    --------
    >>> imagenet_steps(1.0, 150, 300, gamma=0.5)
    0.25
    """
    return float(lr * gamma ** (epoch // (75 if epochs == 300 else 30)))


def cosine(lr: float, progress: float, final: float = 0.0) -> float:
    """Return half a cosine from `lr` at progress 0 to `final` at progress 1 (Loshchilov and Hutter 2017).

    Examples
    --------
    >>> cosine(1.0, 0.0), cosine(1.0, 1.0)
    (1.0, 0.0)
    """
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2


def warmup_restart(lr: float, epoch: int, epochs: int, warm: int, factor: float = 2.0) -> float:
    """Return the rate of ReSmooth's rule: a rise to `factor` * lr, a jump back to lr, a cosine that does not reach 0.

    The rate is lr * (1 + (factor - 1) * epoch / warm) in epochs 0 to `warm` (with `factor` 1: lr * epoch / warm), then
    lr * (1 + cos(pi * (epoch - warm - 1) / epochs)) / 2: the effect of the warm-up package that the code imports.

    Examples
    --------
    >>> [warmup_restart(1.0, epoch, 100, warm=2) for epoch in range(4)]
    [1.0, 1.5, 2.0, 1.0]
    """
    if epoch <= warm:
        share = epoch / warm if warm else 0.0
        return lr * share if factor == 1 and warm else lr * (1 + (factor - 1) * share)
    return lr * (1 + math.cos(math.pi * (epoch - warm - 1) / epochs)) / 2


def gradual(
    lr: float,
    position: float,
    epochs: int,
    warm: float,
    factor: float,
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
) -> float:
    """Return the rate of CSI's rule: a linear rise from lr to `factor` * lr, then a cosine or steps.

    At the fractional epoch `position` up to `warm` it is lr * (1 + (factor - 1) * position / warm). After that, with
    x = position - warm and without milestones, factor * lr * (1 + cos(pi * x / epochs)) / 2; with milestones (shares
    of all epochs) factor * lr times `gamma` for every share f with x >= int(f * epochs), as the code passes whole
    epochs to torch's MultiStepLR. The warm-up does not shorten the cosine, which therefore does not reach 0.

    Examples
    --------
    >>> [gradual(0.1, position, 100, warm=10, factor=10) for position in (0, 5, 10)]
    [0.1, 0.55, 1.0]
    >>> [round(gradual(1.0, position, 30, 3, 1, (0.5, 0.75)), 3) for position in (17.9, 18, 24.9, 25)]
    [1.0, 0.1, 0.1, 0.01]
    """
    if position <= warm:
        return lr * (1 + (factor - 1) * (position / warm if warm else 1.0))
    behind = position - warm
    if milestones:
        return float(factor * lr * gamma ** sum(behind >= int(share * epochs) for share in milestones))
    return factor * lr * (1 + math.cos(math.pi * behind / epochs)) / 2


def warmup(lr: float, position: float, length: float, start: float = 0.0) -> float:
    """Return a linear rise from `start` * lr at position 0 to `lr` at position `length`, and `lr` after it.

    Examples
    --------
    >>> [warmup(1.0, position, 2) for position in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if position >= length:
        return lr
    return lr * (start + (1 - start) * position / length)
