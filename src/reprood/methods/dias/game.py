"""Training several networks in turns: passes over the data that alternate, each step with optimisers of its own.

The counterpart of `fit` for methods with an adversary or a companion. Seeds, checkpoints, guards and reports are those
of `fit`, so that a training that was killed and resumed ends in the same bits here too.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.engine.batches import Batch, Inputs, error_percent
from reprood.engine.checkpoint import load_checkpoint, save_checkpoint
from reprood.engine.guard import CHECK_EVERY, check_loss, require_finite
from reprood.engine.heartbeat import Progress
from reprood.engine.optimizers import Optimizer
from reprood.engine.place import Place, Row
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import own_global_generators, seed_globally
from reprood.engine.training import Training

LOSS = "loss"

Turn = Callable[[Batch, float], dict[str, Tensor]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Player:
    """A network and the optimiser of its parameters."""

    model: nn.Module
    optimizer: Optimizer


@dataclass
class Means:
    """Means over the images of an epoch of named losses, kept on the device."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: Mapping[str, Tensor], images: int) -> None:
        """Add the means over a batch."""
        for name, value in values.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros((), dtype=torch.float64, device=value.device)
            self.totals[name].add_(value.detach(), alpha=images)
            self.counts[name] = self.counts.get(name, 0) + images

    def take(self) -> dict[str, float]:
        """The means so far; starts anew."""
        found = {name: float(total) / self.counts[name] for name, total in self.totals.items()}
        self.totals, self.counts = {}, {}
        return found


