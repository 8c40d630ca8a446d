"""What the studies of detection and captioning share: classifiers, generated scenes, reading and training.

CutMix (Yun et al. 2019, arXiv 1905.04899), Tables 10 and A1, uses ImageNet classifiers that were trained plainly, with
Mixup, Cutout and CutMix as backbones of detectors (Pascal VOC) and of a caption generator (MS-COCO).
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.photographs import BoxedImages, CaptionedImages, Read
from reprood.data.scenes import Scenes, draw_scenes
from reprood.engine.optimizers import Adam, build_optimizer
from reprood.engine.run import Run
from reprood.engine.seeds import seed_globally
from reprood.engine.state import Phase
from reprood.engine.training import Training
from reprood.studies.base import Context, Row

RowLoss = Callable[[nn.Module, list[int], Generator], Tensor]  # network, rows of the training set, draws -> loss

UNUSED = ("augment", "ema")  # settings of a training that `train_on_rows` does not follow


def _as_default(training: Training) -> Training:
    """Reject settings that training on rows ignores, unless they have their default values."""
    for name in UNUSED:
        value, default = getattr(training, name), Training.model_fields[name].default
        if value not in (default, "none"):
            raise ValueError(f"{name} is {value}, which studies of transfer do not have; remove it")
    return training


RowTraining = Annotated[Training, AfterValidator(_as_default)]  # a training by `train_on_rows`


class SceneSettings(BaseModel):
    """Generated scenes (see `reprood.data.scenes.draw_scenes`).

    Attributes
    ----------
    classes : str
        Letters that occur; others than the classifiers were trained on.
    size, sides, objects, clutter
        As in `draw_scenes`.
    train, test : int
        Number of scenes; every seed has its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: str = "MNOPRSTX"
    size: int = Field(default=64, ge=16, le=512)
    sides: tuple[int, int] = (22, 34)
    objects: tuple[int, int] = (1, 3)
    clutter: int = Field(default=0, ge=0)
    train: int = Field(default=200, ge=1)
    test: int = Field(default=200, ge=1)

    def draw(self, context: Context, seed: int, split: str, count: int) -> Scenes:
        """Return the scenes of a seed, which are the same for all arms."""
        rng = np.random.default_rng(context.run(seed).seed("scenes", split))
        return draw_scenes(
            rng, count, classes=self.classes, size=self.size, sides=self.sides, objects=self.objects,
            clutter=self.clutter,
        )  # fmt: skip

    def both(self, context: Context, seed: int) -> tuple[Scenes, Scenes]:
        """Return the training and the test scenes of a seed."""
        return self.draw(context, seed, "train", self.train), self.draw(context, seed, "test", self.test)


@dataclass(frozen=True)
class Source:
    """A pre-trained classifier as the beginning of another network.

    Attributes
    ----------
    backbone : nn.Module
        A copy, which may be trained.
    channels : int
        Of its images.
    mean, std : tuple of float
        Normalisation of its images, in units of [0, 1].
    """

    backbone: nn.Module
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def arms_of(arms: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return name of each arm -> row of the tables: `arms`, or every method of the study by its own name.

    Raises
    ------
    ReproodError
        If there are neither.
    """
    chosen = dict(arms) or {method: method for method in context.models}
    if not chosen:
        raise ReproodError(f"The study {context.name} needs trained classifiers; name some under its 'methods'.")
    return chosen


def channels_of(arms: Mapping[str, str], context: Context, seed: int) -> int:
    """Return the channels of the images of the first arm's classifier; `source_of` compares the others with it."""
    return source_of(context, next(iter(arms.values())), seed).channels


def source_of(context: Context, method: str, seed: int, channels: int | None = None) -> Source:
    """Return a copy of a method's classifier.

    Raises
    ------
    ReproodError
        If the study does not get this method, its model is not a backbone with a linear head, or it takes images of
        other channels than `channels`.
    """
    model, record = context.models_of(method)[seed], context.records.get(method, {}).get(seed, {})
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module) or not record:
        raise ReproodError(
            f"The study {context.name} needs classifiers with a backbone, and the model of '{method}' is a "
            f"{type(model).__name__}; name methods such as erm or cutmix."
        )
    source = Source(copy.deepcopy(backbone), int(record["channels"]), tuple(record["mean"]), tuple(record["std"]))
    if channels is not None and source.channels != channels:
        raise ReproodError(
            f"The study {context.name}: the classifier of '{method}' takes images of {source.channels} channels, the "
            f"first one of {channels}; name methods that run on one benchmark."
        )
    return source


