"""Auxiliary outliers beside the in-distribution (ID) images of a step, for methods that train with both."""

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
PER_IMAGE = 2  # outliers for each ID image, in Outlier Exposure and in HOOD


def outlier_set(problem: Problem, name: str, where: str) -> ImageSet:
    """The auxiliary set of a name, or the only one when the name is "".

    Parameters
    ----------
    problem : Problem
    name : str
    where : str
        Who asks, for the message.

    Raises
    ------
    ReproodError
        When there is no such set, or no name is given and there is not exactly one.
    """
    if name in problem.auxiliary:
        return problem.auxiliary[name]
    if not name and len(problem.auxiliary) == 1:
        return next(iter(problem.auxiliary.values()))
    wanted = f"the auxiliary set '{name}'" if name else "one auxiliary set"
    raise ReproodError(
        f"{where}: outliers are needed from {wanted}; the benchmark has {', '.join(problem.auxiliary) or 'none'}. Give "
        "it one under 'auxiliary', or choose one by its name with 'outliers'."
    )


def first_row(count: int, epochs: int, epoch: int) -> int:
    """Where an epoch (0-based, of `epochs`) begins to read `count` outliers: int(count / epochs * epoch).

    Equally spaced, as in HOOD's code with the option that its README uses.
    """
    return int(count / epochs * epoch)


def outlier_batches(
    problem: Problem, training: Training, run: Run, *, name: str, order: Order
) -> Callable[[Batch], Tensor]:
    """A function that gives a step's outliers, uint8 [2B, C, H, W]: two for each of the step's B ID images.

    Parameters
    ----------
    problem : Problem
        Has the outliers under `auxiliary`.
    training : Training
        Of the phase; its `batch_size` and `epochs` tell how far the reading has come.
    run : Run
    name : str
        The auxiliary set; "" takes the only one.
    order : {"sequential", "random"}
        "sequential": as they are stored, each epoch from `first_row` on; "random": in a new random order each epoch.
        Either way the reading begins again when it comes to the end.

    Raises
    ------
    ReproodError
        When there is no such set.
    """
    images = outlier_set(problem, name, run.name).images
    count = len(images)

    @lru_cache(maxsize=1)
    def reading(epoch: int) -> Tensor:
        if order == "random":
            rows = torch.randperm(count, generator=run.generator("outliers", epoch))
        else:
            rows = torch.arange(count).roll(-first_row(count, training.epochs, epoch))
        return rows.to(run.device)

    def outliers(batch: Batch) -> Tensor:
        start = batch.step * PER_IMAGE * training.batch_size
        places = torch.arange(start, start + PER_IMAGE * len(batch.images), device=run.device) % count
        return images.index_select(0, reading(batch.epoch)[places])

    return outliers
