"""Energy fine-tuning: a classifier whose energy is low on ID images and high on auxiliary outliers.

W. Liu, X. Wang, J. D. Owens, Y. Li: Energy-based Out-of-distribution Detection, NeurIPS 2020, arXiv 2010.03759. With
the energy E(x) = -logsumexp f(x) the loss is

    L = CE(ID) + weight * (mean over ID of max(0, E - m_in)^2 + mean over outliers of max(0, m_out - E)^2),

and the score is minus the energy (the detector `energy`). The authors fine-tune a plain network for 10 epochs.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
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

RECIPE = Training(
    epochs=100, batch_size=128, lr=0.1, nesterov=True, weight_decay=5e-4, schedule="cosine_step", final_lr=1e-6
)


class Config(BaseModel):
    """Settings; the defaults are the authors' for CIFAR-10 and WRN-40-2 with dropout 0.3.

    Attributes
    ----------
    training : Training
        Of the fine-tuning.
    pretrain : Training or None
        Of the plain network; None: outliers are used from the start.
    weight : float
    energy_in, energy_out : float
        The margins m_in and m_out: -23 and -5 for CIFAR-10, -27 and -5 for CIFAR-100 (README of the authors' code).
    outliers : str
        The auxiliary set; "" if there is only one.
    order : {"sequential", "random"}
        See `reprood.engine.outliers`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = RECIPE.model_copy(update={"epochs": 10, "lr": 0.001})
    pretrain: Training | None = RECIPE
    weight: float = Field(default=0.1, ge=0)
    energy_in: float = -23.0
    energy_out: float = -5.0
    outliers: str = ""
    order: Order = "sequential"

    @model_validator(mode="after")
    def _margins(self) -> "Config":
        if self.energy_in >= self.energy_out:
            raise ValueError("energy_in must be below energy_out: ID images should have the lower energy")
        return self


def margin_loss(logits: Tensor, outlier_logits: Tensor, energy_in: float, energy_out: float) -> Tensor:
    """Return mean max(0, E_in - m_in)^2 + mean max(0, m_out - E_out)^2, a scalar.

    Parameters
    ----------
    logits, outlier_logits : Tensor [n, K], [m, K]
        Of ID images and of outliers.
    energy_in, energy_out : float
        m_in, m_out.

    Examples
    --------
    >>> logits, outliers = torch.tensor([[3.0]]), torch.tensor([[1.0]])  # energies -3 and -1
    >>> float(margin_loss(logits, outliers, energy_in=-5.0, energy_out=-0.5))  # 2^2 + 0.5^2
    4.25
    """
    inside, outside = (-torch.logsumexp(part, dim=1) for part in (logits, outlier_logits))
    return (inside - energy_in).relu().square().mean() + (energy_out - outside).relu().square().mean()


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train a plain network, then fine-tune it with twice as many outliers as ID images in one forward pass."""
    outliers = outlier_batches(problem, config.training, run, name=config.outliers, order=config.order)
    prepare = make_inputs(problem, config.training, run)
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def plain(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    def tuned(network: nn.Module, batch: Batch) -> Tensor:
        count = len(batch.images)
        logits = network(torch.cat((batch.images, prepare(outliers(batch), batch.generator)))).float()
        margins = margin_loss(logits[:count], logits[count:], config.energy_in, config.energy_out)
        return functional.cross_entropy(logits[:count], batch.labels) + config.weight * margins

    rows: History = []
    if config.pretrain is not None:
        rows += fit(model, plain, problem.train, config.pretrain, run, problem=problem, phase="pretrain")
    return model, rows + fit(model, tuned, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="energy_oe",
    paper=Paper(title="Energy-based Out-of-distribution Detection", url="https://arxiv.org/abs/2010.03759"),
    config=Config,
    build=build,
    train=train,
)
