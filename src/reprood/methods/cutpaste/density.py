"""One-class densities on features: how far a feature is from those of normal images (CutPaste, second stage).

Features are divided by their length before fitting and scoring; all computations are in float64. Distances are at least
0, are 0 for the most typical feature, and rank images like the negative log-densities:

- Gaussian: the Mahalanobis distance q; -log p is q^2 / 2 plus a constant;
- kernel density with kernel exp(-gamma |x - y|^2): -log(mean kernel) / gamma; -log p is gamma times this plus a
  constant. On the unit sphere it equals -log(sum exp(2 gamma <x, y>)) / gamma up to a constant.

The paper fits a Gaussian with scikit-learn (A.1) and does not say whether the covariance is regularised. "gaussian_ml"
is maximum likelihood with a ridge of 1e-6: scikit-learn's `GaussianMixture` with one component on features of unit
length, as in the code of the authors' preceding paper (Sohn et al. 2021). "gaussian" has the shrinkage of O. Ledoit,
M. Wolf: A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate Analysis 88(2),
2004, as scikit-learn computes it; a re-implementation by Runinho uses it. They differ if there are fewer images than
features.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError

Density = Literal["gaussian", "gaussian_ml", "kde", "kde_unit"]

RIDGE = 1e-6
UNIT_GAMMA = 0.5  # a Gaussian kernel of bandwidth 1
SHARPNESS = 10.0
LARGEST = 16 * 2**30  # bytes of one fitted tensor
CHUNK = 2**28  # bytes of a temporary tensor when many positions are fitted


def unit_length(features: Tensor) -> Tensor:
    """Return rows of features [..., d] divided by their length, float64; a row of zeros is not changed."""
    return functional.normalize(features.double(), dim=-1)


def _centred(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean [..., d], the centred features [..., N, d], and the maximum likelihood covariance [..., d, d]."""
    mean = features.mean(-2)
    rest = features - mean.unsqueeze(-2)
    return mean, rest, rest.transpose(-1, -2) @ rest / features.shape[-2]


