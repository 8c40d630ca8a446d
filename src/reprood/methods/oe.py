"""Outlier Exposure: outliers of an auxiliary set are to get uniform predictions.

D. Hendrycks, M. Mazeika, T. Dietterich: Deep Anomaly Detection with Outlier Exposure, ICLR 2019, arXiv 1812.04606. The
baseline of HOOD, and trained as HOOD is there: n ID images and 2n outliers in one forward pass. The score is the
maximum softmax probability.
"""

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.outliers import Order, outlier_rows, outlier_set
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.oe_loss import oe_loss
from reprood.nets.classifier import Classifier


class Config(BaseModel):
    """Settings; the defaults train from scratch as in the code (WRN-40-2, dropout 0.3).

    Attributes
    ----------
    training : Training
        With outliers.
    pretraining : Training or None
        A first phase without outliers; `training` then is the fine-tuning (10 epochs at 0.001 in the paper).
    weight : float
        Of the outliers' loss.
    outliers : str
        The auxiliary set; "" takes the only one.
    order : {"random", "sequential"}
        How outliers are read.
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
    pretraining: Training | None = None
    weight: float = Field(default=0.5, ge=0)
    outliers: str = ""
    order: Order = "sequential"


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """The untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Without outliers first if asked for, then with them."""
    outliers = outlier_set(problem, config.outliers, run.name)
    prepare = make_inputs(problem, config.training, run)
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def plain(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    def exposed(network: nn.Module, batch: Batch) -> Tensor:
        count = len(batch.images)
        rows = outlier_rows(batch, len(outliers), 2 * count, config.order, config.training.epochs).to(run.device)
        others = prepare(outliers.images[rows], batch.generator)
        logits = network(torch.cat([batch.images, others])).float()
        return oe_loss(logits[:count], batch.labels, logits[count:], config.weight)

    history = []
    if config.pretraining is not None:
        history += fit(model, plain, problem.train, config.pretraining, run, problem=problem, phase="pretrain")
    history += fit(model, exposed, problem.train, config.training, run, problem=problem)
    return model, history
