"""From stored uint8 images to the input of a network: augmentation, normalisation, memory format."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from reprood.engine.device import autocast
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.training import Training
from reprood.images.augment import normalise, random_crop, random_flip

Inputs = Callable[[Tensor, Generator], Tensor]
MONITOR_BATCH = 500


@dataclass(frozen=True)
class Batch:
    """The input of a loss in one step.

    Attributes
    ----------
    images : Tensor [B, C, H, W]
        Augmented and normalised.
    labels, index : int64 Tensor [B]
        Class numbers; rows in the training set.
    generator : torch.Generator
        On the CPU, seeded by (run, phase, epoch, step): the only source of randomness of a step, already advanced by
        the augmentation.
    epoch, step : int
        0-based.
    progress : float
        Finished share of the phase, in [0, 1).
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    generator: Generator
    epoch: int
    step: int
    progress: float


def make_inputs(problem: Problem, training: Training, run: Run) -> Inputs:
    """Return the standard inputs of uint8 images [B, C, H, W]: crop and flip as in `training`, then normalise.

    Images are cropped and flipped as bytes and converted once; the crop's padding is black.
    """
    normalise_batch = make_normalise(problem, run)
    crop, flip = training.augment in ("crop_flip", "crop"), training.augment in ("crop_flip", "flip")

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        if crop:
            images = random_crop(images, training.crop_padding, generator)
        if flip:
            images = random_flip(images, generator)
        return normalise_batch(images)

    return inputs


def make_normalise(problem: Problem, run: Run) -> Callable[[Tensor], Tensor]:
    """Return a function from uint8 images [B, C, H, W] to normalised float32 ones in the run's memory format."""
    mean, std = (torch.tensor(values, dtype=torch.float64, device=run.device) for values in (problem.mean, problem.std))
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def normalise_batch(images: Tensor) -> Tensor:
        return normalise(images, mean, std).contiguous(memory_format=layout)

    return normalise_batch


@torch.no_grad()
def error_percent(model: nn.Module, images: ImageSet, problem: Problem, run: Run) -> float:
    """Return the share of wrong predictions in percent: single view, evaluation mode, the run's precision."""
    normalise_batch = make_normalise(problem, run)
    wrong = torch.zeros((), dtype=torch.int64, device=run.device)
    was_training = model.training
    model.eval()
    for start in range(0, len(images), MONITOR_BATCH):
        part = slice(start, start + MONITOR_BATCH)
        with autocast(run.precision, run.device):
            logits = model(normalise_batch(images.images[part]))
        wrong += (logits.argmax(1) != images.labels[part]).sum()
    model.train(was_training)
    return 100 * int(wrong) / len(images)
