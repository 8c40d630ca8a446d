"""Auxiliary outliers in addition to the in-distribution (ID) images of a step, for methods that train on both."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.training import Training

Order = Literal["sequential", "random"]
PER_IMAGE = 2  # outliers per ID image of a full batch, in Outlier Exposure and in HOOD


def outlier_set(problem: Problem, name: str, where: str) -> ImageSet:
    """Return the auxiliary set with a name; for "" the only one, not counting photographs of frost.

    Parameters
    ----------
    problem : Problem
        With the auxiliary sets.
    name : str
        Name of the set, or "".
    where : str
        Start of the error message: the run or study that needs the set.

    Raises
    ------
    ReproodError
        When there is no such set, or no name is given and there is not exactly one.
    """
    if name in problem.auxiliary:
        return problem.auxiliary[name]
    candidates = [data for key, data in problem.auxiliary.items() if not key.startswith("frost_")]
    if not name and len(candidates) == 1:
        return candidates[0]
    wanted = f"the auxiliary set '{name}'" if name else "one auxiliary set"
    raise ReproodError(
        f"{where}: outliers are needed from {wanted}; the benchmark has {', '.join(problem.auxiliary) or 'none'}. Add "
        "one under 'auxiliary', or choose one by name with 'outliers'."
    )


def first_row(count: int, epochs: int, epoch: int) -> int:
    """Return the row of `count` outliers at which an epoch (0-based, of `epochs`) starts: int(count / epochs * epoch).

    Equally spaced, as in HOOD's code with the option that its README uses.

    Examples
    --------
    >>> [first_row(10, 4, epoch) for epoch in range(4)]
    [0, 2, 5, 7]
    """
    return int(count / epochs * epoch)


def outlier_batches(
    problem: Problem, training: Training, run: Run, *, name: str, order: Order
) -> Callable[[Batch], Tensor]:
    """Return a function from a batch of ID images to uint8 outliers [2B, C, H, W], B the size of a full batch.

    A last batch with fewer ID images has the same number of outliers, as in the code of Outlier Exposure.

    Parameters
    ----------
    problem : Problem
        With the outliers under `auxiliary`.
    training : Training
        Settings of the phase; `batch_size` and `epochs` determine the rows of a step.
    run : Run
        Seeds and device.
    name : str
        Name of the auxiliary set; "" for the only one.
    order : {"sequential", "random"}
        "sequential": in stored order, each epoch from `first_row` on; "random": in a new random order each epoch.
        Both continue with the first row after the last one.

    Raises
    ------
    ReproodError
        When there is no such set.
    """
    images = outlier_set(problem, name, run.name).images
    count = len(images)

    @lru_cache(maxsize=1)
    def reading_order(epoch: int) -> Tensor:
        if order == "random":
            rows = torch.randperm(count, generator=run.generator("outliers", epoch))
        else:
            rows = torch.arange(count).roll(-first_row(count, training.epochs, epoch))
        return rows.to(run.device)

    def outliers(batch: Batch) -> Tensor:
        start = batch.step * PER_IMAGE * training.batch_size
        positions = torch.arange(start, start + PER_IMAGE * training.batch_size, device=run.device) % count
        return images.index_select(0, reading_order(batch.epoch)[positions])

    return outliers
