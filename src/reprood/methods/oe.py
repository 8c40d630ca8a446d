"""Outlier Exposure: a classifier that learns to predict the uniform distribution on auxiliary outliers.

D. Hendrycks, M. Mazeika, T. Dietterich: Deep Anomaly Detection with Outlier Exposure, ICLR 2019, arXiv 1812.04606. The
loss is

    L = mean over ID images of CE(f(x), y) + weight * mean over outliers of H(uniform; softmax f(x)),

and the score is the maximum softmax probability (the detector `msp`).
"""

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
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier


class Config(BaseModel):
    """Settings; the defaults are those of the authors' code for training from scratch (WRN-40-2 with dropout 0.3).

    Attributes
    ----------
    training : Training
        Of the phase with outliers.
    pretrain : Training or None
        A first phase without outliers; `training` is then the fine-tuning, for which the code uses 10 epochs and an
        initial rate of 0.001. None: outliers are used from the start.
    weight : float
        Weight of the outliers' loss.
    outliers : str
        The auxiliary set; "" if there is only one.
    order : {"sequential", "random"}
        See `reprood.engine.outliers`. The authors' code starts each epoch at a random place of the auxiliary set
        instead of equally spaced ones; those are HOOD's, whose baseline this is.

    Notes
    -----
    Outliers are cropped and flipped like ID images. The last batch of an epoch is kept, with as many outliers as the
    others (HOOD's code drops it). The authors' code steps its schedule before the optimiser; here the first step has
    the full rate. It also normalises CIFAR-100 with the statistics of CIFAR-10; here they are those of the training
    set.
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
    )
    pretrain: Training | None = None
    weight: float = Field(default=0.5, ge=0)
    outliers: str = ""
    order: Order = "sequential"


# --- the loss ---


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Return the cross-entropy from the uniform distribution to the softmax per sample: logsumexp(l) - mean(l).

    This is the Kullback-Leibler divergence plus the constant log K. Maps [B, K] to [B].

    Examples
    --------
    >>> uniform_cross_entropy(torch.zeros(1, 10))  # a uniform prediction costs log K
    tensor([2.3026])
    """
    return torch.logsumexp(logits, dim=1) - logits.mean(dim=1)


def oe_loss(logits: Tensor, labels: Tensor, outlier_logits: Tensor, weight: float = 0.5) -> Tensor:
    """Return the cross-entropy of the ID batch plus `weight` times the `uniform_cross_entropy` of the outliers.

    Each term is a mean over its own samples, whatever the sizes of the two batches.

    Parameters
    ----------
    logits : Tensor [n, K]
        Of ID images; from one forward pass with the outliers, so that batch statistics are those of the mixture.
    labels : int64 Tensor [n]
        Class indices of the ID images.
    outlier_logits : Tensor [m, K]
        Of auxiliary outliers.
    weight : float
        0.5 in the authors' code.

    Returns
    -------
    Tensor
        A scalar.

    Examples
    --------
    >>> logits, labels = torch.zeros(4, 10), torch.arange(4)
    >>> round(float(oe_loss(logits, labels, torch.zeros(8, 10))), 4)  # 1.5 * log 10
    3.4539
    """
    return functional.cross_entropy(logits, labels) + weight * uniform_cross_entropy(outlier_logits).mean()


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train on ID images and twice as many outliers in one forward pass, so that they share the batch statistics."""
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

    rows: History = []
    if config.pretrain is not None:
        rows += fit(model, plain, problem.train, config.pretrain, run, problem=problem, phase="pretrain")
    return model, rows + fit(model, exposed, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="oe",
    paper=Paper(
        title="Deep Anomaly Detection with Outlier Exposure",
        url="https://arxiv.org/abs/1812.04606",
    ),
    config=Config,
    build=build,
    train=train,
)
