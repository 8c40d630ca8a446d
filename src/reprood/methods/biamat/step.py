"""One step of BiaMAT (section 3.1 of its description): the gate, then attack and loss of either program."""

from typing import NamedTuple

import torch
from torch import Tensor

from reprood.attacks.modes import evaluating, unrecorded
from reprood.attacks.projected import pgd
from reprood.methods.biamat.loss import (
    Parts,
    at_loss,
    at_objective,
    confidence,
    gate_threshold,
    trades_loss,
    trades_objective,
)
from reprood.methods.biamat.net import TwoHeads


class Ascent(NamedTuple):
    """An attack's radius and step in units of [0, 1] images, and its number of steps."""

    eps: float
    step: float
    steps: int


@torch.no_grad()
def gate(network: TwoHeads, primary: Tensor, auxiliary: Tensor, gamma: float) -> Tensor:
    """Which auxiliary images are OUT, bool [B]; sets the threshold if it is not set.

    Parameters
    ----------
    network : TwoHeads
        In training mode; it is asked in evaluation mode.
    primary, auxiliary : Tensor
        Natural images in [0, 1].
    gamma : float
    """
    threshold = network.primary.threshold
    with evaluating(network):
        if float(threshold) == 0:
            threshold.copy_(gate_threshold(network.answers(primary, len(primary)).primary, gamma))
        sure = confidence(network.answers(auxiliary, len(auxiliary)).primary)
    outside = sure < threshold
    network.counted += torch.stack((outside.new_tensor(len(outside), dtype=torch.int64), (~outside).sum()))
    return outside


def at_step(
    network: TwoHeads, images: Tensor, labels: Tensor, labels_in: Tensor, noise: Tensor, alpha: float, ascent: Ascent
) -> Parts:
    """Attack [primary ; OUT ; IN] with the batch's statistics; the loss is that of the adversarial images alone.

    Parameters
    ----------
    network : TwoHeads
        In training mode.
    images : Tensor [n + n_out + n_in, C, H, W]
        In [0, 1].
    labels, labels_in : int64 Tensor [n], [n_in]
    noise : Tensor like `images`
        The attack's start, uniform in the ball.
    alpha : float
        0 in the warm-up.
    ascent : Ascent
    """
    outer = len(images) - len(labels_in)

    def objective(changed: Tensor) -> Tensor:
        return at_objective(network.answers(changed, outer), labels, labels_in)

    with unrecorded(network):
        found = pgd(objective, images, **ascent._asdict(), noise=noise, clip_start=True)
    return at_loss(network.answers(found, outer), labels, labels_in, alpha)


def trades_step(
    network: TwoHeads,
    images: Tensor,
    labels: Tensor,
    labels_in: Tensor,
    noise: Tensor,
    alpha: float,
    ascent: Ascent,
    *,
    beta: float = 6.0,
    plain_auxiliary: bool = False,
) -> Parts:
    """Attack in evaluation mode, then two forward passes in training mode, natural before adversarial.

    Parameters as in `at_step` and `biamat_loss.trades_loss`; the noise is 0.001 N(0, 1).
    """
    outer = len(images) - len(labels_in)
    with evaluating(network):
        with torch.no_grad():
            before = network.answers(images, outer)

        def objective(changed: Tensor) -> Tensor:
            return trades_objective(network.answers(changed, outer), before, labels_in if plain_auxiliary else None)

        found = pgd(objective, images, **ascent._asdict(), noise=noise)
    natural = network.answers(images, outer)
    changed = network.answers(found, outer)
    return trades_loss(changed, natural, labels, labels_in, alpha, beta, plain_auxiliary=plain_auxiliary)
