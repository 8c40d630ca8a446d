"""One step of BiaMAT: the gate, then attack and loss of either program (the authors' code)."""

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
    """Return which auxiliary images are OUT, bool [B]; sets the threshold if it is not set.

    Parameters
    ----------
    network : TwoHeads
        In training mode; switched to evaluation mode for the gate.
    primary, auxiliary : Tensor
        Natural images in [0, 1].
    gamma : float
        Threshold as a multiple of the mean confidence.
    """
    threshold = network.primary.threshold
    with evaluating(network):
        if float(threshold) == 0:
            threshold.copy_(gate_threshold(network.head_logits(primary, len(primary)).primary, gamma))
        confidences = confidence(network.head_logits(auxiliary, len(auxiliary)).primary)
    outside = confidences < threshold
    network.counted += torch.stack((outside.new_tensor(len(outside), dtype=torch.int64), (~outside).sum()))
    return outside


def at_step(
    network: TwoHeads, images: Tensor, labels: Tensor, labels_in: Tensor, noise: Tensor, alpha: float, ascent: Ascent
) -> Parts:
    """Attack [primary ; OUT ; IN] with the batch's statistics and return the loss of the attacked images alone.

    Parameters
    ----------
    network : TwoHeads
        In training mode.
    images : Tensor [n + n_out + n_in, C, H, W]
        In [0, 1].
    labels, labels_in : int64 Tensor [n], [n_in]
        Class indices of the primary and of the IN images.
    noise : Tensor like `images`
        The attack's start, uniform in the ball.
    alpha : float
        0 in the warm-up.
    ascent : Ascent
        Radius, step and number of steps of the attack.
    """
    outer = len(images) - len(labels_in)

    def objective(changed: Tensor) -> Tensor:
        return at_objective(network.head_logits(changed, outer), labels, labels_in)

    with unrecorded(network):
        attacked = pgd(objective, images, **ascent._asdict(), noise=noise, clip_start=True)
    return at_loss(network.head_logits(attacked, outer), labels, labels_in, alpha)


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
    """Attack in evaluation mode, then return the loss of two forward passes in training mode, natural before attacked.

    The attack is computed in fp32 even under autocast: it starts 0.001 N(0, 1) from the natural images, where the
    divergence between bf16 outputs is mostly rounding error.

    Parameters
    ----------
    network, images, labels, labels_in, alpha, ascent
        As in `at_step`.
    noise : Tensor like `images`
        The attack's start, 0.001 N(0, 1).
    beta, plain_auxiliary
        As in `reprood.methods.biamat.loss.trades_loss`.
    """
    outer = len(images) - len(labels_in)
    with evaluating(network), torch.autocast(images.device.type, enabled=False):
        with torch.no_grad():
            before = network.head_logits(images, outer)

        def objective(changed: Tensor) -> Tensor:
            return trades_objective(network.head_logits(changed, outer), before, labels_in if plain_auxiliary else None)

        images_attacked = pgd(objective, images, **ascent._asdict(), noise=noise)
    natural = network.head_logits(images, outer)
    attacked = network.head_logits(images_attacked, outer)
    return trades_loss(attacked, natural, labels, labels_in, alpha, beta, plain_auxiliary=plain_auxiliary)
