"""AutoAttack, the standard ensemble of parameter-free attacks (Croce and Hein 2020), from the package pyautoattack.

The package is the authors' code as released; it is optional and is imported when the attack is run.
"""

import sys
from typing import Any

import torch
from torch import Generator, Tensor

from reprood.attacks.options import Norm
from reprood.attacks.projected import Classify
from reprood.core.errors import ReproodError

TARGETS = 9  # target classes of the targeted attacks (fewer if there are fewer classes)
LEAST_CLASSES = 4  # the targeted loss compares with the third and fourth largest logit


def autoattack(
    classify: Classify, images: Tensor, labels: Tensor, *, eps: float, norm: Norm, generator: Generator
) -> Tensor:
    """Run the standard version: APGD on the cross-entropy, targeted APGD, targeted FAB, Square with 5,000 queries.

    Each attack gets only the images that are still classified correctly. With fewer than ten classes, all wrong ones
    are targets.

    Parameters
    ----------
    classify : callable
        Images in [0, 1] -> logits [B, K], K at least 4; the network in evaluation mode.
    images : Tensor [B, C, H, W]
        Floats in [0, 1]; attacked in float32.
    labels : int64 Tensor [B]
        True classes.
    eps : float
        Radius in units of [0, 1] images.
    norm : {"linf", "l2"}
        Norm of the ball.
    generator : Generator
        Source of the seed; the global random state is restored.

    Returns
    -------
    Tensor like `images`
        An image for which no attack succeeds is returned unchanged.

    Raises
    ------
    ReproodError
        If the package is not installed, or if there are too few classes.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise ReproodError(
            "The attack autoattack needs the package pyautoattack, which is not installed; install it "
            "with pip install 'reprood[autoattack]', or remove the attack from the suite."
        ) from error
    with torch.no_grad():
        classes = classify(images[:1]).shape[1]
    if classes < LEAST_CLASSES:
        raise ReproodError(
            f"AutoAttack needs at least {LEAST_CLASSES} classes, but the network has {classes}; use pgd."
        )
    if eps == 0:
        return images.clone()
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    attack = AutoAttack(
        lambda changed: _logits(classify, changed.to(images.dtype)).float(),
        eps=eps,
        norm={"linf": "Linf", "l2": "L2"}[norm],
        seed=seed,
        version="standard",
        device=images.device,
    )
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, classes - 1)
    devices = [images.device] if images.device.type == "cuda" else []
    tracer = sys.gettrace()  # the package resets it in its check for changing defences
    try:
        with torch.random.fork_rng(devices):
            attacked, _ = attack.run_standard_evaluation(images.detach().float(), labels, batch_size=len(images))
    finally:
        sys.settrace(tracer)
    return torch.empty_like(images).copy_(attacked)


class _ImageGradientOnly(torch.autograd.Function):
    """Logits whose gradient reaches only the images: the package calls `backward`, which would fill parameters too."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, classify: Classify) -> Tensor:
        with torch.enable_grad():
            ctx.leaf = images.detach().requires_grad_()
            ctx.logits = classify(ctx.leaf)
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (gradient,) = torch.autograd.grad(ctx.logits, ctx.leaf, upstream[0], retain_graph=True)
        return gradient, None


def _logits(classify: Classify, images: Tensor) -> Tensor:
    if torch.is_grad_enabled() and images.requires_grad:
        logits: Tensor = _ImageGradientOnly.apply(images, classify)  # type: ignore[no-untyped-call]
        return logits
    with torch.no_grad():
        return classify(images)
