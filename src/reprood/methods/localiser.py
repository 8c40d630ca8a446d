"""Weakly supervised localisation: an ImageNet classifier is fine-tuned with CutMix, Mixup, Cutout or plainly.

CutMix (Yun et al. 2019, arXiv 1905.04899), section 4.2, Table 9 and appendix B. Only labels are learned; boxes come
from class activation maps at test time (`reprood.predict.localise`). The body learns ten times more slowly than the new
last layer. Images are prepared at 256 pixels; training sees random windows of the size that the network otherwise crops
at the centre (224 pixels; option `crop` of `localising_resnet` and `vgg_gap`), and their mirror images.

How often batches are mixed is not said; as elsewhere at this image size, it is always.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import cutmix
from reprood.methods.base import History, Method, Paper
from reprood.methods.cutpaste.patches import random_windows
from reprood.methods.finetune import slowed, slowed_groups
from reprood.nets.classifier import Classifier
from reprood.nets.imagenet_weights import load_imagenet


class Config(BaseModel):
    """Settings; the defaults are the paper's for CUB-200-2011 and ResNet-50.

    Attributes
    ----------
    training : Training
        The rate is that of the last layer.
    body_rate : float
        The body's learning rate as a multiple of the last layer's.
    mix : {"plain", "cutmix", "mixup", "cutout"}
        Augmentation of the fine-tuning.
    alpha, cutout_size
        As in the method `cutmix`; the hole of Cutout is half of the side by default.
    pretrained : bool
        Start from the weights that torchvision publishes for ImageNet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=600, batch_size=32, lr=0.01, milestones=(0.25, 0.5, 0.75), augment="flip", monitor_every=50
    )
    body_rate: float = Field(default=0.1, gt=0)
    mix: Literal["plain", "cutmix", "mixup", "cutout"] = "cutmix"
    alpha: float = Field(default=1.0, gt=0)
    cutout_size: int | None = Field(default=None, ge=1)
    pretrained: bool = True


def build(config: Config, backbone: nn.Module, classes: int) -> Classifier:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def mixed(batch: Batch, config: Config) -> tuple[Tensor, Tensor | None, float]:
    """Return images, rows of the partners (or None) and the weight of the own labels, as `cutmix.mix_batch`."""
    if config.mix == "plain":
        return batch.images, None, 1.0
    recipe = cutmix.Config(mix=config.mix, probability=1.0, alpha=config.alpha, cutout_size=config.cutout_size)
    return cutmix.mix_batch(batch, recipe)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Put a new last layer on the body and train both on mixed batches of random windows."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    if config.pretrained:
        load_imagenet(model.backbone)
    crop = getattr(model.backbone, "crop", None) or problem.size
    standard = make_inputs(problem, config.training, run)

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        return standard(random_windows(images, crop, generator), generator)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, partner, lam = mixed(batch, config)
        logits = model.head(slowed(model.features(images), config.body_rate))
        if partner is None:
            return functional.cross_entropy(logits, batch.labels)
        return cutmix.mixed_cross_entropy(logits, batch.labels, batch.labels[partner], lam)

    groups = slowed_groups(model, config.body_rate, config.training)
    rows = fit(model, loss, problem.train, config.training, run, problem=problem, inputs=inputs, groups=groups)
    return model, rows


METHOD = Method(
    name="localiser",
    paper=Paper(
        title="CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        url="https://arxiv.org/abs/1905.04899",
        id="cutmix",
    ),
    config=Config,
    build=build,
    train=train,
)
