"""CSI's scores from projections and shift logits, in the form of the authors' code; names are the paper's.

For a shift S, projection z and training images x_m, with W_S f the logit of the shift that was applied:

    s_con(x)    = max_m cos(z(x), z(x_m)) * |z(x)|
    s_con-SI(x) = sum_S lambda_S^con s_con(S(x)),   lambda_S^con = M / sum_m |z(S(x_m))|
    s_cls-SI(x) = sum_S lambda_S^cls W_S f(S(x)),   lambda_S^cls = M / sum_m W_S f(S(x_m))
    s_CSI(x)    = s_con-SI(x) + s_cls-SI(x)

Here the sums over the K shifts are means, as in the code, which gives the same ranking. The nearest training image is
searched under the same shift; z and f are means over T random views. All scores are higher for in-distribution images.

Shapes: K shifts, T test-time views, N images, M training images.
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
    """Return the network's outputs for every shift and every test-time view of a batch.

    Parameters
    ----------
    outputs : callable
        Images [K B, C, H, W] to tensors [K B, ...].
    images : Tensor [B, C, H, W]
        Images in [0, 1].
    view : callable
        (images, index of the view t) to the shifted and augmented images [S_0; S_1; ...], [K B, C, H, W].
    views, shifts : int
        T and K.

    Returns
    -------
    tuple of Tensor [B, K T, ...]
        Shift k and view t are at k T + t.
    """
    passes = [outputs(view(images, t)) for t in range(views)]
    by_view = []
    for parts in zip(*passes, strict=True):
        by_shift = torch.stack(
            [part.reshape(shifts, len(images), *part.shape[1:]) for part in parts], dim=1
        )  # [K, T, B, ...]
        by_view.append(by_shift.flatten(0, 1).transpose(0, 1))
    return tuple(by_view)


def mean_over_views(values: Tensor, shifts: int) -> Tensor:
    """Return means over the views: [N, K T, ...] to [K, N, ...]."""
    return values.reshape(len(values), shifts, -1, *values.shape[2:]).mean(dim=2).transpose(0, 1)


def fit_axes(projections: Tensor, logits: Tensor | None) -> dict[str, Tensor]:
    """Return the axes and weights of the score from training images: u_m and lambda of s_con-SI and s_cls-SI.

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
        recognise shifts, and the score is then higher for images whose shift is not recognised: check its sign.

    Raises
    ------
    ReproodError
        If a mean is 0.
    """
    fitted = {"axes": normalised(projections), "lambda_con": _inverse(norms(projections).mean(dim=1), "norm")}
    if logits is not None:
        fitted["lambda_cls"] = _inverse(right_logits(logits).mean(dim=1), "logit of the right shift")
    return fitted


def _inverse(means: Tensor, what: str) -> Tensor:
    if not bool((means != 0).all()):
        raise ReproodError(f"The mean {what} over the training images is 0, so CSI's score has no scale; train longer.")
    return 1 / means


def norms(projections: Tensor) -> Tensor:
    """Return the Euclidean norms of vectors [..., d], float64."""
    lengths: Tensor = torch.linalg.vector_norm(projections.double(), dim=-1)
    return lengths


def right_logits(logits: Tensor) -> Tensor:
    """Return the logit of the shift that was applied: [K, N, K] to float64 [K, N]."""
    return logits.double().diagonal(dim1=0, dim2=2).T


def nearest_product(projections: Tensor, axes: Tensor) -> Tensor:
    """Return the largest inner product with an axis: [K, N, d] and [K, M, d] to float64 [K, N].

    For axes of length one this is s_con: the norm times the cosine to the nearest training image.

    Examples
    --------
    >>> projections, axes = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> nearest_product(projections, axes)
    tensor([[2.]], dtype=torch.float64)
    """
    rows = max(1, CHUNK // axes.shape[1])
    parts = [(part @ axes.mT).amax(dim=2) for part in torch.split(projections, rows, dim=1)]
    return torch.cat(parts, dim=1).double()


def novelty_scores(projections: Tensor, logits: Tensor | None, fitted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the scores of images with shifts (K > 1) or without (K = 1).

    Parameters
    ----------
    projections : Tensor [K, N, d]
        Means over the views, not normalised.
    logits : Tensor [K, N, K] or None
        Means over the views of the shift logits.
    fitted : mapping
        From `fit_axes`.

    Returns
    -------
    dict of float64 Tensor [N]
        csi (only with logits): con_si + cls_si. con_si: the mean over the shifts of the norm-weighted cosine to the
        nearest training image, in units of the mean norm. cls_si (only with logits): the mean over the shifts of the
        right logit in units of its mean. con: that of the unshifted image alone. cosine, norm: its two factors, means
        over the shifts, the norm in units of its mean. With K = 1 con comes first, and con_si is left out.
    """
    scale = fitted["lambda_con"][:, None]
    products = nearest_product(projections, fitted["axes"])
    lengths = norms(projections)
    scores: dict[str, Tensor] = {}
    if len(products) > 1:
        scores["con_si"] = (scale * products).mean(dim=0)
    scores |= {
        "con": products[0],
        "cosine": (products / lengths.clamp(min=1e-12)).mean(dim=0),
        "norm": (scale * lengths).mean(dim=0),
    }
    if logits is not None:
        cls_si = (fitted["lambda_cls"][:, None] * right_logits(logits)).mean(dim=0)
        scores = {"csi": scores["con_si"] + cls_si, "con_si": scores["con_si"], "cls_si": cls_si, **scores}
    return scores
