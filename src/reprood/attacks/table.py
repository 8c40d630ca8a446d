"""Run an attack by its options in a suite."""

import torch
from torch import Generator, Tensor

from reprood.attacks.autoattack import autoattack
from reprood.attacks.losses import LOSSES
from reprood.attacks.options import Attack
from reprood.attacks.projected import Classify, attack_labels, fgsm
from reprood.core.errors import ReproodError


def run_attack(options: Attack, classify: Classify, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Return adversarial images.

    Parameters
    ----------
    options : Attack
        `limit` is not used here: the caller selects the images.
    classify : callable
        Images in [0, 1] -> logits [B, K]; the network in evaluation mode.
    images : Tensor [B, C, H, W]
        Floats in [0, 1].
    labels : int64 Tensor [B]
        True classes.
    generator : Generator
        Source of the random starts.

    Returns
    -------
    Tensor like `images`, in [0, 1]

    Raises
    ------
    ReproodError
        If the network's gradient is not finite, or if AutoAttack is requested but not installed.
    """
    if options.kind == "autoattack":
        attacked = autoattack(classify, images, labels, eps=options.eps, norm=options.norm, generator=generator)
    elif options.kind == "fgsm":
        function = LOSSES[options.loss]
        attacked = fgsm(
            lambda changed: function(classify(changed), labels).sum(), images, eps=options.eps, norm=options.norm
        )
    else:
        attacked = attack_labels(
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
            clip_start=options.clip_start,
            until_wrong=options.until_wrong,
        )
    # NaN images would be classified arbitrarily, and the result would not measure robustness.
    if not bool(torch.isfinite(attacked).all()):
        raise ReproodError(
            f"The attack {options.kind} got a gradient that is not finite; check the network's weights and "
            "normalisation, and train it again."
        )
    return attacked
