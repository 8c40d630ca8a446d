"""Energy score. No torch.

W. Liu, X. Wang, J. Owens, Y. Li: Energy-based Out-of-distribution Detection, NeurIPS 2020, arXiv 2010.03759.
"""

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import by_logits, logsumexp
from reprood.detectors.record import Detector, Floats, Options, Paper, Scores


class EnergyOptions(Options):
    """Options of the energy score.

    Attributes
    ----------
    temperature : float
        T > 0.
    """

    temperature: float = Field(default=1.0, gt=0)


def energy(logits: Floats, temperature: float = 1.0) -> Scores:
    """Return the negative free energy T log sum_c exp(l_c / T) of each sample (equation 4, with opposite sign).

    Parameters
    ----------
    logits : array [N, C]
        Of any floating type.
    temperature : float
        T > 0. At T = 1 the score lies between the largest logit and the largest logit + log C.

    Returns
    -------
    float64 array [N]

    See Also
    --------
    reprood.detectors.maxlogit.maxlogit : The limit of small T.

    Examples
    --------
    >>> energy(np.array([[0.0, 0.0]]))
    array([0.69314718])
    """

    def rows(part: Scores) -> Scores:
        part /= temperature
        return logsumexp(part)

    return np.asarray(temperature * by_logits(rows, logits))


DETECTOR = Detector(
    name="energy",
    label="Energy",
    paper=Paper(
        title="Energy-based Out-of-distribution Detection",
        authors="Liu, Wang, Owens, Li",
        venue="NeurIPS",
        year=2020,
        url="https://arxiv.org/abs/2010.03759",
    ),
    formula="T log sum_c exp(l_c / T)",
    inputs=("logits",),
    score=lambda outputs, fitted, options: energy(outputs.logits, options.temperature),
    options=EnergyOptions,
)
