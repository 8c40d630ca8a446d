"""CSI: novelty detection by contrastive learning on distributionally shifted instances.

J. Tack, S. Mo, J. Jeong, J. Shin, NeurIPS 2020, arXiv 2007.08176. SimCLR with one change: rotated copies of an image
are its negatives, and a classifier predicts the rotation (module `loss`). An image is scored by the cosine of its
projection to the nearest training image, times the projection's norm, and by how well its rotations are recognised,
over all rotations (module `score`). With labels, pairs of class and rotation are the classes of a supervised
contrastive loss, and linear layers on the frozen features classify. The text of the paper beyond its abstract was not
available: settings and formulas are those of the authors' code.

Difference from that code: it trains a linear classifier of the classes next to the network, for monitoring and as the
start of the labelled linear stage, which here starts from a new layer.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import Batches, History, Method, Paper
from reprood.methods.csi.linear import fit_linear, prediction_error
from reprood.methods.csi.loss import joint_labels, nt_xent, shift_cross_entropy, supervised_nt_xent
from reprood.methods.csi.net import CHANNELS, ContrastiveNet, marginalised
from reprood.methods.csi.score import fit_axes, mean_over_views, novelty_scores, view_outputs
from reprood.methods.csi.shifts import COUNTS, Shift, random_shift
from reprood.methods.csi.views import coloured, training_views, view_at_test

TEMPERATURE, LABELLED_TEMPERATURE = 0.5, 0.07

log = logging.getLogger(__name__)


class Config(BaseModel):
    """Settings; the defaults are the paper's for one class of CIFAR-10, and without labels in general.

    Attributes
    ----------
    training : Training
        Of the contrastive stage. A step has 2 K times `batch_size` rows: 1,024 for the paper's 128 images, and for the
        512 images of the baselines without shifts. With labels the paper trains for 700 epochs.
    linear : Training
        Of the linear layers, with labels.
    labelled : bool
        Learn from class labels (sup-CSI; without shifts SupCLR).
    shift : str
        Family of shifts (`reprood.methods.csi.shifts`); "none": SimCLR, or with labels SupCLR.
    positive : bool
        Ablation: the shift is one more augmentation, whose results are positives (the paper's "align"): one shift,
        drawn for the batch, of each view with probability 1/2, as the layers of the authors' code do.
    contrast_weight, shift_weight : float
        Weights of the contrastive loss and of the shift classifier's cross-entropy (lambda), without labels.
        With contrast_weight 0 this is rotation prediction under SimCLR's augmentation; with shift_weight 0, shifted
        copies are negatives and nothing else.
    temperature : float or None
        None: 0.5, with labels 0.07.
    projection : int
        Length of the vectors that are compared.
    test_views : int
        Random views at test time over which projections and logits are averaged.
    test_area : float
        Fraction of the image's area in such a view, 0.54 being the mean in training.
    crop_first : bool
        Crop before the shift: the order for ImageNet.
    marginalise : bool
        With labels: predict by the mean over the shifts of the joint layer's logits (CSI-ens) instead of the class
        layer on the unchanged image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=1000,
        batch_size=128,
        optimizer="lars",
        lr=0.1,
        weight_decay=1e-6,
        schedule="gradual_cosine",
        warmup_epochs=10,
        warmup_factor=10,
        augment="none",
        monitor_every=50,
    )
    linear: Training = Training(
        epochs=100,
        batch_size=32,
        lr=0.1,
        momentum=0.0,
        weight_decay=1e-6,
        milestones=(0.6, 0.75, 0.9),
        augment="none",
        monitor_every=10,
    )
    labelled: bool = False
    shift: Shift = "rotation"
    positive: bool = False
    contrast_weight: float = Field(default=1.0, ge=0)
    shift_weight: float = Field(default=1.0, ge=0)
    temperature: float | None = Field(default=None, gt=0.02)
    projection: int = Field(default=128, ge=1)
    test_views: int = Field(default=10, ge=1)
    test_area: float = Field(default=0.54, gt=0, le=1)
    crop_first: bool = False
    marginalise: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.training.augment != "none" or self.linear.augment != "none":
            raise ValueError("CSI has its own views; set training.augment and linear.augment to none")
        if self.positive and (self.shift == "none" or self.labelled):
            raise ValueError("shifts as positives need a family of shifts, and no labels")
        if self.labelled and (self.contrast_weight, self.shift_weight) != (1.0, 1.0):
            raise ValueError("contrast_weight and shift_weight belong to training without labels")
        if self.contrast_weight == 0 and (self.shift_weight == 0 or self.batch_shift == "none"):
            raise ValueError("without the contrastive loss there must be shifts to predict, with a weight above 0")
        if self.marginalise and (not self.labelled or self.shift == "none"):
            raise ValueError("marginalise needs labels and shifts")
        return self

    @property
    def batch_shift(self) -> Shift:
        """The family of shifts whose copies are together in a batch, as negatives: none with `positive`."""
        return "none" if self.positive else self.shift

    @property
    def has_shift_head(self) -> bool:
        """Whether there is a classifier of shifts."""
        return self.batch_shift != "none" and (self.labelled or self.shift_weight > 0)


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> ContrastiveNet:
    """Return the untrained network."""
    return ContrastiveNet(
        backbone,
        classes,
        shift=config.batch_shift,
        shift_head=config.has_shift_head,
        labelled=config.labelled,
        marginalise=config.marginalise,
        projection=config.projection,
    )


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train the contrastive stage; with labels, then train linear layers on the frozen network.

    The history has the error of the shift classifier in percent, and in the linear stage that of both predictions.
    """
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    model.mean.copy_(torch.tensor(problem.mean).expand(CHANNELS))
    model.std.copy_(torch.tensor(problem.std).expand(CHANNELS))
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def views(images: Tensor, generator: Generator) -> Tensor:
        shown = training_views(images, config.shift, generator, positive=config.positive, crop_first=config.crop_first)
        return shown.contiguous(memory_format=layout)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        outputs: tuple[Tensor, ...] = network.outputs(batch.images)  # type: ignore[operator]
        projections, *shift_logits = [part.float() for part in outputs]
        if config.labelled:
            joint = joint_labels(batch.labels, problem.classes, config.batch_shift)
            return supervised_nt_xent(projections, joint, config.temperature or LABELLED_TEMPERATURE)
        total = projections.new_zeros(())
        if config.contrast_weight > 0:
            total = config.contrast_weight * nt_xent(projections, config.temperature or TEMPERATURE)
        if config.has_shift_head:
            total = total + config.shift_weight * shift_cross_entropy(shift_logits[0], config.batch_shift, views=2)
        return total

    def shift_errors(network: nn.Module) -> dict[str, float]:
        if config.labelled or not config.has_shift_head:  # its layer is trained in the linear stage
            return {}
        shift, parts = config.batch_shift, problem.monitor.items()
        return {f"{name}_shift_error": shift_error(network, part, shift, problem, run) for name, part in parts}

    rows = fit(model, loss, problem.train, config.training, run, problem=problem, inputs=views, monitor=shift_errors)
    if config.labelled:
        rows = rows + fit_linear(model, problem, config.linear, run, config.shift, config.crop_first)
    return model, rows


def shift_error(network: nn.Module, data: ImageSet, kind: Shift, problem: Problem, run: Run) -> float:
    """Return the error of the shift classifier in percent; the i-th image is under shift i modulo K."""
    numbers = torch.arange(len(data), device=run.device) % COUNTS[kind]
    shifted = ImageSet(random_shift(data.images, kind, numbers, torch.Generator().manual_seed(0)), numbers)

    def shift_logits(images: Tensor) -> Tensor:
        logits: Tensor = network.outputs(network.pixels(images))[1]  # type: ignore[operator]
        return logits

    return prediction_error(shift_logits, network, shifted, problem, run)


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, H], normalised, each under a random shift and in random colours; for figures.

    The values of black and white are not known for normalised images; their extremes are used.
    """
    low, high = images.amin(), images.amax()
    scale = (high - low).clamp(min=1e-12)
    pixels = (images - low) / scale
    if config.shift != "none":
        numbers = torch.randint(1, COUNTS[config.shift], (len(images),), generator=generator).to(images.device)
        pixels = random_shift(pixels, config.shift, numbers, generator)
    return coloured(pixels, generator) * scale + low