def ledoit_wolf(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, covariance and shrinkage: (1 - s) S + s m I, with m the mean of the diagonal of S.

    Parameters
    ----------
    features : float64 Tensor [..., N, d]
        Centred or not.

    Returns
    -------
    mean, covariance, shrinkage : Tensor [..., d], [..., d, d], [...]
        The shrinkage is in [0, 1].
    """
    count, width = features.shape[-2:]
    mean, rest, sample = _centred(features)
    level = sample.diagonal(dim1=-2, dim2=-1).mean(-1)
    squares = sample.square().sum((-1, -2))
    fourth = rest.square().sum(-1).square().sum(-1)  # sum over images of |x|^4
    noise = (fourth / count - squares) / (width * count)
    spread = squares / width - level.square()
    varies = spread > 0
    shrinkage = torch.where(varies, (noise / torch.where(varies, spread, 1.0)).clamp(0, 1), 0.0)
    eye = torch.eye(width, dtype=features.dtype, device=features.device)
    share = shrinkage[..., None, None]
    return mean, (1 - share) * sample + share * level[..., None, None] * eye, shrinkage


def maximum_likelihood(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [..., d] and covariance [..., d, d] with 1e-6 on its diagonal, of features [..., N, d]."""
    mean, _, sample = _centred(features)
    return mean, sample + RIDGE * torch.eye(features.shape[-1], dtype=features.dtype, device=features.device)


def precision(covariance: Tensor) -> Tensor:
    """Return the inverse [..., d, d], exactly symmetric, so that quadratic forms are negative only by rounding.

    Raises
    ------
    ReproodError
        If the covariance is singular: the features are all the same.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed.any()):
        raise ReproodError(
            "The covariance of the training features is singular: the network computes (nearly) the same features for "
            "all training images; train it again with other settings."
        )
    inverse: Tensor = torch.cholesky_inverse(factor)
    return (inverse + inverse.transpose(-1, -2)) / 2


def mahalanobis(features: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Return sqrt((g - m)' P (g - m)), float64.

    Parameters
    ----------
    features : float64 Tensor [..., d]; or [B, L, d] for one Gaussian per position
        Features of unit length.
    mean, inverse : Tensor [d], [d, d]; or [L, d], [L, d, d]
        Mean and inverse covariance of the Gaussian.

    Returns
    -------
    Tensor [...] or [B, L]

    Examples
    --------
    >>> mahalanobis(torch.tensor([[3.0, 4.0]]), torch.zeros(2), torch.eye(2))
    tensor([5.])
    """
    rest = features - mean
    moved = rest @ inverse if inverse.dim() == 2 else torch.einsum("bld,lde->ble", rest, inverse)
    return (moved * rest).sum(-1).clamp(min=0).sqrt()


def kernel_distance(features: Tensor, bank: Tensor, gamma: Tensor | float) -> Tensor:
    """Return -log(mean over the bank of exp(-gamma |g - g_i|^2)) / gamma for features of unit length.

    Parameters
    ----------
    features : float64 Tensor [..., d]; or [B, L, d] for one bank per position
        Features of the images.
    bank : Tensor [N, d]; or [L, N, d]
        Of unit length.
    gamma : scalar or Tensor []; or Tensor [L]
        Inverse width of the kernel.

    Returns
    -------
    Tensor [...] or [B, L]

    Examples
    --------
    >>> one = torch.tensor([[1.0, 0.0]])
    >>> kernel_distance(-one, one, gamma=0.5)  # the squared distance to the only row
    tensor([4.])
    """
    cosine = features @ bank.T if bank.dim() == 2 else torch.einsum("bld,lnd->bln", features, bank)
    sharp = torch.as_tensor(gamma, dtype=cosine.dtype, device=cosine.device)
    kernel = 2 * sharp.unsqueeze(-1) * (cosine - 1)
    return (math.log(bank.shape[-2]) - kernel.logsumexp(-1)) / sharp


def kernel_gamma(bank: Tensor) -> Tensor:
    """Return 10 / (variance of all entries * d) of a bank [..., N, d]: the rule of Sohn et al. 2021, [...]."""
    return SHARPNESS / (bank.var((-1, -2), correction=0) * bank.shape[-1])


def fitted_bytes(kind: Density, places: int, count: int, width: int) -> int:
    """Return the size of the largest fitted tensor: a precision matrix or a bank for each of `places` positions.

    Examples
    --------
    >>> sides = {64: 49**2, 32: 57**2}  # windows of the paper in images of 256 pixels, with stride 4
    >>> {side: round(fitted_bytes("gaussian", places, 200, 512) / 2**30, 1) for side, places in sides.items()}
    {64: 4.7, 32: 6.3}
    """
    return 8 * places * width * (width if kind.startswith("gaussian") else count)


def fit_density(kind: Density, features: Tensor) -> dict[str, Tensor]:
    """Fit a density to normal features and return what `distance` needs.

    The positions are fitted a few at a time, so that memory is that of the features and of the result (`fitted_bytes`),
    plus about 1 GiB. For the paper's 64-pixel windows (2,401 positions, 512 features, 200 images) these are 0.9 and
    4.7 GiB, for its 32-pixel windows (3,249 positions) 1.2 and 6.3 GiB.

    Parameters
    ----------
    kind : {"gaussian", "gaussian_ml", "kde", "kde_unit"}
        Gaussian with Ledoit-Wolf shrinkage or maximum likelihood; kernel density with gamma from the variance of the
        features, or bandwidth 1.
    features : Tensor [N, d]; or [L, N, d] for one density per position
        As the network computes them.

    Returns
    -------
    dict
        float64 tensors named `<kind>_<part>`.

    Raises
    ------
    ReproodError
        For fewer than two features, features that are not finite or (for a Gaussian) all the same, and densities that
        take more than 16 GiB.
    """
    count, width = features.shape[-2:]
    places = features.shape[0] if features.dim() == 3 else 1
    size = fitted_bytes(kind, places, count, width)
    if size > LARGEST:
        raise ReproodError(
            f"The density '{kind}' would take {size / 2**30:.0f} GiB; use one for all positions, a larger stride or "
            "fewer windows of each image."
        )
    if count < 2:
        raise ReproodError(f"A density needs two or more finite features; there are {count}.")
    if features.dim() == 2:
        fitted = _fitted(kind, features)
    else:
        together = max(1, CHUNK // (8 * width * max(width, count)))
        fitted = {}
        for start in range(0, places, together):
            for part, values in _fitted(kind, features[start : start + together]).items():
                if start == 0:
                    fitted[part] = values.new_empty(places, *values.shape[1:])
                fitted[part][start : start + together] = values
    return {f"{kind}_{part}": values.contiguous() for part, values in fitted.items()}


def _fitted(kind: Density, features: Tensor) -> dict[str, Tensor]:
    """Return the parts of a density fitted to features [..., N, d]."""
    if not bool(torch.isfinite(features).all()):
        raise ReproodError("A density needs two or more finite features; some are not finite numbers.")
    unit = unit_length(features)
    if kind == "gaussian":
        mean, covariance, shrinkage = ledoit_wolf(unit)
        return {"mean": mean, "precision": precision(covariance), "shrinkage": shrinkage}
    if kind == "gaussian_ml":
        mean, covariance = maximum_likelihood(unit)
        return {"mean": mean, "precision": precision(covariance)}
    gamma = kernel_gamma(unit) if kind == "kde" else unit.new_full(unit.shape[:-2], UNIT_GAMMA)
    if not bool(torch.isfinite(gamma).all()):
        raise ReproodError("The training features have no variance; train the network again with other settings.")
    return {"bank": unit, "gamma": gamma}


def distance(kind: Density, features: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    """Return how far features are from normal, float64 [...]; 0 or more, higher = more anomalous.

    Parameters
    ----------
    kind : str
        As in `fit_density`.
    features : Tensor [..., d]
        As the network computes them; [B, L, d] if `fitted` has one density per position.
    fitted : mapping
        From `fit_density`.
    """
    unit = unit_length(features)
    if kind in ("gaussian", "gaussian_ml"):
        return mahalanobis(unit, fitted[f"{kind}_mean"], fitted[f"{kind}_precision"])
    return kernel_distance(unit, fitted[f"{kind}_bank"], fitted[f"{kind}_gamma"])