def arm_run(context: Context, seed: int, arm: str) -> Run:
    """Return the run of an arm: equal draws for all arms of a seed, a resume folder for each."""
    run = context.run(seed)
    return replace(run, name=f"{run.name}/{arm}", state=run.state / arm)


def train_on_rows(
    model: nn.Module, loss: RowLoss, count: int, training: Training, run: Run, phase: str, *, adam: bool = False
) -> None:
    """Train `model` in place on rows 0 to `count` - 1 of a training set that the loss itself reads; it may resume.

    Parameters
    ----------
    model : nn.Module
        Left in evaluation mode.
    loss : callable
        (network, rows, generator) -> scalar Tensor. The generator, and torch's global ones, are seeded for every step.
    count : int
        Size of the training set.
    training : RowTraining
        The loss augments, if anything does.
    run : Run
        In single precision.
    phase : str
        Names the random streams and the checkpoint.
    adam : bool
        Use Adam with the rates of `training`, without weight decay, instead of its own optimiser.

    Raises
    ------
    ReproodError
        When the loss diverges.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = Adam(trained) if adam else build_optimizer(model, training)
    state = Phase(run, phase, training, count, {"model": model}, {"optimizer": optimizer})
    generator, size = torch.Generator(), training.batch_size
    if state.finished:
        state.end()
        return
    with state.running():
        for epoch in range(state.position.epoch, training.epochs):
            order = torch.randperm(count, generator=run.generator(phase, "order", epoch)).tolist()
            model.train()
            for step in range(state.position.step, state.steps):
                seed = run.seed(phase, epoch, step)
                seed_globally(seed, run.device)
                rows = order[step * size : (step + 1) * size]
                optimizer.zero_grad()
                value = loss(model, rows, generator.manual_seed(seed))
                value.backward()  # type: ignore[no-untyped-call]
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(trained, training.clip_norm)
                optimizer.step(training.rate(epoch, step, state.steps))
                state.after_step(value, len(rows))
            state.end_epoch(state.epoch_row())
        state.save()
    state.end()


def rows_of(seed: int, arm: str, numbers: Mapping[str, float]) -> list[Row]:
    """Return the numbers of an arm, by metric, as rows; the arm "data" holds sizes."""
    return [Row(seed=seed, arm=arm, metric=metric, value=float(value)) for metric, value in numbers.items()]


def picture(
    train: BoxedImages | CaptionedImages, test: BoxedImages | CaptionedImages, shown: int
) -> dict[str, np.ndarray]:
    """Return for the figure `shown`, the first test images, and `notes` on the data (text)."""
    images = first_images(test.read, min(shown, len(test)))
    return {"shown": images, "notes": np.array([*train.notes, *test.notes], dtype=str)}


def first_images(read: Read, count: int) -> np.ndarray:
    """Return the first images, cut to the smallest height and width: uint8 [count, H, W, C]."""
    images = [read(row) for row in range(count)]
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    return np.stack([image[:height, :width] for image in images])


def to_tensor(image: np.ndarray, channels: int) -> Tensor:
    """Return an image uint8 [H, W, C] as float32 [C, H, W] in [0, 1].

    Raises
    ------
    ReproodError
        If it does not have `channels` channels, those of the classifier.
    """
    if image.shape[2] != channels:
        raise ReproodError(
            f"The study's images have {image.shape[2]} channels, the classifiers were trained on {channels}; use "
            "classifiers of images of the same kind."
        )
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


@contextmanager
def reader(
    read: Read, channels: int, device: torch.device, threads: int
) -> Iterator[Callable[[Sequence[int]], list[Tensor]]]:
    """Provide a function from rows to images float32 [C, H, W] in [0, 1] on the device, read by `threads` threads."""

    def one(row: int) -> Tensor:
        return to_tensor(read(row), channels)

    with ThreadPoolExecutor(threads) as pool:
        apply = map if threads == 1 else pool.map
        yield lambda rows: [image.to(device) for image in apply(one, rows)]
