"""HOOD's code with its other penalty: a large distance between the features of ID images and of outliers (MMD).

The training program of HOOD (Lin et al. 2022, arXiv 2209.12807) has a second penalty, which no script of the authors
uses. With the squared maximum mean discrepancy (MMD) of M. Long et al. (2015, deep adaptation networks) it is

    L = CE(ID) - w * MMD^2(outliers, ID),   MMD^2 = mean k(o, o') + mean k(x, x') - 2 mean k(o, x),

so that training pushes the two sets of features apart instead of making them independent. k is a sum of kernels
exp(-|a - b|^2 / g) whose g are powers of two times the mean squared distance of all pairs of the batch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_normalise
from reprood.engine.fit import fit
from reprood.engine.outliers import Order, outlier_batches
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip
from reprood.methods import hood
from reprood.methods.base import History, Method, Paper
from reprood.methods.hood import CorrelationNet, correlation, store_class_means

SMALLEST_BANDWIDTH = 1e-5
SHORTEST, LONGEST = 1e-5, 1e5  # of a squared distance divided by the bandwidth


class Config(BaseModel):
    """Settings; those that HOOD also has are HOOD's, the weight is ours because the code's default is 0.

    Attributes
    ----------
    training : Training
    weight : float
        w of the penalty.
    kernels : int
        Number of bandwidths, each twice the one before; the middle one is the mean squared distance.
    outliers : str
        The auxiliary set; "" if there is only one.
    order : {"sequential", "random"}
        See `reprood.engine.outliers`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = hood.Config().training
    weight: float = Field(default=1.0, gt=0)
    kernels: int = Field(default=5, ge=1)
    outliers: str = ""
    order: Order = "sequential"

    @model_validator(mode="after")
    def _pairs(self) -> "Config":
        if self.training.batch_size < 2:
            raise ValueError("training.batch_size must be 2 or more: the penalty needs pairs of images")
        return self


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return |a_i - b_j|^2 of the rows of [n, d] and [m, d]: [n, m]."""
    return (first.unsqueeze(1) - second.unsqueeze(0)).square().sum(2)


def mean_distance(within: tuple[Tensor, Tensor], between: Tensor) -> float:
    """Return the mean squared distance over all ordered pairs of two sets taken together; no gradient.

    `within` are the squared distances inside either set, [n, n] and [m, m], `between` those across, [n, m].
    """
    first, second = len(within[0]), len(within[1])
    pairs = first**2 + second**2 + 2 * first * second - first - second
    total = within[0].detach().sum() + within[1].detach().sum() + 2 * between.detach().sum()
    return float(total) / pairs


def kernel_sum(distances: Tensor, bandwidth: float, kernels: int) -> Tensor:
    """Return the sum over i of exp(-distances / (bandwidth * 2^(i - kernels // 2))), as the distances in shape.

    Bandwidths below 1e-5 are raised to it; a quotient outside [1e-5, 1e5] is constant and has no gradient.

    Examples
    --------
    >>> kernel_sum(torch.tensor([[2.0]]), bandwidth=2.0, kernels=1)  # exp(-1)
    tensor([[0.3679]])
    """
    widths = [max(bandwidth * 2.0 ** (i - kernels // 2), SMALLEST_BANDWIDTH) for i in range(kernels)]
    return torch.stack([(-(distances / width).clamp(SHORTEST, LONGEST)).exp() for width in widths]).sum(0)


def squared_mmd(first: Tensor, second: Tensor, kernels: int = 5) -> Tensor:
    """Return the biased squared MMD of two sets of features, a scalar >= 0 up to rounding.

    Parameters
    ----------
    first, second : Tensor [n, d], [m, d]
        Both receive gradients; the bandwidth, a mean over all pairs, does not.
    kernels : int
        Number of bandwidths.

    Examples
    --------
    >>> features = torch.tensor([[0.0], [1.0]])
    >>> abs(float(squared_mmd(features, features))) < 1e-6
    True
    >>> bool(squared_mmd(features, features + 5) > 1)
    True
    """
    within = squared_distances(first, first), squared_distances(second, second)
    between = squared_distances(first, second)
    bandwidth = mean_distance(within, between)
    means = [kernel_sum(part, bandwidth, kernels).mean() for part in (*within, between)]
    return means[0] + means[1] - 2 * means[2]


@torch.no_grad()
def scores(model: CorrelationNet, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return HOOD's score `hood_cor` of normalised images [B, C, H, W]."""
    return {"hood_cor": correlation(model.features(images), model.class_means)}


def build(config: Config, backbone: nn.Module, classes: int) -> CorrelationNet:
    """Return the untrained network."""
    return CorrelationNet(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase, with n ID images and 2n outliers in one forward pass, then store the class means."""
    outliers = outlier_batches(problem, config.training, run, name=config.outliers, order=config.order)
    normalised = make_normalise(problem, run)
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def augmented(images: Tensor, generator: Generator) -> Tensor:
        return normalised(random_flip(random_crop(images, config.training.crop_padding, generator), generator))

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        count = len(batch.images)
        with torch.autocast(run.device.type, enabled=False):  # for the network only
            others = augmented(outliers(batch), batch.generator)
        features: Tensor = network.features(torch.cat((batch.images, others)))  # type: ignore[operator]
        logits: Tensor = network.head(features[:count])  # type: ignore[operator]
        with torch.autocast(run.device.type, enabled=False):
            wide = features.float()
            penalty = squared_mmd(wide[count:], wide[:count], config.kernels)
            return functional.cross_entropy(logits.float(), batch.labels) - config.weight * penalty

    rows = fit(model, loss, problem.train, config.training, run, problem=problem)
    store_class_means(model, problem, run)
    return model, rows


METHOD = Method(
    name="hood_mmd",
    paper=Paper(
        title="Out-of-Distribution Detection with Hilbert-Schmidt Independence Optimization",
        url="https://arxiv.org/abs/2209.12807",
        id="hood",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
)
