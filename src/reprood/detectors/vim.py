"""Virtual-logit matching: the norm in the residual space as one more logit. No torch.

H. Wang, Z. Li, L. Feng, W. Zhang: ViM: Out-Of-Distribution with Virtual-logit Matching, CVPR 2022, arXiv 2203.10807
(equations 4 to 7).
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from reprood.core.errors import ReproodError
from reprood.detectors.arrays import ROWS, blocks, by_rows, lengths
from reprood.detectors.energy import energy
from reprood.detectors.maxlogit import maxlogit
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, need


class VimOptions(Options):
    """Options of ViM.

    Attributes
    ----------
    dimension : int or None
        Size of the principal space; None = the authors' rule (`principal_dimension`).
    """

    dimension: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Residual:
    """What is fitted: the origin [d], the basis [d, d - D] of the residual space, the scale alpha and D."""

    origin: Scores
    basis: Scores
    alpha: float
    dimension: int


def principal_dimension(width: int) -> int:
    """Return the size D of the principal space: 1000 from 2048 features on, 512 from 768 on, else half (authors' code).

    Examples
    --------
    >>> [principal_dimension(width) for width in (2048, 768, 128)]
    [1000, 512, 64]
    """
    if width >= 2048:
        return 1000
    return 512 if width >= 768 else width // 2


def residual_norm(features: Floats, origin: Scores, basis: Scores) -> Scores:
    """Return the length of R'(z - u); [N, d] -> float64 [N]."""
    return by_rows(lambda rows: lengths((rows - origin) @ basis), features, ROWS)


def residual_space(
    features: Floats, weight: Floats, bias: Floats, dimension: int | None = None, name: str = "vim"
) -> tuple[Scores, Scores, int]:
    """Return the origin u = -W^+ b, the eigenvectors of (1/n) sum (z - u)(z - u)' after the D largest, and D.

    Parameters
    ----------
    features : array [N, d]
        Of the ID training images.
    weight, bias : array [C, d], [C]
        The affine last layer.
    dimension : int, optional
        D; default `principal_dimension(d)`.
    name : str
        The detector, for the message.

    Raises
    ------
    ReproodError
        When D is not smaller than d (the residual space would be empty).
    """
    width = features.shape[1]
    size = principal_dimension(width) if dimension is None else dimension
    if not 0 <= size < width:
        raise ReproodError(
            f"{name}: the principal space has dimension {size} and the features {width}; "
            f"set its option dimension to a value from 0 to {width - 1}, or leave it out."
        )
    origin = -np.linalg.pinv(weight.astype(np.float64)) @ bias.astype(np.float64)
    moments = np.zeros((width, width))
    for rows in blocks(len(features), ROWS):
        centred = features[rows].astype(np.float64) - origin
        moments += centred.T @ centred
    _, vectors = np.linalg.eigh(moments / len(features))  # eigenvalues in ascending order
    return origin, np.ascontiguousarray(vectors[:, : width - size]), size


def fit(features: Floats, logits: Floats, weight: Floats, bias: Floats, dimension: int | None = None) -> Residual:
    """Fit the residual space, and alpha = mean(max logit) / mean(residual norm) over the ID training samples.

    Parameters
    ----------
    features, logits : array [N, d], [N, C]
        Of the ID training images.
    weight, bias, dimension
        As in `residual_space`.

    Raises
    ------
    ReproodError
        When D is not smaller than d (the residual space would be empty) or all residuals are zero.
    """
    origin, basis, size = residual_space(features, weight, bias, dimension)
    norm = float(residual_norm(features, origin, basis).mean())
    if norm == 0:
        raise ReproodError(f"ViM: the training features have no residual outside {size} dimensions; choose fewer.")
    return Residual(origin, basis, float(maxlogit(logits).mean()) / norm, size)


def score(features: Floats, logits: Floats, residual: Residual) -> Scores:
    """Return logsumexp(l) - alpha * residual norm; [N, d], [N, C] -> float64 [N]."""
    return np.asarray(energy(logits) - residual.alpha * residual_norm(features, residual.origin, residual.basis))


def _fit(reference: Reference, options: VimOptions) -> Residual:
    if reference.train is None or reference.head is None:
        raise TypeError("this detector needs the training split and an affine last layer")
    train = reference.train
    return fit(need(train.features, "train_features"), train.logits, *reference.head, options.dimension)


def _score(outputs: Outputs, fitted: Residual, options: VimOptions) -> Scores:
    return score(need(outputs.features, "features"), outputs.logits, fitted)


DETECTOR = Detector(
    name="vim",
    label="ViM",
    paper=Paper(
        title="ViM: Out-Of-Distribution with Virtual-logit Matching",
        authors="Wang, Li, Feng, Zhang",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2203.10807",
    ),
    formula="log sum_c exp(l_c) - alpha |R'(z - u)|, u = -W^+ b",
    inputs=("logits", "features", "train_logits", "train_features", "head"),
    score=_score,
    fit=_fit,
    options=VimOptions,
)
