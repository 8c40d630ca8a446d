"""Outlier Exposure: a classifier that learns to predict uniformly on auxiliary outliers.

D. Hendrycks, M. Mazeika, T. Dietterich: Deep Anomaly Detection with Outlier Exposure, ICLR 2019, arXiv 1812.04606. The
loss is in `oe_loss`; the score is the maximum softmax probability.
"""

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.outliers import Order, outlier_batches
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.oe_loss import oe_loss
from reprood.nets.classifier import Classifier


class Config(BaseModel):
    """Settings; the defaults are the code's for training from scratch (WRN-40-2 with dropout 0.3).

    Attributes
    ----------
    training : Training
        Of the phase with outliers.
    pretrain : Training or None
        A first phase without outliers; `training` is then the fine-tuning, for which the code has 10 epochs from a
        rate of 0.001. None: with outliers from the start.
    weight : float
        Of the outliers' loss.
    outliers : str
        The auxiliary set; "" takes the only one.
    order : {"sequential", "random"}
        See `reprood.engine.outliers`. The code of this method starts each epoch at a random place instead of equally
        spaced ones; those are HOOD's, whose baseline this is.

    Notes
    -----
    Outliers are cropped and flipped as the ID images are. The code steps its schedule before the optimiser; here the
    first step has the full rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=100,
        batch_size=128,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine_step",
        final_lr=1e-6,
        drop_last=True,
    )
    pretrain: Training | None = None
    weight: float = Field(default=0.5, ge=0)
    outliers: str = ""
    order: Order = "sequential"


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """The untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, list[dict[str, Any]]]:
    """ID images and twice as many outliers in one forward pass, so that batch statistics are of the mixture."""
    outliers = outlier_batches(problem, config.training, run, name=config.outliers, order=config.order)
    prepare = make_inputs(problem, config.training, run)
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def plain(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    def exposed(network: nn.Module, batch: Batch) -> Tensor:
        count = len(batch.images)
        logits = network(torch.cat((batch.images, prepare(outliers(batch), batch.generator)))).float()
        return oe_loss(logits[:count], batch.labels, logits[count:], config.weight)

    rows: list[dict[str, Any]] = []
    if config.pretrain is not None:
        rows += fit(model, plain, problem.train, config.pretrain, run, problem=problem, phase="pretrain")
    return model, rows + fit(model, exposed, problem.train, config.training, run, problem=problem)
