"""CSI's scores from projections and shift logits (section 2.3 of the paper, in the form of the authors' code).

Shapes: K shifts, T test-time views, N images, M training images. Every score is higher for in-distribution images.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.methods.csi.loss import normalised

Outputs = Callable[[Tensor], tuple[Tensor, ...]]
View = Callable[[Tensor, int], Tensor]

CHUNK = 2**24  # similarities in memory at a time


def view_outputs(outputs: Outputs, images: Tensor, view: View, views: int, shifts: int) -> tuple[Tensor, ...]:
    """What the network gives for every shift and every test-time view of a batch.

    Parameters
    ----------
    outputs : callable
        Images [K B, C, H, W] to tensors [K B, ...].
    images : Tensor [B, C, H, W]
    view : callable
        (images, number of the view t) to the shifted and augmented images [S_0; S_1; ...], [K B, C, H, W].
    views, shifts : int
        T and K.

    Returns
    -------
    tuple of Tensor [B, K T, ...]
        Shift k and view t stand at k T + t.
    """
    passes = [outputs(view(images, t)) for t in range(views)]
    found = []
    for parts in zip(*passes, strict=True):
        by_shift = torch.stack(
            [part.reshape(shifts, len(images), *part.shape[1:]) for part in parts], dim=1
        )  # [K, T, B, ...]
        found.append(by_shift.flatten(0, 1).transpose(0, 1))
    return tuple(found)


def mean_over_views(values: Tensor, shifts: int) -> Tensor:
    """Means over the views of [N, K T, ...]: [K, N, ...]."""
    return values.reshape(len(values), shifts, -1, *values.shape[2:]).mean(dim=2).transpose(0, 1)


def fit_axes(projections: Tensor, logits: Tensor | None) -> dict[str, Tensor]:
    """Axes and weights of the score from training images.

    Parameters
    ----------
    projections : Tensor [K, M, d]
        Means over the views, not normalised.
    logits : Tensor [K, M, K] or None
        Means over the views of the shift logits.

    Returns
    -------
    dict of Tensor
        axes [K, M, d], of length one; lambda_con float64 [K], one over the mean norm; with logits lambda_cls float64
        [K], one over the mean logit of the right shift. That mean may be negative in a network that has not learnt to
        tell shifts, and the score then speaks for images whose shift is not recognised: look at its sign.

    Raises
    ------
    ReproodError
        When a mean is 0.
    """
    found = {"axes": normalised(projections), "lambda_con": _inverse(norms(projections).mean(dim=1), "norm")}
    if logits is not None:
        found["lambda_cls"] = _inverse(right_logits(logits).mean(dim=1), "logit of the right shift")
    return found


def _inverse(means: Tensor, what: str) -> Tensor:
    if not bool((means != 0).all()):
        raise ReproodError(f"The mean {what} over the training images is 0, so CSI's score has no scale; train longer.")
    return 1 / means


def norms(projections: Tensor) -> Tensor:
    """Euclidean norms of [..., d], float64."""
    lengths: Tensor = torch.linalg.vector_norm(projections.double(), dim=-1)
    return lengths


def right_logits(logits: Tensor) -> Tensor:
    """Logit of the shift that was applied: [K, N, K] to float64 [K, N]."""
    return logits.double().diagonal(dim1=0, dim2=2).T


def nearest(projections: Tensor, axes: Tensor) -> Tensor:
    """Largest inner product with an axis: [K, N, d] and [K, M, d] to float64 [K, N].

    For axes of length one: norm times the cosine to the nearest training image.
    """
    rows = max(1, CHUNK // axes.shape[1])
    parts = [(part @ axes.mT).amax(dim=2) for part in torch.split(projections, rows, dim=1)]
    return torch.cat(parts, dim=1).double()


def scores_of(projections: Tensor, logits: Tensor | None, fitted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores of images with shifts (K > 1) or without (K = 1).

    Parameters
    ----------
    projections : Tensor [K, N, d]
        Means over the views, not normalised.
    logits : Tensor [K, N, K] or None
    fitted : mapping
        From `fit_axes`.

    Returns
    -------
    dict of float64 Tensor [N]
        csi (only with logits): con_si + cls_si. con_si: mean over the shifts of the norm-weighted cosine to the nearest
        training image, in units of the mean norm. cls_si (only with logits): mean over the shifts of the right logit in
        units of its mean. con: the cosine times the norm of the unshifted image. cosine, norm: its two factors, means
        over the shifts, the norm in units of its mean. With K = 1 con comes first, and con_si is left out.
    """
    scale = fitted["lambda_con"][:, None]
    products = nearest(projections, fitted["axes"])
    lengths = norms(projections)
    found: dict[str, Tensor] = {}
    if len(products) > 1:
        found["con_si"] = (scale * products).mean(dim=0)
    found |= {
        "con": products[0],
        "cosine": (products / lengths.clamp(min=1e-12)).mean(dim=0),
        "norm": (scale * lengths).mean(dim=0),
    }
    if logits is not None:
        told = (fitted["lambda_cls"][:, None] * right_logits(logits)).mean(dim=0)
        found = {"csi": found["con_si"] + told, "con_si": found["con_si"], "cls_si": told, **found}
    return found
