"""Train on images that do not fit in memory: torchvision's v2 transforms in a DataLoader, and the training loop.

    order of the epoch          rows, each with a seed        stream (phase, "order", epoch), (phase, "image", epoch)
      | worker processes        decode, random resized crop, flip; uint8
    batch [B, C, H, W]
      | inputs                  normalise and what is cheaper for a whole batch, on the device
      | loss, step, checkpoint  as in `reprood.engine.fit`

What is drawn for an image is a function of (run, phase, epoch, row): neither the number of workers nor an interruption
changes a bit. Only the batches that are in flight are in memory: two per worker, and the one in the step.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from reprood.core.errors import ReproodError
from reprood.core.seeds import hashed_seed
from reprood.data.image_index import ImageIndex, read_picture
from reprood.engine.batches import Batch, Inputs
from reprood.engine.device import autocast
from reprood.engine.optimizers import Group, build_optimizer
from reprood.engine.run import Run
from reprood.engine.seeds import seed_globally
from reprood.engine.state import Phase, Row, assign, averaged, update_average
from reprood.engine.training import Training
from reprood.images.augment import normalise

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
MONITOR_BATCH = 250

Item = tuple[int, int]  # row and seed
Loss = Callable[[nn.Module, Batch], Tensor]
Monitor = Callable[[nn.Module], dict[str, float]]


class Pictures(Dataset[Tensor]):
    """Training images, cropped and flipped at random: item (row, seed) -> uint8 [C, size, size].

    Parameters
    ----------
    source : ImageIndex or uint8 Tensor [N, C, H, W]
        Image files, or images in memory.
    size : int
        Side of the crops: 8 to 100 % of the area, sides in the ratio 3:4 to 4:3, bilinear with antialiasing.
    """

    def __init__(self, source: ImageIndex | Tensor, size: int) -> None:
        self.source = source
        steps = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        self.transform = v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, item: Item) -> Tensor:
        row, seed = item
        if isinstance(self.source, Tensor):
            picture: Any = self.source[row]
        else:
            picture = read_picture(os.fsdecode(self.source.paths[row]))
        seed_globally(seed, CPU)
        image: Tensor = self.transform(picture)
        return image


@dataclass(frozen=True)
class StreamedProblem:
    """The data and the network of one training on streamed images.

    Attributes
    ----------
    train : Pictures
    labels : int64 Tensor [N]
        Of the training images, on the CPU.
    monitor : dict of (uint8 array [N, H, W, C], int64 array [N])
        Sets whose error the history records, memory-mapped. It includes the test set only so that the papers'
        best-epoch numbers can be shown; no choice is ever based on it.
    classes, channels, size : int
        Number of classes, image channels, image side in pixels.
    backbone : callable
        Builds an untrained network; call it inside `reprood.engine.seeds.seeded`.
    mean, std : tuple of float
        Normalisation, in units of [0, 1] images.
    loaders : int
        Processes that read images; 0: this one. It changes no result.
    """

    train: Pictures
    labels: Tensor
    monitor: Mapping[str, tuple[np.ndarray, np.ndarray]]
    classes: int
    channels: int
    size: int
    backbone: Callable[[], nn.Module]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    loaders: int = 0


@dataclass(frozen=True)
class Epoch:
    """Which images come in which batch of an epoch; iterates over lists of (row, seed).

    Attributes
    ----------
    order : int64 Tensor
        Rows in the order of the epoch.
    size, start, stop : int
        Images per step; first step, and the one after the last.
    seeds : tuple
        Name of the stream from which each image's seed is derived.
    share : callable
        Rows of a batch that this process trains on (`Workers.rows`).
    """

    order: Tensor
    size: int
    start: int
    stop: int
    seeds: tuple[int | str, ...]
    share: Callable[[int], slice] = field(default=lambda count: slice(0, count))

    def __len__(self) -> int:
        return self.stop - self.start

    def rows(self, step: int) -> Tensor:
        """Return the rows of a whole batch."""
        return self.order[step * self.size : (step + 1) * self.size]

    def __iter__(self) -> Iterator[list[Item]]:
        for step in range(self.start, self.stop):
            rows = self.rows(step)
            own = rows[self.share(len(rows))].tolist()
            yield [(row, hashed_seed(*self.seeds, row)) for row in own]


def load(pictures: Pictures, plan: Epoch, loaders: int, pinned: bool = False) -> Iterator[Tensor]:
    """Yield the batches of an epoch, uint8 [B, C, size, size], read by `loaders` processes ahead of time.

    Raises
    ------
    ReproodError
        When an image is missing or damaged, or a process that reads them was ended.
    """
    batches = DataLoader(
        pictures, batch_sampler=cast(Any, plan), num_workers=loaders, pin_memory=pinned, collate_fn=torch.stack
    )
    try:
        yield from batches
    except ReproodError as error:  # of a worker: torch puts its traceback in front
        raise ReproodError(
            str(error).strip().splitlines()[-1].removeprefix("reprood.core.errors.ReproodError: ")
        ) from None
    except RuntimeError as error:  # of torch: a process was ended
        raise ReproodError(
            f"Reading images failed ({' '.join(str(error).split())[:120]}); if a process was ended, give the job more "
            "memory and a larger /dev/shm, or fewer threads."
        ) from error


def fit_streamed(
    model: nn.Module,
    loss: Loss,
    problem: StreamedProblem,
    training: Training,
    run: Run,
    *,
    inputs: Inputs,
    phase: str = "train",
    groups: Sequence[Group] | None = None,
    monitor: Monitor | None = None,
) -> list[Row]:
    """Train `model` in place on streamed images; parameters, result and errors as those of `reprood.engine.fit.fit`.

    Parameters
    ----------
    model, loss, training, run, phase, groups, monitor
        As for `fit`. `training.augment` is not used.
    problem : StreamedProblem
    inputs : callable
        (uint8 images [B, C, H, W] on the device, generator) -> the batch's images.
    """
    optimizer = build_optimizer(model, training, groups)
    state = Phase(run, phase, training, len(problem.train), {"model": model}, {"optimizer": optimizer})
    if state.finished:
        return state.end()
    network = run.workers.wrap(model, run.device)
    if run.compile and run.device.type == "cuda":
        network = cast(nn.Module, torch.compile(network))
    measure = monitor or error_monitor(problem, run)
    generator, device = torch.Generator(), run.device
    own_stream = () if run.workers.size == 1 else ("rank", run.workers.rank)

    with state.running():
        for epoch in range(state.position.epoch, training.epochs):
            plan = Epoch(
                order=torch.randperm(len(problem.train), generator=run.generator(phase, "order", epoch)),
                size=training.batch_size,
                start=state.position.step,
                stop=state.steps,
                seeds=(run.root_seed, phase, "image", epoch),
                share=run.workers.rows,
            )
            model.train()
            batches = load(problem.train, plan, problem.loaders, pinned=device.type == "cuda")
            for step, pixels in enumerate(batches, start=plan.start):
                every = plan.rows(step)
                rows = every[plan.share(len(every))]
                seed = run.seed(phase, epoch, step, *own_stream)
                seed_globally(seed, device)
                images = inputs(pixels.to(device, non_blocking=True), generator.manual_seed(seed))
                labels = problem.labels[rows].to(device, non_blocking=True)
                batch = Batch(images, labels, rows, generator, epoch, step, state.progress)

                optimizer.zero_grad()
                with autocast(run.precision, device):
                    value = loss(network, batch)
                value = run.workers.backward(value, len(every))
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step(training.rate(epoch, step, state.steps))
                if state.average is not None and training.ema is not None:
                    update_average(state.average, model, training.ema)
                state.after_step(value, len(every))

            row = state.epoch_row()
            if state.monitored():
                with averaged(model, state.average):
                    row.update(measure(model))
            state.end_epoch(row)
        if state.average is not None:
            assign(model, state.average)
        state.save()
    return state.end()


def error_monitor(problem: StreamedProblem, run: Run) -> Monitor:
    """Return a function that measures the error in percent on each set of `problem.monitor`, in the run's precision."""

    @torch.no_grad()
    def errors(model: nn.Module) -> dict[str, float]:
        was_training = model.training
        model.eval()
        found = {}
        for name, (images, labels) in problem.monitor.items():
            wrong = torch.zeros((), dtype=torch.int64, device=run.device)
            for start in range(0, len(labels), MONITOR_BATCH):
                part = slice(start, start + MONITOR_BATCH)
                pixels = torch.from_numpy(np.array(np.moveaxis(images[part], 3, 1), order="C")).to(run.device)
                inputs = normalise(pixels, problem.mean, problem.std).contiguous(memory_format=torch.channels_last)
                with autocast(run.precision, run.device):
                    logits = model(inputs)
                wrong += (logits.argmax(1) != torch.from_numpy(np.array(labels[part])).to(run.device)).sum()
            found[f"{name}_error"] = 100 * int(wrong) / len(labels)
        model.train(was_training)
        return found

    return errors
