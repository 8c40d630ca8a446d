"""AutoAttack, the standard ensemble of parameter-free attacks (Croce and Hein 2020), through the package pyautoattack.

The package is the authors' code as released; it is optional, and imported when the attack is run.
"""

import sys
from typing import Any

import torch
from torch import Generator, Tensor

from reprood.attacks.options import Norm
from reprood.attacks.projected import Classify
from reprood.core.errors import ReproodError

TARGETS = 9  # classes that the targeted attacks try, where there are so many
LEAST_CLASSES = 4  # the targeted loss compares with the third and fourth largest logit


def autoattack(
    classify: Classify, images: Tensor, labels: Tensor, *, eps: float, norm: Norm, generator: Generator
) -> Tensor:
    """Standard version: APGD on the cross-entropy, targeted APGD, targeted FAB, Square with 5,000 queries.

    Each attack meets only the images that those before it left right. With fewer than ten classes all wrong ones are
    targets.

    Parameters
    ----------
    classify : callable
        Images in [0, 1] -> logits [B, K], K at least 4; the network in evaluation mode.
    images : Tensor [B, C, H, W]
        Floats in [0, 1]; attacked in float32.
    labels : int64 Tensor [B]
    eps : float
        Radius in units of [0, 1] images.
    norm : {"linf", "l2"}
    generator : Generator
        Gives the seed; the global random state is left as it was.

    Returns
    -------
    Tensor like `images`
        An image that no attack turned is returned as it was.

    Raises
    ------
    ReproodError
        When the package is absent, or there are too few classes.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise ReproodError(
            "The attack autoattack needs the package pyautoattack, which is not installed here; "
            "install it with: pip install 'reprood[autoattack]', or take the attack out of the suite."
        ) from error
    with torch.no_grad():
        classes = classify(images[:1]).shape[1]
    if classes < LEAST_CLASSES:
        raise ReproodError(
            f"AutoAttack needs at least {LEAST_CLASSES} classes, and the network has {classes}; use pgd."
        )
    if eps == 0:
        return images.clone()
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    attack = AutoAttack(
        lambda changed: _apart(classify, changed.to(images.dtype)).float(),
        eps=eps,
        norm={"linf": "Linf", "l2": "L2"}[norm],
        seed=seed,
        version="standard",
        device=images.device,
    )
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, classes - 1)
    devices = [images.device] if images.device.type == "cuda" else []
    tracer = sys.gettrace()  # the package's check for changing defences ends with no tracer
    try:
        with torch.random.fork_rng(devices):
            found, _ = attack.run_standard_evaluation(images.detach().float(), labels, batch_size=len(images))
    finally:
        sys.settrace(tracer)
    return torch.empty_like(images).copy_(found)


class _Apart(torch.autograd.Function):
    """Logits whose gradient reaches the images alone; the package calls `backward`, which would fill parameters too."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, classify: Classify) -> Tensor:
        with torch.enable_grad():
            ctx.leaf = images.detach().requires_grad_()
            ctx.logits = classify(ctx.leaf)
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (found,) = torch.autograd.grad(ctx.logits, ctx.leaf, upstream[0], retain_graph=True)
        return found, None


def _apart(classify: Classify, images: Tensor) -> Tensor:
    if torch.is_grad_enabled() and images.requires_grad:
        logits: Tensor = _Apart.apply(images, classify)  # type: ignore[no-untyped-call]
        return logits
    with torch.no_grad():
        return classify(images)
