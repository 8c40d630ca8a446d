"""Stopping a training that has gone wrong, with one sentence that says where and what to do."""

import torch
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.place import Place, float_tensors

CHECK_EVERY = 50
DIVERGED = 1e4
ADVICE = "lower training.lr, add training.warmup_epochs or set training.clip_norm, and record it as a deviation"


def check_loss(place: Place, steps: int, rate: float, where: str) -> None:
    """Look at the mean loss since the last look (one wait for the device).

    Raises
    ------
    ReproodError
        When it is not a number, or its size is above 10,000.
    """
    total = float(place.total)
    mean = (total - place.checked) / place.since
    if not abs(mean) <= DIVERGED:
        first = (place.step - 1) // CHECK_EVERY * CHECK_EVERY + 1
        raise ReproodError(
            f"{where}: the training diverged (mean loss {mean:.4g}) in epoch {place.epoch + 1}, steps {first} to "
            f"{place.step} of {steps}, at learning rate {rate:.4g}; {ADVICE}."
        )
    place.checked, place.since = total, 0


def require_finite(model: nn.Module, place: Place, rate: float, where: str) -> None:
    """No parameter, batch statistic or loss sum may be infinite or not a number: such a state is never stored.

    Raises
    ------
    ReproodError
        When one is.
    """
    largest = [tensor.abs().amax().float() for tensor in float_tensors(model)]
    if not bool(torch.stack([*largest, place.total.abs().float()]).isfinite().all()):
        raise ReproodError(
            f"{where}: a parameter or the loss is no longer a finite number after {place.epoch} epochs and "
            f"{place.step} steps, at learning rate {rate:.4g}; {ADVICE}."
        )