@dataclass(frozen=True)
class _Game:
    """The objects whose contents a checkpoint holds."""

    players: Mapping[str, Player]
    place: Place
    means: Means

    def record(self) -> dict[str, Any]:
        return {
            "place": vars(self.place),
            "means": vars(self.means),
            "models": {name: player.model.state_dict() for name, player in self.players.items()},
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
        }

    def restore(self, record: dict[str, Any]) -> None:
        for name, player in self.players.items():
            player.model.load_state_dict(record["models"][name])
            player.optimizer.load_state_dict(record["optimizers"][name])
        place = dict(record["place"])
        device = self.place.total.device
        self.place.total.copy_(place.pop("total"))
        for name, value in place.items():
            setattr(self.place, name, value)
        self.place.resumed += 1
        self.means.totals = {name: total.to(device) for name, total in record["means"]["totals"].items()}
        self.means.counts = dict(record["means"]["counts"])


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
        Name -> step of that pass: (Batch, learning rate) -> scalar losses by name, one of them "loss" (what is
        reported and guarded). A step sets the modes of the networks, asks for precision where it computes, takes its
        gradients and calls the optimisers itself. Each pass has random streams of its own, under its name.
    watched : nn.Module
        The network whose error the history has.
    data, training, run, problem, inputs, phase
        As in `fit`. `training`'s moving average and largest norm are not for several networks; its optimiser and rate
        are what the caller makes of them. Steps are not compiled.

    Returns
    -------
    list of dict
        As from `fit`; train_loss is the mean of "loss" over all passes, and each other loss stands under its name.

    Raises
    ------
    ReproodError
        As `fit`, and when `training` asks for what is not for several networks.
    """
    steps = training.steps(len(data))
    where = f"{run.name}: phase {phase}"
    if steps == 0:
        raise ReproodError(
            f"{run.name}: {len(data)} training images give no batch of {training.batch_size}; use a smaller "
            "training.batch_size or more images."
        )
    if training.ema is not None or training.clip_norm is not None:
        raise ReproodError(f"{where}: several networks are trained in turns; leave training.ema and clip_norm out.")
    layout = torch.channels_last if run.channels_last else torch.preserve_format
    for player in players.values():
        player.model.to(device=run.device, memory_format=layout)  # type: ignore[call-overload]
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    game = _Game(players, Place(total), Means())
    path = run.state / f"{phase}.checkpoint"
    settings = [*passes, training.model_dump(mode="json"), len(data)]
    key = canonical_json([run.key, run.name, run.root_seed, phase, *settings])
    record = load_checkpoint(path, key)
    if record is not None:
        game.restore(record)
        log.warning("%s %s: goes on after %d epochs and %d steps", run.name, phase, game.place.epoch, game.place.step)
    if game.place.epoch < training.epochs:
        _train(
            game,
            passes,
            watched,
            data,
            training,
            run,
            phase,
            inputs,
            problem,
            lambda: save_checkpoint(path, {"key": key, **game.record()}),
        )
    for player in players.values():
        player.model.eval()
    images = len(passes) * training.epochs * min(steps * training.batch_size, len(data))
    seconds = game.place.seconds
    run.log.append(
        {
            "phase": phase,
            "seconds": round(seconds, 3),
            "images": images,
            "images_per_second": round(images / max(seconds, 1e-9), 1),
            "resumed": game.place.resumed,
        }
    )
    return game.place.rows


def _train(
    game: _Game,
    passes: Mapping[str, Turn],
    watched: nn.Module,
    data: ImageSet,
    training: Training,
    run: Run,
    phase: str,
    prepare: Inputs,
    problem: Problem,
    save: Callable[[], None],
) -> None:
    """From wherever `game.place` stands to the end of the phase; its steps are counted over all passes of an epoch."""
    place, names = game.place, list(passes)
    per_pass, size = training.steps(len(data)), training.batch_size
    steps, seen = len(names) * per_pass, min(per_pass * size, len(data))
    where = f"{run.name}: phase {phase}"
    generator = torch.Generator()
    begun = saved = time.monotonic()
    before = place.seconds

    def checkpoint(rate: float) -> None:
        nonlocal saved
        for player in game.players.values():
            require_finite(player.model, place, rate, where)
        place.seconds = before + time.monotonic() - begun
        save()
        saved = time.monotonic()

    progress = Progress(run, phase, training.epochs, steps, len(names) * seen, place.epoch + place.step / steps)
    with progress, own_global_generators(run.device):
        for epoch in range(place.epoch, training.epochs):
            rate, order, shown = training.rate(epoch, 0, steps), torch.empty(0), ""
            for step in range(place.step, steps):
                name, own = names[step // per_pass], step % per_pass
                if name != shown:
                    order = torch.randperm(len(data), generator=run.generator(phase, name, "order", epoch))
                    order, shown = order.to(run.device), name
                seed = run.seed(phase, name, epoch, own)
                seed_globally(seed, run.device)
                index = order[own * size : (own + 1) * size]
                images = prepare(data.images.index_select(0, index), generator.manual_seed(seed))
                share = (epoch + step / steps) / training.epochs
                batch = Batch(images, data.labels.index_select(0, index), index, generator, epoch, own, share)
                rate = training.rate(epoch, step, steps)
                losses = passes[name](batch, rate)
                place.total.add_(losses[LOSS].detach(), alpha=len(index))
                game.means.add({key: value for key, value in losses.items() if key != LOSS}, len(index))
                place.step = step + 1
                place.since += len(index)
                if place.step % CHECK_EVERY == 0 or place.step == steps:
                    check_loss(place, steps, rate, where)
                if progress.due():
                    done = step // per_pass * seen + min((own + 1) * size, seen)
                    progress.report(epoch, place.step, float(place.total) / done)
                if time.monotonic() - saved >= run.checkpoint_seconds:
                    checkpoint(rate)
            rate = training.rate(epoch, 0, steps)
            loss = float(place.total) / (len(names) * seen)
            row: Row = {"phase": phase, "epoch": epoch + 1, "lr": rate, "train_loss": loss, **game.means.take()}
            if (epoch + 1) % training.monitor_every == 0 or epoch + 1 == training.epochs:
                for part, images_of in problem.monitor.items():
                    row[f"{part}_error"] = error_percent(watched, images_of, problem, run)
            place.end_epoch(row)
            progress.line(row)
        checkpoint(rate)
