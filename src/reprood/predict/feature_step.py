"""The input step of the Mahalanobis distance, which needs gradients through the network (Lee et al. 2018).

The distance is that of the detector `mahalanobis`: to the nearest class mean of penultimate training features, under
one shared covariance. It is computed in torch here, because the step follows its gradient.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reprood.core.errors import ReproodError

Features = Callable[[Tensor], Tensor]


def signs(gradient: Tensor) -> Tensor:
    """Return +1 where the gradient is >= 0, else -1: an exact zero counts as +1, as in the authors' code of ODIN."""
    return torch.where(gradient >= 0, 1.0, -1.0).to(gradient.dtype)


@dataclass(frozen=True)
class ClassGaussians:
    """Class means under one covariance: float64 `centre` [d], `whitening` [d, r] and whitened `means` [C, r]."""

    centre: Tensor
    whitening: Tensor
    means: Tensor

    def score(self, features: Tensor) -> Tensor:
        """Return minus the squared distance to the nearest class mean; [B, d] -> float64 [B]."""
        white = (features.double() - self.centre) @ self.whitening
        squared = (white.unsqueeze(1) - self.means).square().sum(dim=2)
        return -squared.amin(dim=1)


def fit_gaussians(features: Tensor, labels: Tensor, classes: int) -> ClassGaussians:
    """Fit class means and the shared covariance to ID training features [N, d].

    Eigenvalues below d * eps * largest count as zero, as in the detector `mahalanobis`.

    Raises
    ------
    ReproodError
        When a class has no training sample, or all features are constant within each class.
    """
    values = features.double()
    counts = torch.bincount(labels, minlength=classes)
    if bool((counts == 0).any()):
        raise ReproodError(
            f"Mahalanobis: class {int(counts.argmin())} of {classes} has no training sample; give every class one."
        )
    means = torch.zeros(classes, values.shape[1], dtype=values.dtype, device=values.device)
    means = means.index_add(0, labels, values) / counts[:, None]
    centred = values - means[labels]
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(values))
    kept = variances > variances[-1].clamp(min=0) * values.shape[1] * torch.finfo(torch.float64).eps
    if not bool(kept.any()):
        raise ReproodError("Mahalanobis: the training features are constant within each class; is the network trained?")
    whitening = vectors[:, kept] / variances[kept].sqrt()
    centre = means.mean(dim=0)
    return ClassGaussians(centre, whitening, (means - centre) @ whitening)


def stepped_scores(
    features: Features, batches: Iterable[Tensor], std: Tensor, gaussians: ClassGaussians, epsilons: Sequence[float]
) -> list[Tensor]:
    """Return the score of every image after a step of each size that raises it.

    x' = x - epsilon * sign(-dS/dx) / std, with +1 for an exact zero as in the authors' code; no clipping. All sizes
    share one gradient.

    Parameters
    ----------
    features : callable
        Normalised images [B, C, H, W] -> features [B, d]; in evaluation mode.
    batches : iterable of Tensor [B, C, H, W]
        Normalised images.
    std : Tensor [C]
        Standard deviations of the in-distribution normalisation.
    gaussians : ClassGaussians
    epsilons : sequence of float
        Sizes of the step in units of [0, 1] pixels.

    Returns
    -------
    list of float32 Tensor [N, 1]
        One per step size.
    """
    found: list[list[Tensor]] = [[] for _ in epsilons]
    for images in batches:
        with torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(-gaussians.score(features(leaf)).sum(), leaf)
        direction = signs(gradient) / std.to(images).view(1, -1, 1, 1)
        for parts, epsilon in zip(found, epsilons, strict=True):
            with torch.no_grad():
                parts.append(gaussians.score(features(images - epsilon * direction)).float()[:, None])
    return [torch.cat(parts) for parts in found]