# --- scores ---


def mean_outputs(model: ContrastiveNet, images: Tensor, config: Config) -> tuple[Tensor, Tensor | None]:
    """Return projections [K, B, d] and shift logits [K, B, K] of normalised images, means over the test-time views."""

    def view(pixels: Tensor, number: int) -> Tensor:
        shown = view_at_test(pixels, config.batch_shift, number, config.test_area, config.crop_first)
        return shown.contiguous(memory_format=torch.channels_last)

    shifts = COUNTS[config.batch_shift]
    outputs = view_outputs(model.outputs, model.pixels(images), view, config.test_views, shifts)
    means = [mean_over_views(part, shifts) for part in outputs]
    return means[0], means[1] if len(means) > 1 else None


@torch.no_grad()
def fit_on_train(
    model: nn.Module,
    batches: Batches,
    config: Config,
    generator: Generator,
) -> dict[str, Tensor]:
    """Return axes and weights of the score from all training images (`reprood.methods.csi.score.fit_axes`).

    Nothing is fitted with labels.

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    batches : callable
        Iterates over normalised images [B, C, H, W] with labels.
    config : Config
        Settings of the method.
    generator : Generator
        Not used: the test-time views have seeds of their own, the same for every batch of the same size.
    """
    assert isinstance(model, ContrastiveNet)
    if config.labelled:
        return {}
    parts = [mean_outputs(model, images, config) for images, _ in batches()]
    logits = [part[1] for part in parts if part[1] is not None]
    fitted = fit_axes(torch.cat([part[0] for part in parts], dim=1), torch.cat(logits, dim=1) if logits else None)
    if "lambda_cls" in fitted and not bool((fitted["lambda_cls"] > 0).all()):
        log.warning(
            "the mean logit of the right shift is not above 0 for every shift, so CSI's score counts recognised shifts "
            "as a sign of novelty; train longer"
        )
    return fitted


