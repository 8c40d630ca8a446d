"""The error on attacked images during an adversarial training; recorded in the history and never used for a choice.

Robust accuracy peaks and then falls again in long adversarial trainings (Rice et al. 2020, robust overfitting), so
papers that report the best checkpoint and those that report the last one differ. With this error in the history both
can be shown.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reprood.attacks.modes import evaluating
from reprood.attacks.projected import attack_labels
from reprood.engine.batches import MONITOR_BATCH
from reprood.engine.problem import ImageSet
from reprood.engine.run import Run
from reprood.images.augment import to_float


def robust_error_percent(
    model: nn.Module,
    classify: Callable[[Tensor], Tensor],
    data: ImageSet,
    run: Run,
    *,
    eps: float,
    step: float,
    steps: int,
    clip_start: bool = False,
    limit: int | None = None,
) -> float:
    """Return the share of images in percent that are misclassified after projected gradient descent (L-infinity).

    Cross-entropy, one uniform random start, evaluation mode, fp32. The starts are the same in every call, and no
    random state of the training is used.

    Parameters
    ----------
    model : nn.Module
        The network; its mode is restored.
    classify : callable
        Images in [0, 1] -> logits [B, K] of `model`.
    data : ImageSet
        uint8 images and their labels.
    run : Run
        Device, memory format and seeds.
    eps, step : float
        Radius and step in units of [0, 1] images.
    steps : int
        Number of steps.
    clip_start : bool
        As in `reprood.attacks.projected.pgd`.
    limit : int, optional
        Number of images, from the first on; default: all.
    """
    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    generator = run.generator("robust error")
    count = len(data) if limit is None else min(limit, len(data))
    wrong = torch.zeros((), dtype=torch.int64, device=run.device)
    with evaluating(model):
        for rows in torch.split(torch.arange(count, device=run.device), MONITOR_BATCH):
            images, labels = to_float(data.images[rows]).contiguous(memory_format=layout), data.labels[rows]
            attacked = attack_labels(
                classify, images, labels, eps=eps, step=step, steps=steps, generator=generator, clip_start=clip_start
            )
            with torch.no_grad():
                wrong += (classify(attacked).argmax(dim=1) != labels).sum()
    return 100 * int(wrong) / count
