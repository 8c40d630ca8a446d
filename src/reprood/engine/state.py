"""The state of a training phase: where it is, its checkpoint, and the checks that stop a diverged one.

`fit`, and the loops of methods that train several networks, share one `Phase`. A phase that is resumed gives the same
bits as one that was not interrupted, because everything that a later step depends on is either stored here or a
function of (run, phase, epoch, step).
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.engine.checkpoint import load_checkpoint, save_checkpoint
from reprood.engine.optimizers import Optimizer
from reprood.engine.run import Run, Stopped
from reprood.engine.seeds import own_global_generators
from reprood.engine.training import Training

Row = dict[str, Any]

CHECK_EVERY = 50
DIVERGED = 1e4
ADVICE = "lower training.lr, add training.warmup_epochs or set training.clip_norm, and record it as a deviation"

log = logging.getLogger(__name__)


@dataclass
class Position:
    """How far a phase is: the part of its state that is neither a network nor an optimiser.

    Attributes
    ----------
    loss_sum : float64 scalar Tensor
        Sum over the images of the current epoch of their loss, kept on the device.
    epoch, step, images : int
        Finished epochs; finished steps of the current epoch and the images seen in them.
    checked_sum, checked_images : float, int
        `loss_sum` and `images` at the last check of the loss.
    sums, counts : dict
        Sums over images of further losses by name, and the number of images in each.
    rows : list of dict
        History of the finished epochs.
    seconds, resumed : float, int
        Time spent by all processes so far; how often the phase was resumed.
    """

    loss_sum: Tensor
    epoch: int = 0
    step: int = 0
    images: int = 0
    checked_sum: float = 0.0
    checked_images: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Add the means over a batch of named losses."""
        for name, value in losses.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros((), dtype=torch.float64, device=self.loss_sum.device)
            self.sums[name].add_(value.detach(), alpha=images)
            self.counts[name] = self.counts.get(name, 0) + images

    def means(self) -> dict[str, float]:
        """Return the epoch's means of the named losses."""
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}

    def next_epoch(self, row: Row) -> None:
        """Store the history row of the current epoch and go to the start of the next one."""
        self.rows.append(row)
        self.epoch, self.step, self.images = self.epoch + 1, 0, 0
        self.checked_sum, self.checked_images = 0.0, 0
        self.sums, self.counts = {}, {}
        self.loss_sum.zero_()


