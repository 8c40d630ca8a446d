"""CSI's contrastive losses: normalised temperature-scaled cross-entropy (NT-Xent), and its supervised form.

J. Tack, S. Mo, J. Jeong, J. Shin: CSI, NeurIPS 2020, in the form of the authors' code; names are the paper's. Rows i
and i + N of the projections z are the two views of the i-th (shifted) image; all other rows are negatives, also other
shifts of the same image. With u = z / |z| and temperature tau,

    p_ij = exp(u_i . u_j / tau) [i != j] / sum_{k != i} exp(u_i . u_k / tau)
    L_con-SI = mean over i of -log p_{i, pos(i)}
    L_cls-SI = mean cross-entropy of the shift classifier
    L_CSI = L_con-SI + lambda L_cls-SI
"""

import torch
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.methods.csi.shifts import COUNTS, Shift, shift_numbers

OFFSET = 1e-8  # the authors' code adds it to norms, denominators and arguments of logarithms


def normalised(vectors: Tensor) -> Tensor:
    """Return rows (the last dimension) divided by their Euclidean norm plus 1e-8.

    Examples
    --------
    >>> normalised(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / (length + OFFSET)


def similarities(projections: Tensor, temperature: float) -> Tensor:
    """Return the cosines of all pairs of rows over the temperature, [M, d] to [M, M], at least in single precision.

    Raises
    ------
    ReproodError
        If the number of rows is 0 or odd, which cannot be two views of each image.
    """
    if len(projections) % 2 or len(projections) == 0:
        raise ReproodError(f"A contrastive loss needs two views of each image, but got {len(projections)} rows.")
    # Under autocast the product would have three digits, of which a temperature of 0.07 leaves two.
    with torch.autocast(projections.device.type, enabled=False):
        unit = normalised(projections if projections.dtype == torch.float64 else projections.float())
        return unit @ unit.T / temperature


def masked_softmax(scaled: Tensor) -> Tensor:
    """Return the softmax of each row without its diagonal entry, p_ij of this module's docstring: [M, M], diagonal 0.

    Examples
    --------
    >>> masked_softmax(torch.zeros(3, 3))
    tensor([[0.0000, 0.5000, 0.5000],
            [0.5000, 0.0000, 0.5000],
            [0.5000, 0.5000, 0.0000]])
    """
    diagonal = torch.eye(len(scaled), dtype=torch.bool, device=scaled.device)
    weights = scaled.masked_fill(diagonal, -torch.inf).exp()
    return weights / (weights.sum(dim=1, keepdim=True) + OFFSET)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent (L_con-SI; without shifts L_SimCLR): the mean over the 2N rows of -log p of the other view.

    Parameters
    ----------
    projections : Tensor [2N, d]
        Not normalised.
    temperature : float
        0.5 in the paper. As in the authors' code no maximum is subtracted; in single precision this is safe down to
        0.02.

    Returns
    -------
    Tensor
        A scalar; log(2N - 1) if all rows are equal.

    Examples
    --------
    >>> round(float(nt_xent(torch.ones(6, 2), temperature=0.5)), 4)  # log 5
    1.6094
    >>> views = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> round(float(nt_xent(views, temperature=0.5)), 4)
    0.036
    """
    p = masked_softmax(similarities(projections, temperature))
    half = len(projections) // 2
    p_positive = torch.cat((p.diagonal(half), p.diagonal(-half)))
    return -(p_positive + OFFSET).log().mean()


def supervised_nt_xent(projections: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the loss with labels: every row of the same label is a positive (SupCLR; Khosla et al. 2020).

    As in CSI's code a row is one of its own positives. Its p is 0, so each row adds a constant of -log(1e-8) = 18.42
    over its number of positives, without a gradient. The weight of the other positives is one over this number; in the
    textbook form it is one over the number less one.

    Parameters
    ----------
    projections : Tensor [2N, d]
        Not normalised.
    labels : int64 Tensor [N]
        Of one view; the other's are the same.
    temperature : float
        0.07 in the paper.

    Returns
    -------
    Tensor
        A scalar, the mean over the rows.

    Raises
    ------
    ReproodError
        If there are not two rows per label.

    Examples
    --------
    >>> loss = supervised_nt_xent(torch.ones(4, 2), torch.tensor([0, 0]), temperature=0.07)
    >>> round(float(loss), 4)  # 3 / 4 * log 3 + 18.42 / 4
    5.4291
    """
    if len(projections) != 2 * len(labels):
        raise ReproodError(f"{len(projections)} projections do not fit {len(labels)} labels of one view.")
    scaled = similarities(projections, temperature)
    p = masked_softmax(scaled - scaled.detach().amax(dim=1, keepdim=True))
    both = labels.repeat(2)
    positive = (both[:, None] == both).to(p.dtype)
    return -(positive / (positive.sum(dim=1, keepdim=True) + OFFSET) * (p + OFFSET).log()).sum(dim=1).mean()


def shift_cross_entropy(logits: Tensor, kind: Shift, views: int = 1) -> Tensor:
    """Return the mean cross-entropy of the shift classifier, L_cls-SI.

    Parameters
    ----------
    logits : Tensor [`views` K B, K]
        In the order view, shift, image.
    kind : str
        Family of K shifts.
    views : int
        Number of views.

    Examples
    --------
    >>> round(float(shift_cross_entropy(torch.zeros(8, 4), "rotation")), 4)  # log 4
    1.3863
    """
    numbers = shift_numbers(len(logits) // (views * COUNTS[kind]), kind, logits.device)
    return functional.cross_entropy(logits, numbers.repeat(views))


def joint_labels(labels: Tensor, classes: int, kind: Shift) -> Tensor:
    """Return labels of pairs of class and shift, y + C k for class y under shift k: int64 [B] to [K B].

    The result is ordered shift by shift.

    Examples
    --------
    >>> joint_labels(torch.tensor([0, 2]), 3, "rotation")
    tensor([ 0,  2,  3,  5,  6,  8,  9, 11])
    """
    return labels.repeat(COUNTS[kind]) + classes * shift_numbers(len(labels), kind, labels.device)
