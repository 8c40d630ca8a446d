"""Training several networks in turns: passes over the data that alternate, each step with its own optimisers.

The counterpart of `fit` for methods with an adversary or a companion. Seeds, checkpoints, checks and progress are those
of `fit` (`reprood.engine.state.Phase`), so that a training that was killed and resumed gives the same bits here too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, Inputs, error_percent
from reprood.engine.optimizers import Optimizer
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seed_globally
from reprood.engine.state import Phase, Row
from reprood.engine.training import Training

LOSS = "loss"

Turn = Callable[[Batch, float], dict[str, Tensor]]


@dataclass(frozen=True)
class Player:
    """A network and the optimiser of its parameters."""

    model: nn.Module
    optimizer: Optimizer


def alternate(
    players: Mapping[str, Player],
    passes: Mapping[str, Turn],
    watched: nn.Module,
    data: ImageSet,
    training: Training,
    run: Run,
    *,
    problem: Problem,
    inputs: Inputs,
    phase: str = "train",
) -> list[Row]:
    """Train `players` in place: an epoch is one pass over the data for each of `passes`, in their order.

    Parameters
    ----------
    players : mapping
        Every network that learns. All are moved to the run's device and memory format, and left in evaluation mode.
    passes : mapping
        Name -> step of that pass: (Batch, learning rate) -> scalar losses by name, one of them "loss" (which is
        reported and checked). A step sets the modes of the networks, chooses the precision where it computes, takes its
        gradients and calls the optimisers itself. Each pass has its own random streams, under its name.
    watched : nn.Module
        The network whose error is recorded in the history.
    data, training, run, problem, inputs, phase
        As in `fit`. `training.ema` and `training.clip_norm` must be None; the optimiser and the use of the learning
        rate are the caller's. Steps are not compiled.

    Returns
    -------
    list of dict
        As from `fit`; train_loss is the mean of "loss" over all passes, and every other loss is under its name.

    Raises
    ------
    ReproodError
        As `fit`, and when `training` has a moving average or a largest norm.
    Stopped
        As `fit`.
    """
    if training.ema is not None or training.clip_norm is not None:
        raise ReproodError(
            f"{run.name}: phase {phase}: several networks are trained in turns; leave training.ema and clip_norm out."
        )
    models = {name: player.model for name, player in players.items()}
    optimizers = {name: player.optimizer for name, player in players.items()}
    state = Phase(run, phase, training, len(data), models, optimizers, passes=tuple(passes))
    if state.finished:
        return state.end()
    names, steps_per_pass, size = list(passes), state.steps // len(passes), training.batch_size
    generator = torch.Generator()

    with state.running():
        for epoch in range(state.position.epoch, training.epochs):
            order, order_of = torch.empty(0), ""
            for step in range(state.position.step, state.steps):
                name, step_of_pass = names[step // steps_per_pass], step % steps_per_pass
                if name != order_of:
                    order = torch.randperm(len(data), generator=run.generator(phase, name, "order", epoch))
                    order, order_of = order.to(run.device), name
                seed = run.seed(phase, name, epoch, step_of_pass)
                seed_globally(seed, run.device)
                index = order[step_of_pass * size : (step_of_pass + 1) * size]
                images = inputs(data.images.index_select(0, index), generator.manual_seed(seed))
                labels = data.labels.index_select(0, index)
                batch = Batch(images, labels, index, generator, epoch, step_of_pass, state.progress)
                losses = passes[name](batch, training.rate(epoch, step, state.steps))
                state.after_step(losses.pop(LOSS), len(index), losses)

            row = state.epoch_row()
            if state.monitored():
                for part, images_of_part in problem.monitor.items():
                    row[f"{part}_error"] = error_percent(watched, images_of_part, problem, run)
            state.end_epoch(row)
        state.save()
    return state.end()
