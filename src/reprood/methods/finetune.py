"""Transfer of a pre-trained classifier: does CutMix pre-training give a better body for another task?

CutMix (Yun et al. 2019, arXiv 1905.04899), Table 10, puts ImageNet networks pre-trained plainly, with Mixup, Cutout and
CutMix into object detectors (VOC) and a caption generator (COCO). Here the second task is classification: the same
question in a smaller form, so that the direction may be compared with the paper's and the numbers may not. The settings
of the second phase are our own. `erm` on the same benchmark is the network without pre-training.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.optimizers import Group
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import cutmix, erm
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier

MONITORED = 1000


class Config(BaseModel):
    """Settings; pre-training defaults are CutMix's for CIFAR, those of fine-tuning are our own.

    Attributes
    ----------
    training : Training
        Of the second phase, on the benchmark's task.
    pretraining : Training
        Of the first phase, on the source set.
    source : str
        The auxiliary set to pre-train on; it must have labels.
    recipe : {"plain", "cutmix", "mixup", "cutout"}
        Augmentation of the first phase.
    probability, alpha, cutout_size
        As in the method `cutmix`.
    layers : {"all", "head"}
        What the second phase trains: everything, or only the new head on a frozen body (linear probe).
    body_rate : float
        The body's learning rate as a multiple of the head's, with "all".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=30, lr=0.05, nesterov=True, weight_decay=5e-4, schedule="cosine_step")
    pretraining: Training = cutmix.Config().training
    source: str = "source"
    recipe: Literal["plain", "cutmix", "mixup", "cutout"] = "plain"
    probability: float | None = Field(default=None, ge=0, le=1)
    alpha: float = Field(default=1.0, gt=0)
    cutout_size: int | None = Field(default=None, ge=1)
    layers: Literal["all", "head"] = "all"
    body_rate: float = Field(default=0.1, gt=0)


# --- the first phase: a classifier of the source set ---


def source_problem(problem: Problem, config: Config, run: Run) -> Problem:
    """Return the source set as a task of its own: the target's network and normalisation, the source's labels.

    The history of pre-training has `source_error`, on the source's first 1,000 training images.

    Raises
    ------
    ReproodError
        If there is no such auxiliary set, or it has images without a label.
    """
    data = problem.auxiliary.get(config.source)
    if data is None:
        raise ReproodError(
            f"{run.name}: there is no auxiliary set '{config.source}' to pre-train on; the benchmark has "
            f"{', '.join(problem.auxiliary) or 'none'}. Set 'source', or give the benchmark one under 'auxiliary'."
        )
    if int(data.labels.min()) < 0:
        raise ReproodError(
            f"{run.name}: the auxiliary set '{config.source}' has images without a label, and pre-training needs "
            "labels; set 'labelled: true' for it in the benchmark."
        )
    shown = ImageSet(data.images[:MONITORED], data.labels[:MONITORED])
    classes = int(data.labels.max()) + 1
    return replace(problem, train=data, classes=classes, auxiliary={}, monitor={"source": shown}, trusted=None)


def pretrain(problem: Problem, config: Config, run: Run) -> tuple[Classifier, History]:
    """Train a classifier on the source set by the recipe, exactly as `erm` or `cutmix` would."""
    task = source_problem(problem, config, run)
    if config.recipe == "plain":
        model, rows = erm.train(task, erm.Config(training=config.pretraining), run)
    else:
        recipe = cutmix.Config(
            training=config.pretraining,
            mix=config.recipe,
            probability=config.probability,
            alpha=config.alpha,
            cutout_size=config.cutout_size,
        )
        model, rows = cutmix.train(task, recipe, run)
    assert isinstance(model, Classifier)
    return model, [{**row, "phase": "pretrain"} for row in rows]


# --- the second phase: the same body with a new head ---


def slowed(features: Tensor, factor: float) -> Tensor:
    """Return the same features, whose gradient is multiplied by `factor` on its way back.

    Examples
    --------
    >>> features = torch.ones(1, requires_grad=True)
    >>> slowed(features, 0.1).sum().backward()
    >>> features.grad
    tensor([0.1000])
    """
    still = features.detach()
    return still + factor * (features - still)


def slowed_groups(model: Classifier, factor: float, training: Training) -> list[Group]:
    """Return parameter groups to go with `slowed`: the body's weight decay is multiplied by `factor` like its gradient.

    Stochastic gradient descent is linear in gradient and decay: with both scaled, the body takes the steps of a
    learning rate `factor` times as large, momentum included. Only `clip_norm` would see the scaled gradient.
    """
    return [
        {"params": list(model.backbone.parameters()), "weight_decay": factor * training.weight_decay},
        {"params": list(model.head.parameters())},
    ]


def frozen_features(body: nn.Module, images: Tensor) -> Tensor:
    """Return features of a frozen body: without a gradient, and in evaluation mode, so that its statistics stay too."""
    with torch.no_grad():
        features: Tensor = body.eval()(images)
    return features


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network of the second phase: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Pre-train on the source set, put a new head on the body, fine-tune on the benchmark's task.

    The first phase is named "train" in checkpoints and "pretrain" in the history; the second is "finetune".
    """
    pretrained, rows = pretrain(problem, config, run)
    with seeded(run.seed("new head")):
        model = Classifier(pretrained.backbone, problem.classes)
    probe, training = config.layers == "head", config.training

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        if probe:
            features = frozen_features(model.backbone, batch.images)
        else:
            features = slowed(model.features(batch.images), config.body_rate)
        return functional.cross_entropy(model.head(features), batch.labels)

    model.backbone.requires_grad_(not probe)  # the optimiser gets no frozen parameters, so they do not decay
    groups = None if probe else slowed_groups(model, config.body_rate, training)
    rows += fit(model, loss, problem.train, training, run, problem=problem, phase="finetune", groups=groups)
    return model.requires_grad_(True), rows


METHOD = Method(
    name="finetune",
    paper=Paper(
        title="CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        url="https://arxiv.org/abs/1905.04899",
        id="cutmix",
    ),
    config=Config,
    build=build,
    train=train,
)
