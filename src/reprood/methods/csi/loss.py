"""CSI's contrastive losses: normalised cross-entropy over pairs (NT-Xent), and its form with labels.

J. Tack, S. Mo, J. Jeong, J. Shin: CSI, NeurIPS 2020, in the form of the authors' code. Rows i and i + N of the
projections are the two views of the i-th (shifted) image; everything else in the batch is a negative, other shifts of
the same image among it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.methods.csi.shifts import COUNTS, Shift, shift_numbers

OFFSET = 1e-8  # the code's, in norms, in denominators and in logarithms


def normalised(vectors: Tensor) -> Tensor:
    """Rows (the last dimension) divided by their Euclidean norm plus 1e-8."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / (length + OFFSET)


def similarities(projections: Tensor, temperature: float) -> Tensor:
    """Cosines of all pairs of rows over the temperature, [M, d] to [M, M], never below single precision.

    Raises
    ------
    ReproodError
        When the rows are not two views of something.
    """
    if len(projections) % 2 or len(projections) == 0:
        raise ReproodError(f"A contrastive loss needs two views of each image, and got {len(projections)} rows.")
    # under autocast the product would have three digits, of which a temperature of 0.07 leaves two
    with torch.autocast(projections.device.type, enabled=False):
        unit = normalised(projections if projections.dtype == torch.float64 else projections.float())
        return unit @ unit.T / temperature


def shares(scaled: Tensor) -> Tensor:
    """Each row's exponentials as a share of the row's sum without the diagonal, [M, M]; the diagonal is 0."""
    own = torch.eye(len(scaled), dtype=torch.bool, device=scaled.device)
    weights = scaled.masked_fill(own, -torch.inf).exp()
    return weights / (weights.sum(dim=1, keepdim=True) + OFFSET)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Mean over the 2N rows of -log of the other view's share (section 2.1).

    Parameters
    ----------
    projections : Tensor [2N, d]
        Not normalised.
    temperature : float
        0.5 in the paper. As in the code no maximum is subtracted, which single precision allows down to 0.02.

    Returns
    -------
    Tensor
        A scalar; log(2N - 1) when all rows are alike.
    """
    found = shares(similarities(projections, temperature))
    half = len(projections) // 2
    other = torch.cat((found.diagonal(half), found.diagonal(-half)))
    return -(other + OFFSET).log().mean()


def supervised_nt_xent(projections: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss with labels: every row of the same label is a positive (SupCLR; Khosla et al. 2020).

    As in CSI's code a row counts among its own positives. Its share is 0, so each row carries a constant of
    -log(1e-8) = 18.42 over its number of positives, without a gradient, and the others' weight is one over that number,
    where the textbook form has one over the number less one.

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
        When there are not two rows to a label.
    """
    if len(projections) != 2 * len(labels):
        raise ReproodError(f"{len(projections)} projections do not fit {len(labels)} labels of one view.")
    scaled = similarities(projections, temperature)
    found = shares(scaled - scaled.detach().amax(dim=1, keepdim=True))
    both = labels.repeat(2)
    alike = (both[:, None] == both).to(found.dtype)
    return -(alike / (alike.sum(dim=1, keepdim=True) + OFFSET) * (found + OFFSET).log()).sum(dim=1).mean()


def shift_cross_entropy(logits: Tensor, kind: Shift, views: int = 1) -> Tensor:
    """Mean cross-entropy of telling the shifts, of logits [`views` K B, K] in the order view, shift, image."""
    numbers = shift_numbers(len(logits) // (views * COUNTS[kind]), kind, logits.device)
    return functional.cross_entropy(logits, numbers.repeat(views))


def joint_labels(labels: Tensor, classes: int, kind: Shift) -> Tensor:
    """Label y under shift k is y + C k: int64 [B] to [K B], shift by shift."""
    return labels.repeat(COUNTS[kind]) + classes * shift_numbers(len(labels), kind, labels.device)
