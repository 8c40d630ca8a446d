"""BiaMAT's confidence gate, attack objectives and losses (sections 3.1 to 3.4 of its description; the authors' code).

Auxiliary images are OUT (uniform target on the primary head) or IN (their own label on the auxiliary head). A batch is
[primary ; OUT ; IN]: the primary head answers for the first two groups, the auxiliary head for the last, and how many
rows each group has is read from the shapes. Either auxiliary group may be empty.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from reprood.attacks.losses import cross_entropy, kl_divergence


class Answers(NamedTuple):
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
    """The two terms of a loss, scalars: L_p, and alpha * L_a; the loss is their sum."""

    primary: Tensor
    auxiliary: Tensor


# --- the gate ---


def confidence(logits: Tensor) -> Tensor:
    """Largest softmax probability of each row, float64 [B]."""
    return logits.double().softmax(dim=1).amax(dim=1)


def gate_threshold(primary_logits: Tensor, gamma: float) -> Tensor:
    """The threshold pi = gamma times the mean confidence of one natural primary batch [B, K]: a scalar, float64."""
    return gamma * confidence(primary_logits).mean()


def out_then_in(outside: Tensor) -> tuple[Tensor, int]:
    """The order that puts OUT before IN, each as it was.

    Parameters
    ----------
    outside : bool Tensor [B]
        Which images are OUT.

    Returns
    -------
    order : int64 Tensor [B]
        Rows.
    count : int
        How many are OUT.
    """
    return torch.argsort((~outside).to(torch.uint8), stable=True), int(outside.sum())


# --- adversarial training ---


def targets(labels: Tensor, logits: Tensor) -> Tensor:
    """Target distributions of the primary head, like `logits` [n + n_out, K]: one-hot for n labels, then uniform."""
    classes = logits.shape[1]
    soft = torch.full_like(logits, 1 / classes)
    soft[: len(labels)] = functional.one_hot(labels, classes).to(soft.dtype)
    return soft


def at_objective(found: Answers, labels: Tensor, labels_in: Tensor) -> Tensor:
    """What the attack of adversarial training ascends: the sum of all cross-entropies; alpha has no part in it.

    Parameters
    ----------
    found : Answers
        On the changed images.
    labels : int64 Tensor [n]
        Of the primary images.
    labels_in : int64 Tensor [n_in]
        Of the IN images.
    """
    outer = cross_entropy(found.primary, targets(labels, found.primary)).sum()
    return outer + cross_entropy(found.auxiliary, labels_in).sum()


def at_loss(found: Answers, labels: Tensor, labels_in: Tensor, alpha: float) -> Parts:
    """L_p = mean CE of the primary images; L_a = mean over OUT and IN together of their CE. Arguments as above."""
    each = cross_entropy(found.primary, targets(labels, found.primary))
    inner = cross_entropy(found.auxiliary, labels_in)
    return _parts(each, inner, len(labels), alpha)


# --- TRADES ---


def trades_objective(found: Answers, natural: Answers, labels_in: Tensor | None = None) -> Tensor:
    """What the attack of TRADES ascends: the sum of KL(natural || changed) on either head.

    Parameters
    ----------
    found, natural : Answers
        On the changed images and on the natural ones (detached).
    labels_in : int64 Tensor [n_in], optional
        Of the IN images, for the rule with a CIFAR-100 primary set: their cross-entropy instead of the divergence.
    """
    outer = kl_divergence(found.primary, natural.primary).sum()
    if labels_in is None:
        return outer + kl_divergence(found.auxiliary, natural.auxiliary).sum()
    return outer + cross_entropy(found.auxiliary, labels_in).sum()


def trades_loss(
    found: Answers,
    natural: Answers,
    labels: Tensor,
    labels_in: Tensor,
    alpha: float,
    beta: float,
    *,
    plain_auxiliary: bool = False,
) -> Parts:
    """CE on natural images plus beta times KL(natural || adversarial), group by group.

    Parameters
    ----------
    found, natural : Answers
        On the adversarial and on the natural images; both get gradients.
    labels, labels_in : int64 Tensor [n], [n_in]
        Of the primary and of the IN images; OUT images have the uniform target.
    alpha, beta : float
    plain_auxiliary : bool
        IN images have the cross-entropy of their adversarial form alone (the rule with a CIFAR-100 primary set).
    """
    each = cross_entropy(natural.primary, targets(labels, natural.primary))
    each = each + beta * kl_divergence(found.primary, natural.primary)
    if plain_auxiliary:
        inner = cross_entropy(found.auxiliary, labels_in)
    else:
        inner = cross_entropy(natural.auxiliary, labels_in) + beta * kl_divergence(found.auxiliary, natural.auxiliary)
    return _parts(each, inner, len(labels), alpha)


def _parts(each: Tensor, inner: Tensor, primary: int, alpha: float) -> Parts:
    """Means from the losses of [primary ; OUT] and of IN; without auxiliary images the second part is 0."""
    outer = each[primary:]
    count = len(outer) + len(inner)
    return Parts(each[:primary].mean(), alpha * (outer.sum() + inner.sum()) / max(count, 1))
