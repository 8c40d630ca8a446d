"""The one training loop: every method and every phase goes through `fit`.

Random draws are functions of (run, phase, epoch, step), never of what happened before, so that a training that was
killed and resumed ends in the same bits as one that was not.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.engine.batches import Batch, Inputs, error_percent, make_inputs
from reprood.engine.checkpoint import load_checkpoint, save_checkpoint
from reprood.engine.guard import CHECK_EVERY, check_loss, require_finite
from reprood.engine.heartbeat import Progress
from reprood.engine.optimizers import Group, build_optimizer
from reprood.engine.place import Parts, Place, Row, assign, averaged, copies, update_average
from reprood.engine.precision import autocast
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import own_global_generators, seed_globally
from reprood.engine.training import Training

Loss = Callable[[nn.Module, Batch], Tensor]
Monitor = Callable[[nn.Module], dict[str, float]]

log = logging.getLogger(__name__)


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
        (model, Batch) -> scalar Tensor, the mean over the batch.
    data : ImageSet
        uint8 images on the run's device.
    training : Training
        Settings of this phase.
    run : Run
        Seeds, device, precision, checkpoints.
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
        One row an epoch: phase, epoch (1-based), lr (at its first step), train_loss (mean over images), and what
        `monitor` gives. No times, so that resumed and uninterrupted trainings agree; times go to `run.log`.

    Raises
    ------
    ReproodError
        When the loss or a parameter is not finite, when the loss diverges, or when a checkpoint cannot be written.
    """
    steps = training.steps(len(data))
    if steps == 0:
        raise ReproodError(
            f"{run.name}: {len(data)} training images give no batch of {training.batch_size}; use a smaller "
            "training.batch_size or more images."
        )
    layout = torch.channels_last if run.channels_last else torch.preserve_format
    model.to(device=run.device, memory_format=layout)  # type: ignore[call-overload]
    parts = Parts(
        model,
        build_optimizer(model, training, groups),
        copies(model) if training.ema is not None else None,
        Place(torch.zeros((), dtype=torch.float64, device=run.device)),
    )
    path = run.state / f"{phase}.checkpoint"
    key = canonical_json([run.key, run.name, run.root_seed, phase, training.model_dump(mode="json"), len(data)])
    record = load_checkpoint(path, key)
    if record is not None:
        parts.restore(record)
        log.warning("%s %s: goes on after %d epochs and %d steps", run.name, phase, parts.place.epoch, parts.place.step)
    if parts.place.epoch < training.epochs:
        _train(
            parts,
            loss,
            data,
            training,
            run,
            phase,
            inputs or make_inputs(problem, training, run),
            monitor or _error_monitor(problem, run),
            lambda: save_checkpoint(path, {"key": key, **parts.record()}),
        )
    model.eval()
    images = training.epochs * min(steps * training.batch_size, len(data))
    seconds = parts.place.seconds
    run.log.append(
        {
            "phase": phase,
            "seconds": round(seconds, 3),
            "images": images,
            "images_per_second": round(images / max(seconds, 1e-9), 1),
            "resumed": parts.place.resumed,
        }
    )
    return parts.place.rows


def _train(
    parts: Parts,
    loss: Loss,
    data: ImageSet,
    training: Training,
    run: Run,
    phase: str,
    prepare: Inputs,
    watch: Monitor,
    save: Callable[[], None],
) -> None:
    """From wherever `parts.place` stands to the end of the phase."""
    model, optimizer, average, place = parts.model, parts.optimizer, parts.average, parts.place
    network = cast(nn.Module, torch.compile(model)) if run.compile and run.device.type == "cuda" else model
    steps, size = training.steps(len(data)), training.batch_size
    images_per_epoch = min(steps * size, len(data))
    where = f"{run.name}: phase {phase}"
    generator = torch.Generator()
    begun = saved = time.monotonic()
    before = place.seconds

    def checkpoint(rate: float) -> None:
        nonlocal saved
        require_finite(model, place, rate, where)
        place.seconds = before + time.monotonic() - begun
        save()
        saved = time.monotonic()

    progress = Progress(run, phase, training.epochs, steps, images_per_epoch, place.epoch + place.step / steps)
    with progress, own_global_generators(run.device):
        for epoch in range(place.epoch, training.epochs):
            order = torch.randperm(len(data), generator=run.generator(phase, "order", epoch)).to(run.device)
            model.train()
            for step in range(place.step, steps):
                seed = run.seed(phase, epoch, step)
                seed_globally(seed, run.device)
                index = order[step * size : (step + 1) * size]
                images = prepare(data.images.index_select(0, index), generator.manual_seed(seed))
                share = (epoch + step / steps) / training.epochs
                batch = Batch(images, data.labels.index_select(0, index), index, generator, epoch, step, share)
                rate = training.rate(epoch, step, steps)
                optimizer.zero_grad()
                with autocast(run.precision, run.device):
                    value = loss(network, batch)
                value.backward()  # type: ignore[no-untyped-call]
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step(rate)
                if average is not None and training.ema is not None:
                    update_average(average, model, training.ema)
                place.total.add_(value.detach(), alpha=len(index))
                place.step = step + 1
                place.since += len(index)
                if place.step % CHECK_EVERY == 0 or place.step == steps:
                    check_loss(place, steps, rate, where)
                if progress.due():
                    progress.report(epoch, place.step, float(place.total) / min(place.step * size, len(data)))
                if time.monotonic() - saved >= run.checkpoint_seconds:
                    checkpoint(rate)
            rate = training.rate(epoch, 0, steps)
            row: Row = {
                "phase": phase,
                "epoch": epoch + 1,
                "lr": rate,
                "train_loss": float(place.total) / images_per_epoch,
            }
            if (epoch + 1) % training.monitor_every == 0 or epoch + 1 == training.epochs:
                with averaged(model, average):
                    row.update(watch(model))
            place.end_epoch(row)
            progress.line(row)
        if average is not None:
            assign(model, average)
        checkpoint(rate)


def _error_monitor(problem: Problem, run: Run) -> Monitor:
    def errors(model: nn.Module) -> dict[str, float]:
        return {f"{name}_error": error_percent(model, part, problem, run) for name, part in problem.monitor.items()}

    return errors
