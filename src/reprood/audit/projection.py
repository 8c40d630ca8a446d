"""Project a claim's result to more replicates: is a decision likely, and would many more help at all?

Replicates are taken as independent with one variance: the standard error of trainings shrinks with their square root.
That of the test images, which all replicates share, stays.
"""

import math
from dataclasses import dataclass

import numpy as np

from reprood.audit.decide import p_inside, p_values, threshold, two_sided
from reprood.evaluate.bootstrap import Interval, half_width

DRAWS = 4000


@dataclass(frozen=True)
class Result:
    """A claim's result so far.

    Attributes
    ----------
    estimate, standard_error : float
        Effect (first minus second) of the weakest step, in the unit of the metric.
    freedom : float
        Degrees of freedom of the trainings' part.
    replicates : int
        Behind these.
    kind, better, margin : str, str, float
        Of the claim.
    relevant : float
        Effect that is relevant, 0 for none.
    sample_error : float
        Part of the standard error due to test samples.
    sample_freedom : float
        Degrees of freedom of that part.
    """

    estimate: float
    standard_error: float
    freedom: float
    replicates: int
    kind: str
    better: str
    margin: float
    relevant: float = 0.0
    sample_error: float = 0.0
    sample_freedom: float = math.inf

    @property
    def trainings_error(self) -> float:
        """Return the part of the standard error due to trainings."""
        return math.sqrt(max(0.0, self.standard_error**2 - self.sample_error**2))

    def freedom_with(self, replicates: int) -> float:
        """Return the degrees of freedom with more replicates: in proportion to replicates minus one.

        Fewer than replicates minus one are those of a few fixed units (classes), and stay as they are.
        """
        if self.freedom < self.replicates - 1:
            return self.freedom
        return self.freedom * (replicates - 1) / max(self.replicates - 1, 1)


def projected_p(result: Result, replicates: int) -> tuple[float, float]:
    """Return the two-sided p values of a decision, and of "smaller than relevant", if nothing but n changed.

    The effect and the variance of a replicate stay as they are; the standard error of trainings becomes that times
    sqrt(n / replicates). The second is 1 without a relevant effect.
    """
    error = math.hypot(result.trainings_error * math.sqrt(result.replicates / replicates), result.sample_error)
    then = Interval(
        result.estimate, np.nan, np.nan, 0.95, error, replicates, 0, 0, result.freedom_with(replicates),
        result.sample_error, result.sample_freedom,
    )  # fmt: skip
    decided = two_sided([p_values(result.kind, then, result.better, result.margin)])
    smaller = min(1.0, 2 * p_inside(then, result.relevant)) if result.relevant else 1.0
    return decided, smaller


def probability(result: Result, replicates: int, level: float) -> float:
    """Return the predictive probability that the interval of a level decides the claim with more replicates.

    With n replicates of mean m and variance s^2 (here the trainings' standard error^2 * n, with the degrees of
    freedom f), and flat priors: sigma^2 = s^2 f / chi^2_f, mu = m + sigma z / sqrt(n); the mean of N - n new replicates
    is mu + sigma z' / sqrt(N - n), their sum of squares sigma^2 chi^2_(N - n - 1). The joint estimate, its variance and
    degrees of freedom give an interval, which decides when it lies on one side of the margin, or inside the relevant
    effect. Monte Carlo with 4,000 fixed draws: a standard error of at most 0.008.

    Parameters
    ----------
    result : Result
    replicates : int
        N, more than there are.
    level : float
        Nominal coverage of the interval: 1 - 0.05 * weight of the look, or above for several claims.
    """
    n, more = result.replicates, replicates - result.replicates
    if more < 1:
        raise ValueError(f"{replicates} replicates are not more than the {n} there are")
    chance = np.random.default_rng(0)
    freedom = min(result.freedom, 1e6)
    per_replicate = result.trainings_error**2 * n
    variance = per_replicate * freedom / chance.chisquare(freedom, DRAWS)
    z = chance.normal(size=(2, DRAWS))
    mean = result.estimate + np.sqrt(variance / n) * z[0]
    later = mean + np.sqrt(variance / more) * z[1]
    estimate = (n * result.estimate + more * later) / replicates
    inner = variance * chance.chisquare(more - 1, DRAWS) if more > 1 else np.zeros(DRAWS)
    between = n * more / replicates * (later - result.estimate) ** 2
    joint = (per_replicate * (n - 1) + inner + between) / (replicates - 1)
    then = result.freedom_with(replicates)
    half = half_width(np.sqrt(joint / replicates), then, result.sample_error, result.sample_freedom, (1 - level) / 2)
    low, high = estimate - half, estimate + half
    if result.kind == "equivalent":
        decided = ((low > -result.margin) & (high < result.margin)) | (high < -result.margin) | (low > result.margin)
    else:
        bound = threshold(result.kind, result.better, result.margin)
        decided = (low > bound) | (high < bound)
    if result.relevant:
        decided |= (low > -result.relevant) & (high < result.relevant)
    return float(decided.mean())
