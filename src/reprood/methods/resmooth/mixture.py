"""A mixture of two Gaussians on the line, fitted by a few rounds of EM from the best split into two groups.

The rounds are those of scikit-learn's `GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4)`, which ReSmooth's
code calls. Only the start differs: scikit-learn's k-means starts from random centres and may end in a split that is not
the best one; on the line the best split is found by sorting, without randomness.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reprood.core.errors import ReproodError

SMALLEST_WEIGHT = 0.01
TINY = 10 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians, the one with the smaller mean first.

    Attributes
    ----------
    means, variances, weights : tuple of two floats
        The weights add up to 1.
    """

    means: tuple[float, float]
    variances: tuple[float, float]
    weights: tuple[float, float]

    @property
    def collapsed(self) -> bool:
        """Whether a component has at most 1 % of the values: the mixture then only separates outliers from the rest."""
        return min(self.weights) <= SMALLEST_WEIGHT

    def log_density(self, values: Tensor) -> Tensor:
        """Return the logarithm of weight times density of each component: values [N] to float64 [N, 2]."""
        x = values.to(torch.float64).unsqueeze(1)
        means, variances, weights = (x.new_tensor(part) for part in (self.means, self.variances, self.weights))
        return weights.log() - 0.5 * ((x - means).square() / variances + (2 * math.pi * variances).log())

    def posterior(self, values: Tensor) -> Tensor:
        """Return the probability of the component with the smaller mean: values [N] to float64 [N].

        Not monotone if the variances differ: the broader component wins on both far sides.
        """
        return self.log_density(values).softmax(1)[:, 0]

    def bic(self, values: Tensor) -> float:
        """Return the Bayesian information criterion with five parameters on values [N]; smaller is better."""
        return float(-2 * self.log_density(values).logsumexp(1).sum() + 5 * math.log(len(values)))


def best_split(values: Tensor) -> Tensor:
    """Return which of two groups each value belongs to, minimising the sum of squares about their means: bool [N].

    True is the upper group. Values [N], float64, not all equal; equal values are in the same group.

    Examples
    --------
    >>> best_split(torch.tensor([0.0, 5.0, 1.0, 6.0], dtype=torch.float64))
    tensor([False,  True, False,  True])
    """
    ordered = values.sort().values
    centred = ordered - ordered.mean()
    count = len(ordered)
    below = torch.arange(1, count, dtype=torch.float64)
    # The total is fixed, so the best split has the largest sum of squares between the groups.
    sums = centred.cumsum(0)[:-1]
    between = torch.where(ordered[1:] > ordered[:-1], sums.square() * (1 / below + 1 / (count - below)), -1.0)
    return values > ordered[int(between.argmax())]


def fit_mixture(values: Tensor, *, rounds: int = 10, tolerance: float = 1e-2, floor: float = 5e-4) -> Mixture:
    """Fit the mixture.

    Parameters
    ----------
    values : Tensor [N]
        N >= 2, not all equal.
    rounds : int
        Largest number of rounds of E-step and M-step after the first M-step on the split's groups.
    tolerance : float
        Stop after the round in which the mean log-likelihood changes by less than this; its M-step still counts.
    floor : float
        Added to every variance.

    Raises
    ------
    ReproodError
        For values that are not finite, too few or all equal.

    Examples
    --------
    >>> mixture = fit_mixture(torch.tensor([0.0, 0.2, 9.0, 9.2]))
    >>> [round(mean, 3) for mean in mixture.means], mixture.weights
    ([0.1, 9.1], (0.5, 0.5))
    """
    x = values.detach().cpu().to(torch.float64)
    if len(x) < 2 or not bool(x.isfinite().all()) or bool((x == x[0]).all()):
        raise ReproodError(
            f"A mixture of two Gaussians needs finite values that differ, but got {len(x)} between "
            f"{float(x.min()) if len(x) else math.nan:.4g} and {float(x.max()) if len(x) else math.nan:.4g}."
        )
    upper = best_split(x).to(torch.float64)
    mixture = _maximised(x, torch.stack((1 - upper, upper), dim=1), floor)
    likelihood = -math.inf
    for _ in range(rounds):
        joint = mixture.log_density(x)
        total = joint.logsumexp(1, keepdim=True)
        before, likelihood = likelihood, float(total.mean())
        mixture = _maximised(x, (joint - total).exp(), floor)
        if abs(likelihood - before) < tolerance:
            break
    if mixture.means[0] <= mixture.means[1]:
        return mixture
    return Mixture(mixture.means[::-1], mixture.variances[::-1], mixture.weights[::-1])


def bic_of_one(values: Tensor, floor: float = 5e-4) -> float:
    """Return the Bayesian information criterion of a single Gaussian (two parameters) on values [N]."""
    x = values.to(torch.float64)
    variance = float(x.var(correction=0)) + floor
    deviations = float((x - x.mean()).square().sum())
    return len(x) * math.log(2 * math.pi * variance) + deviations / variance + 2 * math.log(len(x))


def _maximised(x: Tensor, responsibilities: Tensor, floor: float) -> Mixture:
    """Take the M-step: values [N] and responsibilities [N, 2] to the mixture."""
    counts = responsibilities.sum(0) + TINY
    means = (responsibilities * x.unsqueeze(1)).sum(0) / counts
    variances = (responsibilities * (x.unsqueeze(1) - means).square()).sum(0) / counts + floor
    weights = counts / counts.sum()
    return Mixture(*((float(part[0]), float(part[1])) for part in (means, variances, weights)))
