"""CutMix and Mixup of feature maps: Feature CutMix (CutMix, Figure 3), and Manifold Mixup (Verma et al. 2019).

S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo: CutMix, ICCV 2019, arXiv 1905.04899. One layer is drawn for each
batch; what it gives is mixed within the batch, and so are the labels, as in `reprood.methods.cutmix`. Depth 0 is the
image, 1 what the first convolution gives (in PyramidNet, its normalisation), 2, 3 and so on what the first stage, the
second stage and so on give.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import History, Method, Paper
from reprood.methods.cutmix import (
    cutmix_batch,
    cutout_batch,
    draw_centre,
    draw_lambda,
    is_mixed,
    mixed_cross_entropy,
    mixup_batch,
    rand_box,
)
from reprood.nets.classifier import Classifier

Change = Callable[[Tensor], Tensor]


class Config(BaseModel):
    """Settings; the defaults are Manifold Mixup's in Table 5.

    Attributes
    ----------
    training : Training
    kind : {"mixup", "cutmix"}
        Manifold Mixup, or Feature CutMix.
    depths : tuple of int
        Layers of which one is drawn for each batch, each as often; 0 is the image.
    mixed_share : float
        Share of the batches that are mixed.
    alpha : float
        lambda ~ Beta(alpha, alpha).
    cutout : bool
        Hide a square of half the side in each image first (row "Cutout + Manifold Mixup" of Table 5).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.25, nesterov=True, schedule="floor_steps")
    kind: Literal["mixup", "cutmix"] = "mixup"
    depths: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    mixed_share: float = Field(default=1.0, ge=0, le=1)
    alpha: float = Field(default=1.0, gt=0)
    cutout: bool = False


# --- the layers ---


def layers(backbone: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs are mixed at depth 1, 2, ...: the stem, and the last module of each stage.

    Raises
    ------
    ReproodError
        When the network has no stem followed by stages.
    """
    stem = getattr(backbone, "stem_norm", None) or getattr(backbone, "stem", None)
    if isinstance(stages := getattr(backbone, "stages", None), nn.Sequential):
        ends = list(stages)
    elif isinstance(blocks := getattr(backbone, "blocks", None), nn.Sequential):
        third = len(blocks) // 3  # PyramidNet: three stages of as many blocks
        ends = [blocks[third - 1], blocks[2 * third - 1], blocks[-1]]
    else:
        ends = []
    if not isinstance(stem, nn.Module) or not ends:
        raise ReproodError(
            f"Features are mixed after the stages of a network, and {type(backbone).__name__} has none; use a backbone "
            "such as wrn, resnet or pyramidnet."
        )
    return [stem, *ends]


@contextmanager
def changed_output(module: nn.Module, change: Change) -> Iterator[None]:
    """Replace what a module returns by `change` of it, within the context."""

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# --- the mixture ---


def mixture(
    maps: Tensor, config: Config, lam: float, centre: tuple[float, float], partner: Tensor
) -> tuple[Tensor, float]:
    """Return mixed maps [B, C, H, W], and the weight of their own labels.

    Parameters
    ----------
    maps : Tensor [B, C, H, W]
        Images or feature maps.
    config : Config
        `kind`.
    lam : float
        lambda.
    centre : (float, float)
        Of CutMix's box, as fractions of the height and width, in [0, 1).
    partner : int64 Tensor [B]
    """
    if config.kind == "mixup":
        return mixup_batch(maps, lam, partner), lam
    size = (maps.shape[2], maps.shape[3])
    place = (int(centre[0] * size[0]), int(centre[1] * size[1]))
    box, area = rand_box(size, lam, place)
    return cutmix_batch(maps, box, partner), area


def mixed_loss(model: nn.Module, network: nn.Module, batch: Batch, config: Config) -> Tensor:
    """Return the cross-entropy of a batch whose features are mixed at one layer, as drawn from `batch.generator`.

    Parameters
    ----------
    model : nn.Module
        The classifier, whose backbone's layers are changed.
    network : nn.Module
        What is called: the classifier, or a wrapper of it.
    batch : Batch
    config : Config
    """
    images, generator = batch.images, batch.generator
    count, size = len(images), (images.shape[2], images.shape[3])
    if config.cutout:
        centres = torch.stack([torch.randint(length, (count,), generator=generator) for length in size], dim=1)
        images = cutout_batch(images, min(size) // 2, centres.to(images.device, non_blocking=True))
    if not is_mixed(float(torch.rand((), generator=generator)), config.mixed_share):
        return nn.functional.cross_entropy(network(images), batch.labels)
    lam = draw_lambda(config.alpha, generator)
    weight: float | None = None
    depth = config.depths[int(torch.randint(len(config.depths), (), generator=generator))]
    row, column = draw_centre(size, generator)
    centre = (row / size[0], column / size[1])
    partner = torch.randperm(count, generator=generator).to(images.device, non_blocking=True)

    def change(maps: Tensor) -> Tensor:
        nonlocal weight
        mixed, weight = mixture(maps, config, lam, centre, partner)
        return mixed

    if depth == 0:
        logits = network(change(images))
    else:
        places = layers(model.backbone)  # type: ignore[arg-type]
        if depth > len(places):
            raise ReproodError(f"depths names {depth}, and the network has {len(places)} layers after the image.")
        with changed_output(places[depth - 1], change):
            logits = network(images)
    if weight is None:
        raise ReproodError("Features were not mixed: a compiled network ignores changes of layers; set compile: false.")
    return mixed_cross_entropy(logits, batch.labels, batch.labels[partner], weight)


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, as they are mixed at depth 0; for figures."""
    lam = draw_lambda(config.alpha, generator)
    row, column = draw_centre((images.shape[2], images.shape[3]), generator)
    partner = torch.randperm(len(images), generator=generator)
    return mixture(images, config, lam, (row / images.shape[2], column / images.shape[3]), partner)[0]


# --- the training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train with features that are mixed at a random layer; nothing changes at test time."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return mixed_loss(model, network, batch, config)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="feature_mix",
    paper=Paper(
        title="CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        url="https://arxiv.org/abs/1905.04899",
        id="cutmix",
    ),
    config=Config,
    build=build,
    train=train,
    illustrate=illustrate,
)