def fit_scores(
    model: nn.Module, validation: ImageSet, config: Config, fitted: Mapping[str, Tensor]
) -> dict[str, float]:
    """Return the weights of the score, to be stored with the predictions; nothing is chosen on validation images."""
    return {
        f"{name}_{number}": float(value)
        for name in ("lambda_con", "lambda_cls")
        if name in fitted
        for number, value in enumerate(fitted[name])
    }


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Score one batch.

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    images : Tensor [B, C, H, H]
        Normalised.
    config : Config
        Settings of the method.
    fitted : mapping
        From `fit_on_train`.

    Returns
    -------
    dict of float64 Tensor [B]
        Higher = more in-distribution. Without labels those of `novelty_scores` (csi or con first; only cls_si if
        nothing but shifts was learnt). With labels and shifts csi_ens, the largest softmax probability of the logits
        averaged over the shifts; with labels alone none, because the paper uses the detector msp.
    """
    assert isinstance(model, ContrastiveNet)
    if config.labelled:
        if model.joint_head is None:
            return {}
        logits = marginalised(model.joint_logits(images), model.classes)
        return {"csi_ens": logits.double().softmax(1).amax(1)}
    by_name = novelty_scores(*mean_outputs(model, images, config), fitted)
    return by_name if config.contrast_weight > 0 else {"cls_si": by_name["cls_si"]}


METHOD = Method(
    name="csi",
    paper=Paper(
        title="CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances",
        url="https://arxiv.org/abs/2007.08176",
        id="csi",
    ),
    config=Config,
    build=build,
    train=train,
    fit_on_train=fit_on_train,
    fit_scores=fit_scores,
    scores=scores,
    illustrate=illustrate,
)
