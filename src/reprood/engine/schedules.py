"""Learning rates of the papers as pure functions of the epoch (0-based) or of the progress of a training."""

import math
from collections.abc import Sequence


def multistep(lr: float, epoch: int, epochs: int, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """`lr` times `gamma` for every milestone f with epoch >= int(f * epochs).

    Generalized ODIN (drops at int(0.5 E) and int(0.75 E)); torch's MultiStepLR.
    """
    return float(lr * gamma ** sum(epoch >= int(share * epochs) for share in milestones))


def floor_steps(lr: float, epoch: int, epochs: int, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """`lr` times `gamma` to the power epoch // (f * epochs), for every milestone f: CutMix's rule for CIFAR.

    The floor divisions are by floats: with 7 epochs and f = 0.5, 0.75 the rate drops at epochs 4 and 6.
    """
    for share in milestones:
        lr *= gamma ** (epoch // (epochs * share))
    return lr


def imagenet_steps(lr: float, epoch: int, epochs: int, gamma: float = 0.1) -> float:
    """CutMix's rule for ImageNet: a drop every 75 epochs if there are 300 of them, else every 30."""
    return float(lr * gamma ** (epoch // (75 if epochs == 300 else 30)))


def cosine(lr: float, progress: float, final: float = 0.0) -> float:
    """Half a cosine from `lr` at progress 0 to `final` at progress 1 (Loshchilov and Hutter 2017)."""
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2


def warmup_restart(lr: float, epoch: int, epochs: int, warm: int, factor: float = 2.0) -> float:
    """ReSmooth's rule: a rise to `factor` * lr, a jump back to lr, and a cosine that does not reach 0.

    The rate is lr * (1 + (factor - 1) * epoch / warm) in epochs 0 to `warm` (with `factor` 1: lr * epoch / warm), then
    lr * (1 + cos(pi * (epoch - warm - 1) / epochs)) / 2: what the warm-up package that the code imports does in effect.
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
    """CSI's rule: a linear rise from lr to `factor` * lr, then a cosine that does not reach 0, or steps.

    At the fractional epoch `position` up to `warm` it is lr * (1 + (factor - 1) * position / warm). After that, with
    x = position - warm and without milestones, factor * lr * (1 + cos(pi * x / epochs)) / 2; with milestones (shares
    of all epochs) factor * lr times `gamma` for every share f with x >= f * epochs. The warm-up does not shorten the
    cosine.
    """
    if position <= warm:
        return lr * (1 + (factor - 1) * (position / warm if warm else 1.0))
    behind = position - warm
    if milestones:
        return float(factor * lr * gamma ** sum(behind >= share * epochs for share in milestones))
    return factor * lr * (1 + math.cos(math.pi * behind / epochs)) / 2


def warmup(lr: float, position: float, length: float, start: float = 0.0) -> float:
    """Linear rise from `start` * lr at position 0 to `lr` at position `length`; `lr` after it."""
    if position >= length:
        return lr
    return lr * (start + (1 - start) * position / length)
