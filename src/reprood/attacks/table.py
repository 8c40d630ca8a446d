"""Attacks as a suite names them."""

import torch
from torch import Generator, Tensor

from reprood.attacks.autoattack import autoattack
from reprood.attacks.losses import LOSSES
from reprood.attacks.options import Attack
from reprood.attacks.projected import Classify, attack_labels, fgsm
from reprood.core.errors import ReproodError


def run_attack(options: Attack, classify: Classify, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Adversarial images.

    Parameters
    ----------
    options : Attack
        `limit` is the caller's to keep.
    classify : callable
        Images in [0, 1] -> logits [B, K]; the network in evaluation mode.
    images : Tensor [B, C, H, W]
        Floats in [0, 1].
    labels : int64 Tensor [B]
    generator : Generator
        Of the random starts.

    Returns
    -------
    Tensor like `images`, in [0, 1]

    Raises
    ------
    ReproodError
        When the network's gradient is not finite, or AutoAttack is asked for and not installed.
    """
    if options.kind == "autoattack":
        found = autoattack(classify, images, labels, eps=options.eps, norm=options.norm, generator=generator)
    elif options.kind == "fgsm":
        function = LOSSES[options.loss]
        found = fgsm(
            lambda changed: function(classify(changed), labels).sum(), images, eps=options.eps, norm=options.norm
        )
    else:
        found = attack_labels(
            classify,
            images,
            labels,
            eps=options.eps,
            step=options.step,
            steps=options.steps,
            generator=generator,
            norm=options.norm,
            loss=options.loss,
            restarts=options.restarts,
        )
    # NaN images would count as some class or other, and what was measured would not be robustness.
    if not bool(torch.isfinite(found).all()):
        raise ReproodError(
            f"The attack {options.kind} met a gradient that is not finite; the network's weights or its "
            "normalisation are broken: train it again."
        )
    return found
