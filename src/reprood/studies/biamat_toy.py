"""A Gaussian model of robust and non-robust features: what auxiliary images teach an adversarially trained network.

BiaMAT (Lee and Lee 2023, arXiv 2209.14053) supports itself by such a model. Its theorem could not be read; this is the
usual model of D. Tsipras et al. (ICLR 2019), with a second data set:

    primary      y = +-1,  x_0 ~ N(y m, 1),  x_1 to x_d ~ N(y h, 1)     robust: m > eps; not robust: h < eps
    auxiliary    the same with labels of its own: a near set has its classes along x_0, a far one along the others

Both sets share the gains s of the features, f(x) = sum s_j x_j; the auxiliary head has a weight of its own for each.
Training minimises the logistic loss at the worst point of the l-infinity ball, which is known: y f(x) - eps |s|_1. An
OUT image costs the logistic loss of both labels, at the worst point eps |s|_1 from f(x) = 0. The robust error of a
linear classifier on the primary set is exact. Everything but the two kinds of features is this suite's choice.
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor
from torch.nn import functional

from reprood.studies.base import Context, Findings, Row, Study

Arm = Literal["at", "uniform", "near", "far", "far_uniform"]
ARMS: tuple[Arm, ...] = ("at", "uniform", "near", "far", "far_uniform")


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    features : int
        Number d of features that are not robust.
    robust_mean, other_mean : float
        m and h.
    eps : float
        Radius of the attack.
    primary, auxiliary : int
        Numbers of training points.
    alpha : float
        Weight of the auxiliary loss.
    steps : int
        Full-batch steps of gradient descent.
    rate : float
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(default=50, ge=1)
    robust_mean: float = Field(default=1.0, gt=0)
    other_mean: float = Field(default=0.2, gt=0)
    eps: float = Field(default=0.4, gt=0)
    primary: int = Field(default=40, ge=2)
    auxiliary: int = Field(default=2000, ge=2)
    alpha: float = Field(default=1.0, ge=0)
    steps: int = Field(default=400, ge=1)
    rate: float = Field(default=0.1, gt=0)


def means(config: Config, robust: bool, others: bool) -> Tensor:
    """Return the mean of the class +1: float64 [1 + d], zero where the set has no signal."""
    values = torch.full((1 + config.features,), config.other_mean if others else 0.0, dtype=torch.float64)
    values[0] = config.robust_mean if robust else 0.0
    return values


def draw(count: int, mean: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw points float64 [N, 1 + d] and labels +-1 float64 [N]."""
    labels = 2.0 * torch.randint(2, (count,), generator=generator).double() - 1
    noise = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    return labels[:, None] * mean + noise, labels


def worst_loss(outputs: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Return the mean logistic loss when an attack lowers every margin by `reach`.

    Examples
    --------
    >>> round(float(worst_loss(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor(0.0))), 4)  # log 2
    0.6931
    """
    return functional.softplus(reach - labels * outputs).mean()


def uniform_loss(outputs: Tensor, reach: Tensor) -> Tensor:
    """Return the mean of the logistic losses of both labels when an attack moves |f| by `reach`; least at f = 0."""
    worst = outputs.abs() + reach
    return ((functional.softplus(worst) + functional.softplus(-worst)) / 2).mean()


def robust_error(gains: Tensor, mean: Tensor, eps: float) -> float:
    """Return the exact error in percent of sign(s . x) on the primary set under attacks of radius `eps`.

    The margin y s . x - eps |s|_1 is Gaussian with mean s . mean - eps |s|_1 and standard deviation |s|_2.

    Examples
    --------
    >>> mean = torch.tensor([1.0, 0.0])
    >>> round(robust_error(torch.tensor([1.0, 0.0]), mean, eps=1.0), 4)  # a margin of mean 0
    50.0
    """
    length = float(gains.norm())
    if length == 0:
        return 100.0
    margin = float(gains @ mean - eps * gains.abs().sum()) / length
    return 50 * math.erfc(margin / math.sqrt(2))


def fit(config: Config, arm: Arm, generator: Generator) -> Tensor:
    """Return the gains [1 + d] that an arm learns from data drawn from `generator`, in the same order for all arms."""
    points, labels = draw(config.primary, means(config, True, True), generator)
    near = arm in ("near", "uniform")
    others, own = draw(config.auxiliary, means(config, near, not near), generator)
    gains = torch.zeros(1 + config.features, dtype=torch.float64, requires_grad=True)
    head = torch.ones(1 + config.features, dtype=torch.float64, requires_grad=True)
    for _ in range(config.steps):
        loss = worst_loss(points @ gains, labels, config.eps * gains.abs().sum())
        if arm in ("uniform", "far_uniform"):
            loss = loss + config.alpha * uniform_loss(others @ gains, config.eps * gains.abs().sum())
        elif arm in ("near", "far"):
            joint = gains * head
            loss = loss + config.alpha * worst_loss(others @ joint, own, config.eps * joint.abs().sum())
        steps = torch.autograd.grad(loss, (gains, head) if arm in ("near", "far") else (gains,))
        with torch.no_grad():
            for parameter, step in zip((gains, head), steps, strict=False):
                parameter -= config.rate * step
    return gains.detach()


def measure(config: Config, context: Context) -> Findings:
    """Train every arm on the same draws of each seed; arrays hold the first seed's gains."""
    rows, arrays = [], {}
    target = means(config, True, True)
    for seed in context.seeds:
        for arm in ARMS:
            gains = fit(config, arm, context.generator(seed, "data"))
            share = float(gains[0].abs() / gains.abs().sum().clamp(min=1e-12))
            values = {
                "robust_error": robust_error(gains, target, config.eps),
                "error": robust_error(gains, target, 0.0),
                "robust_share": share,
            }
            rows += [Row(seed=seed, arm=arm, metric=name, value=value) for name, value in values.items()]
            if seed == context.seeds[0]:
                arrays[f"gains_{arm}"] = gains.numpy()
    return Findings(rows, arrays)


STUDY = Study(name="biamat_toy", config=Config, measure=measure)
