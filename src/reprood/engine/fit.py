"""The training loop: every method that trains one network calls `fit`, once per phase.

One step::

    order[step]               rows of this step       stream (phase, "order", epoch)
      | index_select
    uint8 images              [B, C, H, W]
      | inputs                augment, normalise      stream (phase, epoch, step)
    Batch                     images, labels, ...
      | loss(network, batch)  the method's own        in fp32 or bf16; draws continue in the same stream
    scalar
      | backward, clip_norm, optimizer.step(rate), moving average
    Phase.after_step          history, divergence check, progress, checkpoint, stop

Random draws are functions of (run, phase, epoch, step), never of what happened before, so that a training that was
killed and resumed gives the same bits as one that was not.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from reprood.engine.batches import Batch, Inputs, error_percent, make_inputs
from reprood.engine.device import autocast
from reprood.engine.optimizers import Group, build_optimizer
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seed_globally
from reprood.engine.state import Phase, Row, assign, averaged, update_average
from reprood.engine.training import Training

Loss = Callable[[nn.Module, Batch], Tensor]
Monitor = Callable[[nn.Module], dict[str, float]]


def fit(
    model: nn.Module,
    loss: Loss,
    data: ImageSet,
    training: Training,
    run: Run,
    *,
    problem: Problem,
    phase: str = "train",
    groups: Sequence[Group] | None = None,
    inputs: Inputs | None = None,
    monitor: Monitor | None = None,
) -> list[Row]:
    """Train `model` in place.

    Parameters
    ----------
    model : nn.Module
        Moved to the run's device and memory format; left in evaluation mode.
    loss : callable
        (network, Batch) -> scalar Tensor, the mean over the batch. `network` computes the same as `model`.
    data : ImageSet
        uint8 images on the run's device.
    training : Training
        Settings of this phase.
    run : Run
        Seeds, device, precision, checkpoints, callbacks.
    problem : Problem
        Normalisation and the sets to monitor.
    phase : str
        Unique within the run: names the random streams and the checkpoint.
    groups : list of dict, optional
        Parameter groups of the optimiser ("params", and what differs from `training`).
    inputs : callable, optional
        (uint8 images, generator) -> the batch's images; default: `training.augment`, then normalisation.
    monitor : callable, optional
        model -> numbers by name for the history; default: error in percent on each set of `problem.monitor`.

    Returns
    -------
    list of dict
        One row per epoch: phase, epoch (1-based), lr (at its first step), train_loss (mean over images), and the
        numbers of `monitor`. No times, so that resumed and uninterrupted trainings agree; times go to `run.log`.

    Raises
    ------
    ReproodError
        When the training set gives no batch, when the loss diverges, when it or a parameter is not finite, or when a
        checkpoint cannot be written.
    Stopped
        When `run.stop` requested it; the checkpoint is written.
    """
    optimizer = build_optimizer(model, training, groups)
    state = Phase(run, phase, training, len(data), {"model": model}, {"optimizer": optimizer})
    if state.finished:
        return state.end()
    network = run.workers.wrap(model, run.device)
    if run.compile and run.device.type == "cuda":
        network = cast(nn.Module, torch.compile(network))
    prepare = inputs or make_inputs(problem, training, run)
    measure = monitor or _error_monitor(problem, run)
    generator, size = torch.Generator(), training.batch_size

    with state.running():
        for epoch in range(state.position.epoch, training.epochs):
            order = torch.randperm(len(data), generator=run.generator(phase, "order", epoch)).to(run.device)
            model.train()
            for step in range(state.position.step, state.steps):
                seed = run.seed(phase, epoch, step)
                seed_globally(seed, run.device)
                index = order[step * size : (step + 1) * size]
                images = prepare(data.images.index_select(0, index), generator.manual_seed(seed))
                labels = data.labels.index_select(0, index)
                batch = Batch(images, labels, index, generator, epoch, step, state.progress)
                batch = _own_share(batch, run, phase)

                optimizer.zero_grad()
                with autocast(run.precision, run.device):
                    value = loss(network, batch)
                value = run.workers.backward(value, len(index))
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step(training.rate(epoch, step, state.steps))
                if state.average is not None and training.ema is not None:
                    update_average(state.average, model, training.ema)
                state.after_step(value, len(index))

            row = state.epoch_row()
            if state.monitored():
                with averaged(model, state.average):
                    row.update(measure(model))
            state.end_epoch(row)
        if state.average is not None:
            assign(model, state.average)
        state.save()
    return state.end()


def _own_share(batch: Batch, run: Run, phase: str) -> Batch:
    """Return this process's rows of a batch, with a stream of its own for what the loss draws."""
    if run.workers.size == 1:
        return batch
    if len(batch.images) != len(batch.index):
        raise ValueError("data-parallel training needs one prepared image per row of the batch")
    seed = run.seed(phase, batch.epoch, batch.step, "rank", run.workers.rank)
    seed_globally(seed, run.device)
    rows = run.workers.rows(len(batch.index))
    return replace(
        batch,
        images=batch.images[rows],
        labels=batch.labels[rows],
        index=batch.index[rows],
        generator=batch.generator.manual_seed(seed),
    )


def _error_monitor(problem: Problem, run: Run) -> Monitor:
    def errors(model: nn.Module) -> dict[str, float]:
        return {f"{name}_error": error_percent(model, part, problem, run) for name, part in problem.monitor.items()}

    return errors
