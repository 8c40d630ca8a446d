"""BiaMAT's confidence gate, attack objectives and losses (the authors' code).

Auxiliary images are OUT (uniform target on the primary head) or IN (their own label on the auxiliary head): OUT if
their confidence is below pi = gamma * mean confidence of primary images. A batch is [primary ; OUT ; IN]: the primary
head predicts the first two groups, the auxiliary head the last, and the shapes say how many rows each group has. Either
auxiliary group may be empty. With x~ the attacked image,

    AT:      L = mean over primary of CE(x~, y) + alpha * mean over OUT and IN of CE(x~, target)
    TRADES:  the same with CE(x, target) + beta * KL(p(x) || p(x~)) in place of CE(x~, target)
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from reprood.attacks.losses import cross_entropy, kl_divergence


class HeadLogits(NamedTuple):
    """Logits of a batch [primary ; OUT ; IN].

    Attributes
    ----------
    primary : Tensor [n + n_out, K]
        Of the primary head.
    auxiliary : Tensor [n_in, A]
        Of the auxiliary head.
    """

    primary: Tensor
    auxiliary: Tensor


class Parts(NamedTuple):
    """The two terms of a loss, scalars: L_p and alpha * L_a; the loss is their sum."""

    primary: Tensor
    auxiliary: Tensor


# --- the gate ---


def confidence(logits: Tensor) -> Tensor:
    """Return the largest softmax probability of each row, float64 [B].

    Examples
    --------
    >>> confidence(torch.tensor([[0.0, 0.0], [9.0, 0.0]])).round(decimals=2)
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return logits.double().softmax(dim=1).amax(dim=1)


def gate_threshold(primary_logits: Tensor, gamma: float) -> Tensor:
    """Return the threshold pi = gamma * mean confidence of one natural primary batch [B, K]: a scalar, float64."""
    return gamma * confidence(primary_logits).mean()


def out_then_in(outside: Tensor) -> tuple[Tensor, int]:
    """Return the order that puts OUT before IN and keeps the order within each.

    Parameters
    ----------
    outside : bool Tensor [B]
        Which images are OUT.

    Returns
    -------
    order : int64 Tensor [B]
        Rows.
    count : int
        Number of OUT images.

    Examples
    --------
    >>> out_then_in(torch.tensor([False, True, False, True]))
    (tensor([1, 3, 0, 2]), 2)
    """
    return torch.argsort((~outside).to(torch.uint8), stable=True), int(outside.sum())


# --- adversarial training ---


def targets(labels: Tensor, logits: Tensor) -> Tensor:
    """Return targets of the primary head, [n + n_out, K] like `logits`: one-hot for n labels, then uniform.

    Examples
    --------
    >>> targets(torch.tensor([1]), torch.zeros(2, 2))
    tensor([[0.0000, 1.0000],
            [0.5000, 0.5000]])
    """
    classes = logits.shape[1]
    soft = torch.full_like(logits, 1 / classes)
    soft[: len(labels)] = functional.one_hot(labels, classes).to(soft.dtype)
    return soft


def at_objective(attacked: HeadLogits, labels: Tensor, labels_in: Tensor) -> Tensor:
    """Return what the attack of adversarial training maximises: the sum of all cross-entropies, without alpha.

    Parameters
    ----------
    attacked : HeadLogits
        Of the attacked images.
    labels : int64 Tensor [n]
        Of the primary images.
    labels_in : int64 Tensor [n_in]
        Of the IN images.
    """
    outer = cross_entropy(attacked.primary, targets(labels, attacked.primary)).sum()
    return outer + cross_entropy(attacked.auxiliary, labels_in).sum()


def at_loss(attacked: HeadLogits, labels: Tensor, labels_in: Tensor, alpha: float) -> Parts:
    """Return L_p, the mean CE of the primary images, and alpha * L_a, L_a the mean CE of OUT and IN together.

    Parameters
    ----------
    attacked, labels, labels_in
        As in `at_objective`.
    alpha : float
        Weight of the auxiliary loss.

    Examples
    --------
    >>> logits = HeadLogits(torch.zeros(3, 2), torch.zeros(1, 4))  # 2 primary, 1 OUT, 1 IN
    >>> parts = at_loss(logits, torch.tensor([0, 1]), torch.tensor([3]), alpha=1.0)
    >>> [round(float(part), 4) for part in parts]  # log 2; (log 2 + log 4) / 2
    [0.6931, 1.0397]
    """
    each = cross_entropy(attacked.primary, targets(labels, attacked.primary))
    inner = cross_entropy(attacked.auxiliary, labels_in)
    return _parts(each, inner, len(labels), alpha)


# --- TRADES ---


def trades_objective(attacked: HeadLogits, natural: HeadLogits, labels_in: Tensor | None = None) -> Tensor:
    """Return what the attack of TRADES maximises: the sum of KL(natural || attacked) on either head.

    Parameters
    ----------
    attacked, natural : HeadLogits
        Of the attacked images and of the natural ones (detached).
    labels_in : int64 Tensor [n_in], optional
        Of the IN images, for the rule with a CIFAR-100 primary set: their cross-entropy instead of the divergence.
    """
    outer = kl_divergence(attacked.primary, natural.primary).sum()
    if labels_in is None:
        return outer + kl_divergence(attacked.auxiliary, natural.auxiliary).sum()
    return outer + cross_entropy(attacked.auxiliary, labels_in).sum()


def trades_loss(
    attacked: HeadLogits,
    natural: HeadLogits,
    labels: Tensor,
    labels_in: Tensor,
    alpha: float,
    beta: float,
    *,
    plain_auxiliary: bool = False,
) -> Parts:
    """Return CE on natural images plus beta times KL(natural || attacked), group by group.

    Parameters
    ----------
    attacked, natural : HeadLogits
        Of the attacked and of the natural images; both receive gradients.
    labels, labels_in : int64 Tensor [n], [n_in]
        Of the primary and of the IN images; OUT images have the uniform target.
    alpha, beta : float
        Weights of the auxiliary loss and of the divergence.
    plain_auxiliary : bool
        IN images have the cross-entropy of their attacked form alone (the rule with a CIFAR-100 primary set).
    """
    each = cross_entropy(natural.primary, targets(labels, natural.primary))
    each = each + beta * kl_divergence(attacked.primary, natural.primary)
    if plain_auxiliary:
        inner = cross_entropy(attacked.auxiliary, labels_in)
    else:
        inner = cross_entropy(natural.auxiliary, labels_in) + beta * kl_divergence(
            attacked.auxiliary, natural.auxiliary
        )
    return _parts(each, inner, len(labels), alpha)


def _parts(each: Tensor, inner: Tensor, primary: int, alpha: float) -> Parts:
    """Return means from the losses of [primary ; OUT] and of IN; without auxiliary images the second part is 0."""
    outer = each[primary:]
    count = len(outer) + len(inner)
    return Parts(each[:primary].mean(), alpha * (outer.sum() + inner.sum()) / max(count, 1))
