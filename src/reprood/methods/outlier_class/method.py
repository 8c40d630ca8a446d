"""One more class for outliers: a classifier of K classes that learns given outliers as class K + 1.

The rivals of CnC (Hebbalaguppe et al. 2022, arXiv 2207.13916, Table 2): the objective, the network and the recipe are
CnC's, the outliers are training images changed in another way (`changes`), or an auxiliary set. With an auxiliary set
and a single class it is a supervised detector of that class, as which Hendrycks et al. (2019, arXiv 1906.12340) compare
Outlier Exposure with self-supervision. Outliers are cropped, flipped and normalised like ID images.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.outliers import Order, outlier_batches
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.stored import on_bytes
from reprood.methods.base import History, Method, Paper
from reprood.methods.cnc.method import cnc_score, extra_class_loss
from reprood.methods.cnc.net import ExtraClass
from reprood.methods.outlier_class.changes import Change, changed


class Config(BaseModel):
    """Settings; the defaults are CnC's for CIFAR and ResNet-34.

    Attributes
    ----------
    training : Training
    source : str
        What the outliers are: a change of training images, or "auxiliary".
    alpha : float
        Weight of the outliers' loss.
    outliers : str
        The auxiliary set, for "auxiliary"; "" if there is only one.
    order : {"sequential", "random"}
        Of the auxiliary set, see `reprood.engine.outliers`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=200, lr=0.1, weight_decay=5e-4, schedule="multistep")
    source: Change | Literal["auxiliary"] = "mixup"
    alpha: float = Field(default=1.0, ge=0)
    outliers: str = ""
    order: Order = "random"

    @model_validator(mode="after")
    def _used(self) -> "Config":
        if self.outliers and self.source != "auxiliary":
            raise ValueError(f"outliers names an auxiliary set, which source: {self.source} does not use; leave it out")
        return self


def build(config: Config, backbone: nn.Module, classes: int) -> ExtraClass:
    """Return the untrained network of K + 1 classes."""
    return ExtraClass(backbone, classes)


def made_outliers(problem: Problem, config: Config, run: Run) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to uint8 outliers: changed training images in another order, or auxiliary ones."""
    if config.source == "auxiliary":
        return outlier_batches(problem, config.training, run, name=config.outliers, order=config.order)
    data, size, change = problem.train, config.training.batch_size, config.source

    def outliers(batch: Batch) -> Tensor:
        order = torch.randperm(len(data), generator=run.generator("outliers", batch.epoch))
        rows = order[batch.step * size : batch.step * size + len(batch.index)].to(run.device)
        generator = run.generator("outliers", batch.epoch, batch.step)
        with torch.autocast(run.device.type, enabled=False):
            return changed(data.images.index_select(0, rows), data.labels.index_select(0, rows), change, generator)

    return outliers


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train K + 1 classes on ID images and outliers in one forward pass."""
    with seeded(run.seed("initialisation")):
        model = ExtraClass(problem.backbone(), problem.classes)
    outliers, prepare = made_outliers(problem, config, run), make_inputs(problem, config.training, run)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images = torch.cat((batch.images, prepare(outliers(batch), batch.generator)))
        logits: Tensor = network.all_logits(images)  # type: ignore[operator]
        count = len(batch.images)
        return extra_class_loss(logits[:count].float(), batch.labels, logits[count:].float(), config.alpha)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem)


@torch.no_grad()
def scores(model: ExtraClass, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the score `extra_class` of normalised images [B, C, H, W]: the log odds against class K + 1."""
    return {"extra_class": cnc_score(model.all_logits(images))}


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return outliers made from normalised images [B, C, H, W] of different classes; auxiliary ones as given."""
    source = config.source
    if source == "auxiliary":
        return images
    classes = torch.arange(len(images), device=images.device)
    return on_bytes(images, lambda stored: changed(stored, classes, source, generator))


METHOD = Method(
    name="outlier_class",
    paper=Paper(
        title="A Novel Data Augmentation Technique for Out-of-Distribution Sample Detection using Compounded "
        "Corruptions",
        url="https://arxiv.org/abs/2207.13916",
        id="cnc",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
    illustrate=illustrate,
)
