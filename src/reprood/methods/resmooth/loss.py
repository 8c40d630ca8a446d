"""The losses of ReSmooth's code: label smoothing by how far outside the training distribution an image is.

Wang et al. (2022), arXiv 2205.12606, published code. Pure functions of logits, labels and p, the probability that an
augmented image is in-distribution. With e the smoothing of an image that is surely outside (p = 0), a = -log softmax of
the true class and u = -mean over all classes of log softmax:

    weak views     (1 - w) a + w u
    strong views   (1 - e) a + (1 - p) e u
    L = rho * mean over weak views + (1 - rho) * mean over strong views
"""

from typing import Literal

import torch
from torch import Generator, Tensor

Form = Literal["code", "normalised"]
Weighting = Literal["regular", "reverse", "random", "uniform"]


def loss_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and u of each image: logits [B, K], int64 labels [B] to two Tensors [B].

    a = - log softmax of the true class; u = - mean over all classes of log softmax.
    """
    logarithms = logits.log_softmax(1)
    return -logarithms.gather(1, labels.unsqueeze(1)).squeeze(1), -logarithms.mean(1)


def smoothed(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return label smoothing, the same for all images: (1 - e) a + e u, [B].

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> smoothed(logits, labels, 0.1)
    tensor([0.2269])
    """
    own, uniform = loss_terms(logits, labels)
    return (1 - smoothing) * own + smoothing * uniform


def resmoothed(logits: Tensor, labels: Tensor, p_id: Tensor, smoothing: float, form: Form = "code") -> Tensor:
    """Return the loss of each augmented image, smoothed by (1 - p) e.

    Parameters
    ----------
    logits : Tensor [B, K]
        Scores of the classes.
    labels : int64 Tensor [B]
        Class indices.
    p_id : Tensor [B]
        p in [0, 1]: 1 = surely in-distribution. No gradient flows through it.
    smoothing : float
        e in [0, 1).
    form : {"code", "normalised"}
        (1 - e) a + (1 - p) e u, in which a clear ID image is not smoothed but weighs 1 - e; or
        (1 - (1 - p) e) a + (1 - p) e u, whose weights add up to 1. It is not known which of them the paper states.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> logits, labels, p = torch.tensor([[2.0, 0.0]]), torch.tensor([0]), torch.tensor([0.0])
    >>> resmoothed(logits, labels, p, 0.1)  # surely outside: ordinary label smoothing
    tensor([0.2269])
    """
    own, uniform = loss_terms(logits, labels)
    amount = ((1 - p_id) * smoothing).to(own.dtype).detach()
    return ((1 - smoothing) if form == "code" else (1 - amount)) * own + amount * uniform


def weighted_p(p_strong: Tensor, weak: int, weighting: Weighting, generator: Generator) -> Tensor:
    """Return the probabilities p of a whole batch, [B].

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
    """Return the loss of a batch: `share` * (mean of weak views) + (1 - `share`) * (mean of strong views).

    The weights are rho and 1 - rho, not the numbers of images; a part without images counts 0.

    Parameters
    ----------
    logits : Tensor [B, K]
        Of one forward pass: weak views first.
    labels : int64 Tensor [B]
        Class indices.
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
        are treated like strong views.

    Returns
    -------
    total, weak part, strong part : scalar Tensors

    Examples
    --------
    >>> logits, labels, p = torch.zeros(4, 10), torch.arange(4), torch.ones(4)
    >>> parts = objective(logits, labels, p, 2, share=0.5, smoothing=0.0)
    >>> [round(float(part), 4) for part in parts]  # log 10 each
    [2.3026, 2.3026, 2.3026]
    """
    if plain_weak:
        first = smoothed(logits[:weak], labels[:weak], weak_smoothing)
    else:
        first = resmoothed(logits[:weak], labels[:weak], p_id[:weak], smoothing, form)
    second = resmoothed(logits[weak:], labels[weak:], p_id[weak:], smoothing, form)
    parts = [part.mean() if len(part) else part.sum() for part in (first, second)]
    return share * parts[0] + (1 - share) * parts[1], parts[0], parts[1]
