"""Self-supervision for one class of large images: `ss_one_class` on random crops (Hendrycks et al. 2019).

For one class of ImageNet the authors' loader shrinks the shorter side to 256 pixels, crops 224 at random and flips;
placements (translation, zoom) and rotations follow. Images are prepared at 256 pixels here. At test time the middle 224
pixels are scored. Everything else is as in `ss_one_class`, whose settings apply.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import ss_one_class
from reprood.methods.base import History, Method, Paper
from reprood.methods.cutpaste.patches import random_windows
from reprood.nets.localising import centre_crop


class Config(ss_one_class.Config):
    """Settings; the defaults are the paper's for one class of ImageNet.

    Attributes
    ----------
    crop : int
        Side in pixels of the crops.
    """

    training: Training = Training(
        epochs=5,
        batch_size=64,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine_step",
        final_lr=1e-6,
        augment="flip",
    )
    crop: int = Field(default=224, ge=8)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.outlier_weight > 0:
            raise ValueError("outlier_weight belongs to ss_one_class; there are no outliers here")
        if self.training.augment not in ("flip", "none"):
            raise ValueError("images are cropped already; set training.augment to flip or none")
        return self


class CroppedHeads(ss_one_class.TransformationHeads):
    """The network of `ss_one_class`, which sees the middle of larger images."""

    def __init__(self, backbone: nn.Module, outputs: int, classes: int, crop: int) -> None:
        super().__init__(backbone, outputs, classes)
        self.crop = crop

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        return super().features(centre_crop(images, self.crop))


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and heads."""
    outputs = sum(ss_one_class.COUNTS[column] for column in ss_one_class.used_columns(config))
    return CroppedHeads(backbone, outputs, classes, config.crop)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Predict the transformation of random crops that are placed and rotated four times.

    The images of a step are those of `sampling`; with "every" an epoch has every image under each placement, each with
    a crop of its own.
    """
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    places = ss_one_class.placements(config).to(run.device)
    every = config.sampling == "every"
    standard = make_inputs(problem, config.training, run)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    data = ss_one_class.under_every_placement(problem.train, len(places)) if every else problem.train

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        return standard(random_windows(images, config.crop, generator), generator)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        chosen = batch.labels
        if not every:
            chosen = torch.randint(len(places), (len(batch.images),), generator=batch.generator).to(run.device)
        shown, codes = ss_one_class.all_turns(ss_one_class.placed(batch.images, places[chosen], config), places[chosen])
        logits = network.transformation_logits(shown.contiguous(memory_format=layout))  # type: ignore[operator]
        return ss_one_class.heads_cross_entropy(logits, codes, config)

    shown = {name: _cropped(part, config.crop) for name, part in problem.monitor.items()}

    def errors(network: nn.Module) -> dict[str, float]:
        return {
            f"{name}_transformation_error": ss_one_class.error(network, part, problem, config, run)
            for name, part in shown.items()
        }

    return model, fit(model, loss, data, config.training, run, problem=problem, inputs=inputs, monitor=errors)


def _cropped(data: ImageSet, crop: int) -> ImageSet:
    return ImageSet(centre_crop(data.images, crop), data.labels)


def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Score the middle of each image [B, C, H, H], as `ss_one_class.scores`; float64 [B], higher = more ID."""
    return ss_one_class.scores(model, centre_crop(images, config.crop), config, fitted)


METHOD = Method(
    name="ss_one_class_crops",
    paper=Paper(
        title="Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty",
        url="https://arxiv.org/abs/1906.12340",
        id="ss_ood",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
    illustrate=ss_one_class.illustrate,
)
