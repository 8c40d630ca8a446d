"""Batches of a second data set, drawn alongside those of the training set."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.run import Run
from reprood.engine.training import Training


def second_stream(count: int, data: int, training: Training, run: Run, name: str) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to rows of a second set: full batches of a permutation, then of a new one.

    The stream continues over the epochs of the first set, and is a function of (run, epoch, step) alone, so that a
    resumed training continues with the same rows. Rows that do not fill a last batch are left out of a pass.

    Parameters
    ----------
    count : int
        Images of the second set.
    data : int
        Images of the first set.
    training : Training
        Of the phase; its batch size is that of both sets.
    run : Run
        Seeds, device and precision of the training.
    name : str
        Of the second set: names its random stream.

    Returns
    -------
    callable
        Batch -> int64 Tensor [batch size] on the run's device.

    Raises
    ------
    ReproodError
        If the second set does not fill one batch.
    """
    size, steps = training.batch_size, training.steps(data)
    batches = count // size
    if batches == 0:
        raise ReproodError(
            f"{run.name}: the auxiliary set '{name}' has {count} images, but a batch takes {size}; use a smaller "
            "training.batch_size or more images."
        )

    @lru_cache(maxsize=1)
    def order(turn: int) -> Tensor:
        return torch.randperm(count, generator=run.generator("second stream", name, turn)).to(run.device)

    def rows(batch: Batch) -> Tensor:
        turn, place = divmod(batch.epoch * steps + batch.step, batches)
        return order(turn)[place * size : (place + 1) * size]

    return rows
