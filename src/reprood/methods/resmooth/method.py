"""ReSmooth: smoother labels for those strongly augmented images that have left the training distribution.

C. Wang, J. Jiang, X. Zhou, X. Liu: ReSmooth: Detecting and Utilizing OOD Samples When Training With Data Augmentation,
IEEE TNNLS 35(6), 2024, arXiv 2205.12606. The body of the paper was not available: everything here follows the published
code, the commands in its README, and the abstract. "Out of distribution" (OOD) refers to augmented training images.

A first network f_D is trained on weakly augmented images; a mixture of two Gaussians is fitted to its log-losses on
weak and strong views (`mixture`); a second network f_D' is trained from scratch with a label smoothing that depends on
the posterior of the mixture (`loss`).

Departures from the code: f_D is the network of the last epoch, whereas the code keeps the epoch with the best test
accuracy, a choice on test data; the mixture starts from the best split, not from a random one; and images are
normalised by the statistics of the training set, whereas the code divides by 0.2023, 0.1994 and 0.2010 on both CIFAR
sets, which makes its inputs 1.2 to 1.3 times larger (batch normalisation follows the stem). Its ResNet-18 starts from
torchvision's initialisation: `backbone: {name: resnet, depth: 18, init: fan_out}`.
"""

import logging
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, Inputs, error_percent, make_inputs
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.randaugment import RESMOOTH_SEVERE_TABLE, RESMOOTH_TABLE, randaugment
from reprood.methods.base import History, Method, Paper
from reprood.methods.cutmix import cutout_batch
from reprood.methods.resmooth.loss import Form, Weighting, objective, weighted_p
from reprood.methods.resmooth.mixture import Mixture, fit_mixture
from reprood.methods.resmooth.negative import random_blur, random_jigsaw, random_quarter_turn
from reprood.nets.classifier import Classifier

Strong = Literal["randaugment", "severe", "rotate", "jigsaw", "blur", "none"]
Subset = Literal["all", "id", "ood", "mixed"]

LOG_OFFSET = 1e-10
ID_THRESHOLD = 0.5
TABLES = {"randaugment": RESMOOTH_TABLE, "severe": RESMOOTH_SEVERE_TABLE}

log = logging.getLogger(__name__)


class Config(BaseModel):
    """Settings; the defaults are the code's command for CIFAR-10 and ResNet-18.

    Attributes
    ----------
    training : Training
        Of f_D'.
    baseline : Training or None
        Of f_D; None: as `training`.
    mixture : bool
        Train f_D and recognise OOD images by the mixture. False: every augmented image counts as OOD, which with
        `smoothing` 0 is plain training with the augmentation.
    strong : str
        Augmentation of the strong view: RandAugment ("severe": its list of five violent operations), or a negative
        augmentation, which keeps the image's class as its label and has no mixture.
    operations, magnitude : int, float
        N and M of RandAugment; M goes to 30 (severe: 10).
    cutout : int
        Side in pixels of a hole in strong views; 0 = none.
    weak_share : float
        rho: fraction of a batch that is shown in its weak view (crop and flip).
    smoothing : float
        e: label smoothing of OOD images.
    weak_smoothing : float
        Label smoothing of weak views.
    form : {"code", "normalised"}
        Weight of the true class in an augmented image's loss: 1 - e as in the code, whatever p is, or 1 - (1 - p) e.
    weighting : str
        Ablations of who is smoothed: "reverse" (p becomes 1 - p), "random" (p permuted within the batch), "uniform"
        (p ~ U(0, 1)). Weak views have p = 1 before that, and are treated like the others.
    subset : str
        Learn from equal numbers of ID images ("id"), OOD images ("ood") or any ("mixed") of each batch of strong views
        alone, as many as the rarer kind has; "all" is the method itself. All images of the batch pass through the
        network. The code compares the subsets by plain cross-entropy: set `smoothing` to 0.
    jigsaw_parts : int
        Tiles along a side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=200,
        batch_size=256,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        schedule="warmup_restart",
        warmup_epochs=5,
        drop_last=True,
    )
    baseline: Training | None = None
    mixture: bool = True
    strong: Strong = "randaugment"
    operations: int = Field(default=2, ge=0)
    magnitude: float = Field(default=28.0, ge=0, le=30)
    cutout: int = Field(default=0, ge=0)
    weak_share: float = Field(default=0.0, ge=0, le=1)
    smoothing: float = Field(default=0.4, ge=0, lt=1)
    weak_smoothing: float = Field(default=0.0, ge=0, lt=1)
    form: Form = "code"
    weighting: Weighting = "regular"
    subset: Subset = "all"
    jigsaw_parts: int = Field(default=2, ge=2, le=4)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.mixture and self.strong in ("rotate", "jigsaw", "blur"):
            raise ValueError(f"every image of the negative augmentation '{self.strong}' is OOD; set mixture to false")
        if not self.mixture and (self.weighting != "regular" or self.subset != "all"):
            raise ValueError("weighting and subset need the mixture")
        if self.subset != "all" and self.weak_share > 0:
            raise ValueError("a subset is taken of strong views alone; set weak_share to 0")
        if self.strong == "severe" and self.magnitude > RESMOOTH_SEVERE_TABLE.full:
            raise ValueError(f"the severe list has magnitudes up to {RESMOOTH_SEVERE_TABLE.full:g}")
        return self


# --- the views ---


def strong_before(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Apply what the strong view does before crop and flip: uint8 [B, C, H, W] in and out."""
    if config.strong in TABLES:
        return randaugment(images, TABLES[config.strong], config.operations, config.magnitude, generator)
    if config.strong == "rotate":
        return random_quarter_turn(images, generator)
    if config.strong == "blur":
        return random_blur(images, generator)
    return images


