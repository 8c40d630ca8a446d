"""CnC: outliers made by compounding two changes of training images, learnt as one more class.

R. Hebbalaguppe, S. S. Ghosal, J. Prakash, H. Khadilkar, C. Arora: A Novel Data Augmentation Technique for
Out-of-Distribution Sample Detection using Compounded Corruptions, ECML PKDD 2022, arXiv 2207.13916. Section and
equation numbers are the paper's:

    x~ = M * x_A + (1 - M) * x_B, then corrupted     (1)
    L = CE(x, y) + alpha * CE(x~, K + 1)             (2)

Where the paper is silent this file follows the published code; departures from the code are stated.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.methods.base import History, Method, Paper
from reprood.methods.cnc.net import ExtraClass, with_extra_class
from reprood.methods.cnc.outliers import make_outliers, outlier_batches
from reprood.methods.cnc.settings import Config
from reprood.nets.classifier import Classifier

# --- the objective ---


def extra_class_loss(logits: Tensor, labels: Tensor, outlier_logits: Tensor, alpha: float = 1.0) -> Tensor:
    """Return CE(ID, y) + alpha * CE(outliers, K + 1), each the mean over its own images (section 3.2, eq. 2).

    Parameters
    ----------
    logits : Tensor [B, K + 1]
        Of ID images, from one forward pass with the outliers, so that they share batch statistics.
    labels : int64 Tensor [B]
        0 to K - 1.
    outlier_logits : Tensor [M, K + 1]
        Of the outliers, from the same forward pass.
    alpha : float
        Not negative.

    Examples
    --------
    >>> logits, labels = torch.zeros(2, 4), torch.tensor([0, 2])
    >>> round(float(extra_class_loss(logits, labels, torch.zeros(5, 4), alpha=0.5)), 4)  # 1.5 * log 4
    2.0794
    """
    extra = torch.full((len(outlier_logits),), outlier_logits.shape[1] - 1, device=labels.device)
    return functional.cross_entropy(logits, labels) + alpha * functional.cross_entropy(outlier_logits, extra)


# --- training ---


def plain_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of the K classes."""
    return functional.cross_entropy(network(batch.images), batch.labels)


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network of K + 1 classes."""
    return ExtraClass(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train K + 1 classes, with as many outliers as ID images in the forward pass of every step (section 3.2).

    With `pretrain`, a plain classifier is trained first, and the K + 1 classes start from its weights.
    """
    rows: History = []
    if config.pretrain is None:
        with seeded(run.seed("initialisation")):
            model = ExtraClass(problem.backbone(), problem.classes)
    else:
        with seeded(run.seed("initialisation")):
            plain = Classifier(problem.backbone(), problem.classes)
        rows += fit(plain, plain_loss, problem.train, config.pretrain, run, problem=problem, phase="pretrain")
        with seeded(run.seed("extra class")):
            model = with_extra_class(plain)
    outliers = outlier_batches(problem, config, run)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images = torch.cat((batch.images, outliers(batch)))
        logits: Tensor = network.all_logits(images)  # type: ignore[operator]
        count = len(batch.images)
        return extra_class_loss(logits[:count], batch.labels, logits[count:], config.alpha)

    return model, rows + fit(model, loss, problem.train, config.training, run, problem=problem)


# --- the score ---


def cnc_score(all_logits: Tensor) -> Tensor:
    """Return log((1 - p) / p) with p the softmax probability of class K + 1: logits [B, K + 1] to float64 [B].

    Orders images like the paper's 1 - p, but without its ties near 0 and 1. Higher = more in-distribution.

    Examples
    --------
    >>> cnc_score(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    tensor([ 2., -2.], dtype=torch.float64)
    """
    logits = all_logits.double()
    return torch.logsumexp(logits[:, :-1], dim=1) - logits[:, -1]


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the score `cnc` of normalised images [B, C, H, W]: `cnc_score` in one plain forward pass."""
    return {"cnc": cnc_score(model.all_logits(images))}  # type: ignore[operator]


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return outliers made from images [B, C, H, W] of different classes, in their normalisation; for figures.

    Normalised images do not say what black and white are: their extremes are used. Frost is drawn.
    """
    low, high = images.amin(), images.amax()
    scale = (high - low).clamp(min=1e-12) / 255
    stored = ((images - low) / scale).round().to(torch.uint8)
    outliers = make_outliers(stored, torch.arange(len(images), device=images.device), config, generator)
    return outliers.to(images.dtype) * scale + low


METHOD = Method(
    name="cnc",
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
