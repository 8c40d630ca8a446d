"""Batches of auxiliary outliers beside the in-distribution batches of a training."""

from typing import Literal

import torch
from torch import Tensor

from reprood.engine.batches import Batch
from reprood.engine.problem import ImageSet, Problem
from reprood.errors import ReproodError

Order = Literal["random", "sequential"]


def outlier_set(problem: Problem, name: str, run_name: str) -> ImageSet:
    """The auxiliary set of a name, or the only one when the name is "".

    Raises
    ------
    ReproodError
        When there is no such set, or the name is left out and there is not exactly one.
    """
    known = ", ".join(problem.auxiliary) or "none"
    if name in problem.auxiliary:
        return problem.auxiliary[name]
    if not name and len(problem.auxiliary) == 1:
        return next(iter(problem.auxiliary.values()))
    wanted = f"the auxiliary set '{name}'" if name else "one auxiliary set"
    raise ReproodError(
        f"{run_name}: this method trains with outliers and needs {wanted}; the benchmark has {known}. Give it one "
        "under 'auxiliary', or name it with 'outliers'."
    )


def first_row(count: int, epochs: int, epoch: int) -> int:
    """Where an epoch begins to read `count` outliers in order: int(count / epochs * epoch), epochs counted from 0."""
    return int(count * 1.0 / epochs * epoch)


def outlier_rows(batch: Batch, count: int, size: int, order: Order, epochs: int) -> Tensor:
    """Which outliers go with a batch, int64 [size].

    Parameters
    ----------
    batch : Batch
    count : int
        Outliers there are.
    size : int
        Outliers wanted.
    order : {"random", "sequential"}
        Drawn with replacement from the batch's generator, or read in order from a place that moves from epoch to
        epoch (HOOD's code); the reading wraps round.
    epochs : int
        Of the training.
    """
    if order == "random":
        return torch.randint(count, (size,), generator=batch.generator)
    start = first_row(count, epochs, batch.epoch) + batch.step * size
    return torch.arange(start, start + size) % count
