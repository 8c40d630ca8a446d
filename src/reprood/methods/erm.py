"""Cross-entropy: the plain classifier that the papers compare with, optionally with label smoothing.

Empirical risk minimisation (Vapnik 1992); label smoothing after Szegedy et al. (2016), section 7. The training
defaults are those of the CIFAR baseline in the CutMix paper (Table 5; label smoothing there is 0.1).
"""

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier


class Config(BaseModel):
    """Settings of the plain classifier.

    Attributes
    ----------
    training : Training
    label_smoothing : float
        eps: the target is (1 - eps) * onehot + eps / K.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.25, nesterov=True, schedule="floor_steps")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean over the batch of the cross-entropy with the target (1 - smoothing) * onehot + smoothing / K.

    Parameters
    ----------
    logits : Tensor [B, K]
        Scores of the classes.
    labels : int64 Tensor [B]
        Class indices.
    smoothing : float
        In [0, 1).

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> labels = torch.tensor([0, 1])
    >>> round(float(smoothed_cross_entropy(logits, labels)), 4)
    0.1269
    >>> round(float(smoothed_cross_entropy(logits, labels, 0.1)), 4)  # + 0.1 / 2 * the difference of the logits
    0.2269
    """
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


data_parallel = True  # the loss is a mean over samples


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase of cross-entropy on augmented images."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return smoothed_cross_entropy(network(batch.images), batch.labels, config.label_smoothing)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="erm",
    paper=Paper(
        title="Principles of Risk Minimization for Learning Theory",
        url="https://papers.nips.cc/paper/1991/hash/ff4d5fbbafdf976cfdc032e3bde78de5-Abstract.html",
    ),
    config=Config,
    build=build,
    train=train,
    data_parallel=True,
)