def strong_after(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Apply what the strong view does to normalised images [B, C, H, W]: jigsaw, and Cutout last."""
    if config.strong == "jigsaw":
        images = random_jigsaw(images, generator, config.jigsaw_parts)
    if config.cutout:
        centres = [torch.randint(size, (len(images),), generator=generator) for size in images.shape[2:]]
        images = cutout_batch(images, config.cutout, torch.stack(centres, 1).to(images.device, non_blocking=True))
    return images


def make_strong(weak: Inputs, config: Config) -> Inputs:
    """Return the strong view, built around the weak one (crop, flip, normalise).

    It maps uint8 images and a generator to normalised images.
    """

    def strong(images: Tensor, generator: Generator) -> Tensor:
        return strong_after(weak(strong_before(images, config, generator), generator), config, generator)

    return strong


def make_composed(weak: Inputs, strong: Inputs, share: float) -> Inputs:
    """Return a view of batches: the first int(B * `share`) images are weak views, the others strong views."""

    def composed(images: Tensor, generator: Generator) -> Tensor:
        count = weak_count(len(images), share)
        parts = ((weak, images[:count]), (strong, images[count:]))
        return torch.cat([view(part, generator) for view, part in parts if len(part)])

    return composed


def weak_count(batch: int, share: float) -> int:
    """Return the number of weak views in a batch."""
    return int(batch * share)


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, in their strong view without crop and flip; for figures.

    Normalised images do not say what black and white are: their extremes are used.
    """
    low, high = images.amin(), images.amax()
    scale = (high - low).clamp(min=1e-12) / 255
    stored = ((images - low) / scale).round().to(torch.uint8)
    changed = strong_before(stored, config, generator).to(images.dtype) * scale + low
    return strong_after(changed, config, generator)


# --- the mixture on log-losses ---


def log_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log(CE + 1e-10) of each image, float32: what the mixture is fitted to and evaluated at."""
    return (functional.cross_entropy(logits.float(), labels, reduction="none") + LOG_OFFSET).log()


@torch.no_grad()
def training_log_losses(
    model: nn.Module, data: ImageSet, training: Training, run: Run, weak: Inputs, strong: Inputs
) -> Tensor:
    """Return log-losses of a weak and a strong view of every training image, batch by batch weak first: float32 [2N].

    Images that do not fill a last batch are left out if `training` leaves them out.
    """
    size = training.batch_size
    order = torch.randperm(len(data), generator=run.generator("mixture", "order")).to(run.device)
    parts = []
    for step in range(training.steps(len(data))):
        rows = order[step * size : (step + 1) * size]
        generator = run.generator("mixture", step)
        for view in (weak, strong):
            with autocast(run.precision, run.device):
                logits = model(view(data.images.index_select(0, rows), generator))
            parts.append(log_losses(logits, data.labels.index_select(0, rows)))
    return torch.cat(parts)


def subset_rows(p_id: Tensor, subset: Subset) -> Tensor:
    """Return the rows of a batch of strong views that the experiment on subsets trains on, int64 [m].

    m = min(images with p >= 0.5, images with p < 0.5): the first m of the wanted kind, or of all ("mixed").
    """
    inside = p_id >= ID_THRESHOLD
    count = int(torch.minimum(inside.sum(), (~inside).sum()))
    if subset == "mixed":
        return torch.arange(count, device=p_id.device)
    return (inside if subset == "id" else ~inside).nonzero().squeeze(1)[:count]


# --- training ---


class Smoothed(Classifier):
    """A plain classifier that stores the mixture it was trained with.

    The buffer `mixture` [3, 2] has the rows means, variances and weights, smaller mean first; zeros without a mixture.
    """

    mixture: Tensor

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__(backbone, classes)
        self.register_buffer("mixture", torch.zeros(3, 2, dtype=torch.float64))


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Smoothed(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train f_D on weak views, fit the mixture to its log-losses, train f_D' from scratch with two smoothings.

    Without the mixture only the last step is taken. f_D's errors are in the history under separate names; its last row
    also has the mixture.
    """
    weak = make_inputs(problem, config.training, run)
    strong = make_strong(weak, config)
    rows: History = []
    with seeded(run.seed("initialisation")):
        model = Smoothed(problem.backbone(), problem.classes)
    baseline, mixture = None, None
    if config.mixture:
        baseline, rows = train_baseline(problem, config, run)
        mixture = fit_mixture(training_log_losses(baseline, problem.train, config.training, run, weak, strong))
        report(mixture, rows, run)
        parameters = [mixture.means, mixture.variances, mixture.weights]
        model.mixture.copy_(torch.tensor(parameters, dtype=torch.float64))

    def p_strong(images: Tensor, labels: Tensor) -> Tensor:
        if baseline is None or mixture is None:
            return torch.zeros(len(images), dtype=torch.float64, device=images.device)
        with torch.no_grad():
            return mixture.posterior(log_losses(baseline(images), labels))

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, labels, count = batch.images, batch.labels, weak_count(len(batch.images), config.weak_share)
        strong_p = p_strong(images[count:], labels[count:])
        p_id = weighted_p(strong_p, count, config.weighting, batch.generator)
        logits = network(images).float()  # autocast leaves a log-softmax in bf16 on the CPU
        if config.subset != "all":  # of the logits: batch norm sees the full batch, as in the code
            chosen = subset_rows(strong_p, config.subset)
            logits, labels, p_id = logits[chosen], labels[chosen], p_id[chosen]
        return objective(
            logits,
            labels,
            p_id,
            count,
            share=config.weak_share,
            smoothing=config.smoothing,
            weak_smoothing=config.weak_smoothing,
            form=config.form,
            plain_weak=config.weighting == "regular",
        )[0]

    composed = make_composed(weak, strong, config.weak_share)
    return model, rows + fit(model, loss, problem.train, config.training, run, problem=problem, inputs=composed)


def train_baseline(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train f_D by cross-entropy on weak views, without Cutout."""
    with seeded(run.seed("baseline initialisation")):
        model = Classifier(problem.backbone(), problem.classes)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    def errors(network: nn.Module) -> dict[str, float]:
        parts = problem.monitor.items()
        return {f"baseline_{name}_error": error_percent(network, part, problem, run) for name, part in parts}

    training = config.baseline or config.training
    rows = fit(model, loss, problem.train, training, run, problem=problem, phase="baseline", monitor=errors)
    return model, rows


def report(mixture: Mixture, rows: list[dict[str, Any]], run: Run) -> None:
    """Write the mixture into the last row of f_D's history, and warn if it has collapsed."""
    for name, values in (("mean", mixture.means), ("variance", mixture.variances), ("weight", mixture.weights)):
        rows[-1] |= {f"id_{name}": values[0], f"ood_{name}": values[1]}
    rows[-1]["mixture_collapsed"] = int(mixture.collapsed)
    if mixture.collapsed:
        log.warning(
            "%s: the mixture has collapsed: a component has %.2f %% of the log-losses (means %.3g and %.3g), so nearly "
            "all images count as one kind; train f_D longer or shorter, or set mixture to false",
            run.name,
            100 * min(mixture.weights),
            *mixture.means,
        )


METHOD = Method(
    name="resmooth",
    paper=Paper(
        title="ReSmooth: Detecting and Utilizing OOD Samples When Training With Data Augmentation",
        url="https://arxiv.org/abs/2205.12606",
        id="resmooth",
    ),
    config=Config,
    build=build,
    train=train,
    illustrate=illustrate,
)
