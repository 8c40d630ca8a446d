"""The losses of ReSmooth's code: label smoothing by how far outside the training distribution an image is.

Wang et al. (2022), arXiv 2205.12606, published code. Pure functions of logits, labels and p, the probability that an
augmented image is in-distribution. Below, e is the smoothing of an image that is surely outside (p = 0).
"""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

Form = Literal["code", "normalised"]
Weighting = Literal["regular", "reverse", "random", "uniform"]


def loss_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of a smoothed loss for each image: logits [B, K], int64 labels [B] to two Tensors [B].

    a = - log softmax of the true class; u = - mean over all classes of log softmax.
    """
    logarithms = logits.log_softmax(1)
    return -logarithms.gather(1, labels.unsqueeze(1)).squeeze(1), -logarithms.mean(1)


def smoothed(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Label smoothing, the same for all images: (1 - e) a + e u, [B]."""
    own, uniform = loss_terms(logits, labels)
    return (1 - smoothing) * own + smoothing * uniform


def resmoothed(logits: Tensor, labels: Tensor, p_id: Tensor, smoothing: float, form: Form = "code") -> Tensor:
    """The loss of each augmented image, smoothed by (1 - p) e.

    Parameters
    ----------
    logits : Tensor [B, K]
    labels : int64 Tensor [B]
    p_id : Tensor [B]
        p in [0, 1]: 1 = surely in-distribution. No gradient flows through it.
    smoothing : float
        e in [0, 1).
    form : {"code", "normalised"}
        (1 - e) a + (1 - p) e u, in which a clear ID image is not smoothed but weighs 1 - e; or
        (1 - (1 - p) e) a + (1 - p) e u, whose weights add up to 1. Which of them the paper states is not known.

    Returns
    -------
    Tensor [B]
    """
    own, uniform = loss_terms(logits, labels)
    amount = ((1 - p_id) * smoothing).to(own.dtype).detach()
    return ((1 - smoothing) if form == "code" else (1 - amount)) * own + amount * uniform


def weighted_p(p_strong: Tensor, weak: int, weighting: Weighting, generator: Generator) -> Tensor:
    """The probabilities p of a whole batch, [B].

    Parameters
    ----------
    p_strong : Tensor [B - weak]
        Posterior of the strong views.
    weak : int
        Number of weak views, which come first and have p = 1.
    weighting : {"regular", "reverse", "random", "uniform"}
        Ablations: 1 - p; p permuted within the batch; p ~ U(0, 1).
    generator : Generator
        On the CPU.
    """
    p = torch.cat((p_strong.new_ones(weak), p_strong))
    if weighting == "reverse":
        return 1 - p
    if weighting == "random":
        return p[torch.randperm(len(p), generator=generator).to(p.device, non_blocking=True)]
    if weighting == "uniform":
        return torch.rand(len(p), generator=generator, dtype=p.dtype).to(p.device, non_blocking=True)
    return p


def objective(
    logits: Tensor,
    labels: Tensor,
    p_id: Tensor,
    weak: int,
    *,
    share: float,
    smoothing: float,
    weak_smoothing: float = 0.0,
    form: Form = "code",
    plain_weak: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch: `share` * (mean of weak views) + (1 - `share`) * (mean of strong views).

    The weights are rho and 1 - rho, not the numbers of images; a part without images counts 0.

    Parameters
    ----------
    logits : Tensor [B, K]
        Of one forward pass: weak views first.
    labels : int64 Tensor [B]
    p_id : Tensor [B]
        From `weighted_p`; 0 for strong views without a mixture, which then have ordinary label smoothing.
    weak : int
        Number of weak views.
    share : float
        rho in [0, 1].
    smoothing, weak_smoothing : float
        e of strong and of weak views.
    form : {"code", "normalised"}
        As in `resmoothed`.
    plain_weak : bool
        Weak views have ordinary label smoothing by `weak_smoothing`. False, in the ablations of the weighting: they
        are treated as strong views are.

    Returns
    -------
    total, weak part, strong part : scalar Tensors
    """
    if plain_weak:
        first = smoothed(logits[:weak], labels[:weak], weak_smoothing)
    else:
        first = resmoothed(logits[:weak], labels[:weak], p_id[:weak], smoothing, form)
    second = resmoothed(logits[weak:], labels[weak:], p_id[weak:], smoothing, form)
    parts = [part.mean() if len(part) else part.sum() for part in (first, second)]
    return share * parts[0] + (1 - share) * parts[1], parts[0], parts[1]


def distillation_terms(
    student: Tensor, teacher: Tensor, labels: Tensor, top: int | None = None, temperature: float = 5.0
) -> tuple[Tensor, Tensor]:
    """The two terms of the code's distillation baseline for each strong view.

    Parameters
    ----------
    student, teacher : Tensor [B, K]
        Logits; the teacher's are not differentiated.
    labels : int64 Tensor [B]
    top : int or None
        Compare the distributions on the teacher's `top` likeliest classes alone, renormalised; None: on all.
    temperature : float
        T. As in the code, the cross-entropy too is that of logits / T.

    Returns
    -------
    ce, kl : Tensor [B]
        Cross-entropy; T^2 * KL(student || teacher), the code's direction.
    """
    cross_entropy = functional.cross_entropy(student / temperature, labels, reduction="none")
    teacher = teacher.detach()
    if top is not None:
        chosen = teacher.topk(min(top, teacher.shape[1]), dim=1).indices
        student, teacher = student.gather(1, chosen), teacher.gather(1, chosen)
    p, q = (student / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    return cross_entropy, temperature**2 * (p.exp() * (p - q)).sum(1)


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    weight: float = 0.5,
    top: int | None = None,
    temperature: float = 5.0,
) -> Tensor:
    """Mean of CE + `weight` * T^2 * KL, with the terms and parameters of `distillation_terms`."""
    cross_entropy, divergence = distillation_terms(student, teacher, labels, top, temperature)
    return (cross_entropy + weight * divergence).mean()