class Phase:
    """One phase of a training; resumes from its checkpoint when it is created.

    Parameters
    ----------
    run : Run
    name : str
        Unique within the run: names the random streams and the checkpoint.
    training : Training
    images : int
        Size of the training set.
    models, optimizers : mapping
        Networks and optimisers by name, whose contents a checkpoint holds. Networks are moved to the run's device and
        memory format.
    passes : sequence of str
        Names of the passes over the training set that make up an epoch; one without a name by default.

    Attributes
    ----------
    average : list of Tensor or None
        Moving average of the floating-point tensors of the networks, with `training.ema`.
    position : Position
    steps, images_per_epoch : int
        Steps and images per epoch, over all passes.

    Raises
    ------
    ReproodError
        When the training set gives no batch.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        training: Training,
        images: int,
        models: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        *,
        passes: Sequence[str] = (),
    ) -> None:
        steps = training.steps(images)
        if steps == 0:
            raise ReproodError(
                f"{run.name}: {images} training images give no batch of {training.batch_size}; use a smaller "
                "training.batch_size or more images."
            )
        layout = torch.channels_last if run.channels_last else torch.preserve_format
        for model in models.values():
            model.to(device=run.device, memory_format=layout)  # type: ignore[call-overload]
        self.run, self.name, self.training = run, name, training
        self.models, self.optimizers = models, optimizers
        self.average = [t.clone() for m in models.values() for t in float_tensors(m)] if training.ema else None
        self.steps = steps * max(len(passes), 1)
        self.images_per_epoch = min(steps * training.batch_size, images) * max(len(passes), 1)
        self.position = Position(torch.zeros((), dtype=torch.float64, device=run.device))
        self._path = run.state / f"{name}.checkpoint"
        settings = [*passes, training.model_dump(mode="json"), images]
        self._key = canonical_json([run.key, run.name, run.root_seed, name, *settings])
        self._resume()
        self._started = self._saved = time.monotonic()
        self._seconds_before = self.position.seconds

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.position.epoch >= self.training.epochs

    @property
    def progress(self) -> float:
        """Finished share of the phase, in [0, 1]."""
        return (self.position.epoch + self.position.step / self.steps) / self.training.epochs

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress inside the block, and restore torch's global generators after it."""
        done = self.position.epoch + self.position.step / self.steps
        epochs, images = self.training.epochs, self.images_per_epoch
        self.run.progress.start(self.run.name, self.name, epochs=epochs, steps=self.steps, images=images, done=done)
        self._started = self._saved = time.monotonic()
        try:
            with own_global_generators(self.run.device):
                yield
        finally:
            self.run.progress.close()

    def after_step(self, loss: Tensor, images: int, others: Mapping[str, Tensor] | None = None) -> None:
        """Record a step; check the loss, report progress, save a checkpoint and stop where it is time to.

        Parameters
        ----------
        loss : scalar Tensor
            Mean over the batch.
        images : int
            Size of the batch.
        others : mapping, optional
            Further mean losses by name, for the history.

        Raises
        ------
        ReproodError
            When the training diverges, or a checkpoint cannot be written.
        Stopped
            When `Run.stop` requests it.
        """
        position, run = self.position, self.run
        position.loss_sum.add_(loss.detach(), alpha=images)
        position.add(others or {}, images)
        position.step += 1
        position.images += images
        if position.step % CHECK_EVERY == 0 or position.step == self.steps:
            self._check_loss()
        run.progress.update(position.epoch, position.step, lambda: float(position.loss_sum) / position.images)
        stop = run.workers.any(run.stop())
        if stop or time.monotonic() - self._saved >= run.checkpoint_seconds:
            self.save()
        if stop:
            raise Stopped(f"{run.name}: stopped on request in phase {self.name}, after {self._where()}.")

    def epoch_row(self) -> Row:
        """Return the history row of the current epoch, all of whose steps are done."""
        return {
            "phase": self.name,
            "epoch": self.position.epoch + 1,
            "lr": self.training.rate(self.position.epoch, 0, self.steps),
            "train_loss": float(self.position.loss_sum) / self.images_per_epoch,
            **self.position.means(),
        }

    def monitored(self) -> bool:
        """Return whether errors are measured at the end of the current epoch."""
        done = self.position.epoch + 1
        return done % self.training.monitor_every == 0 or done == self.training.epochs

    def end_epoch(self, row: Row) -> None:
        """Finish the current epoch."""
        self.position.next_epoch(row)
        self.run.progress.end_epoch(row)

    def save(self) -> None:
        """Write a checkpoint.

        Raises
        ------
        ReproodError
            When a parameter, a batch statistic or the loss is not finite (such a state is never stored), or when the
            file cannot be written.
        """
        self._require_finite()
        self._saved = time.monotonic()
        self.position.seconds = self._seconds_before + self._saved - self._started
        if self.run.workers.rank == 0:
            record = {
                "key": self._key,
                "position": vars(self.position),
                "models": {name: model.state_dict() for name, model in self.models.items()},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "average": self.average,
            }
            save_checkpoint(self._path, record)

    def end(self) -> list[Row]:
        """Put the networks in evaluation mode, log time and speed in `run.log`, and return the history."""
        for model in self.models.values():
            model.eval()
        images, seconds = self.training.epochs * self.images_per_epoch, self.position.seconds
        self.run.log.append(
            {
                "phase": self.name,
                "seconds": round(seconds, 3),
                "images": images,
                "images_per_second": round(images / max(seconds, 1e-9), 1),
                "resumed": self.position.resumed,
            }
        )
        return self.position.rows

    def _resume(self) -> None:
        """Load the checkpoint if there is one, into the tensors that exist."""
        record = load_checkpoint(self._path, self._key)
        if record is None:
            return
        for name, model in self.models.items():
            model.load_state_dict(record["models"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(record["optimizers"][name])
        if self.average is not None:
            for mean, stored in zip(self.average, record["average"], strict=True):
                mean.copy_(stored)
        device = self.run.device
        stored = dict(record["position"])
        sums = {name: value.to(device) for name, value in stored.pop("sums").items()}
        self.position = Position(stored.pop("loss_sum").to(device), sums=sums, **stored)
        self.position.resumed += 1
        log.warning("%s: resuming phase %s after %s", self.run.name, self.name, self._where())

    def _check_loss(self) -> None:
        """Check the mean loss since the last check (one device synchronisation)."""
        position = self.position
        loss_sum = float(position.loss_sum)
        mean = (loss_sum - position.checked_sum) / (position.images - position.checked_images)
        if not abs(mean) <= DIVERGED:
            first = (position.step - 1) // CHECK_EVERY * CHECK_EVERY + 1
            raise ReproodError(
                f"{self.run.name}: phase {self.name}: the training diverged (mean loss {mean:.4g}) in epoch "
                f"{position.epoch + 1}, steps {first} to {position.step} of {self.steps}, at learning rate "
                f"{self._rate():.4g}; {ADVICE}."
            )
        position.checked_sum, position.checked_images = loss_sum, position.images

    def _require_finite(self) -> None:
        largest = [t.abs().amax().float() for model in self.models.values() for t in float_tensors(model)]
        if not bool(torch.stack([*largest, self.position.loss_sum.abs().float()]).isfinite().all()):
            raise ReproodError(
                f"{self.run.name}: phase {self.name}: a parameter or the loss is no longer a finite number after "
                f"{self._where()}, at learning rate {self._rate():.4g}; {ADVICE}."
            )

    def _where(self) -> str:
        return f"{self.position.epoch} epochs and {self.position.step} steps"

    def _rate(self) -> float:
        """Return the learning rate of the last step."""
        epoch, step = self.position.epoch, self.position.step - 1
        if step < 0:
            epoch, step = max(epoch - 1, 0), self.steps - 1
        return self.training.rate(epoch, step, self.steps)


# --- moving average of weights


def float_tensors(model: nn.Module) -> list[Tensor]:
    """Return every floating-point parameter and buffer, detached."""
    tensors = chain(model.parameters(), model.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]


def update_average(average: list[Tensor], model: nn.Module, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * value, for parameters and batch statistics."""
    for mean, tensor in zip(average, float_tensors(model), strict=True):
        mean.lerp_(tensor, 1 - decay)


def assign(model: nn.Module, values: list[Tensor]) -> None:
    """Write `values` into the model's floating-point parameters and buffers."""
    for tensor, value in zip(float_tensors(model), values, strict=True):
        tensor.copy_(value)


@contextmanager
def averaged(model: nn.Module, average: list[Tensor] | None) -> Iterator[None]:
    """Run the block with the averaged weights in the model, if there are any."""
    if average is None:
        yield
        return
    own = [tensor.clone() for tensor in float_tensors(model)]
    assign(model, average)
    try:
        yield
    finally:
        assign(model, own)
