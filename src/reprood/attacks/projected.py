"""Projected gradient attacks on images in [0, 1]: FGSM and PGD in the L-infinity and the L2 norm.

Goodfellow et al. (2015) and Madry et al. (2018). Only the gradient of the images is computed: parameters get none, and
a network in evaluation mode keeps its statistics. Results have the images' dtype and memory format. Autocast is
switched off for gradients, so that an attack is the same whatever the precision of the training.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

from reprood.attacks.losses import LOSSES
from reprood.attacks.options import Loss, Norm
from reprood.core.errors import ReproodError

Objective = Callable[[Tensor], Tensor]
Classify = Callable[[Tensor], Tensor]
Start = Literal["none", "uniform", "gaussian"]

GAUSSIAN = 0.001  # standard deviation of TRADES' start


def gradient(objective: Objective, images: Tensor) -> Tensor:
    """Return the gradient of a scalar objective with respect to the images [B, ...].

    It is computed even inside `torch.no_grad`, and never in bf16: near a start like that of TRADES the change of the
    logits is below bf16's resolution, and the sign of the gradient would be random.
    """
    leaf = images.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        (slope,) = torch.autograd.grad(objective(leaf), leaf)
    return slope


def start_noise(images: Tensor, eps: float, norm: Norm, generator: Generator, start: Start = "uniform") -> Tensor:
    """Draw the noise that an attack adds to the images [B, ...] before its first step.

    Parameters
    ----------
    images : Tensor [B, ...]
        In [0, 1].
    eps : float
        Radius of the ball.
    norm : {"linf", "l2"}
        Norm of the ball.
    generator : Generator
        On any device; numbers are drawn there, in the order of a contiguous tensor.
    start : {"none", "uniform", "gaussian"}
        Zero; in the ball, uniform per pixel (linf) or of uniform length in a uniform direction (l2); or
        0.001 N(0, 1) per pixel independently of the ball (TRADES).

    Returns
    -------
    Tensor like `images`
    """
    noise = torch.zeros(images.shape, dtype=images.dtype, device=generator.device)
    if start == "gaussian":
        noise.normal_(std=GAUSSIAN, generator=generator)
    elif start == "uniform" and norm == "linf":
        noise.uniform_(-eps, eps, generator=generator)
    elif start == "uniform":
        noise = _unit(noise.normal_(generator=generator))
        length = torch.rand(len(noise), generator=generator, dtype=noise.dtype, device=noise.device)
        noise = noise * _each(eps * length, noise)
    return torch.empty_like(images).copy_(noise)


def project(images: Tensor, centre: Tensor, eps: float, norm: Norm) -> Tensor:
    """Project images [B, ...] to the ball of radius `eps` around `centre`, then clip them to [0, 1]."""
    if norm == "linf":
        return images.clamp(centre - eps, centre + eps).clamp_(0, 1)
    away = images - centre
    length = away.flatten(1).norm(dim=1).clamp(min=torch.finfo(away.dtype).tiny)
    return (centre + away * _each((eps / length).clamp(max=1), away)).clamp_(0, 1)


def pgd(
    objective: Objective,
    images: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    norm: Norm = "linf",
    noise: Tensor | None = None,
    clip_start: bool = False,
    centre: Tensor | None = None,
) -> Tensor:
    """Maximise an objective within a ball around the images by projected gradient ascent.

    a <- P(a + step * d), d the sign of the gradient (linf) or the gradient divided by each image's length (l2), P the
    projection to the ball and then to [0, 1].

    Parameters
    ----------
    objective : callable
        Images [B, ...] -> scalar; a sum over the images, unless they should depend on each other.
    images : Tensor [B, ...]
        Floats in [0, 1].
    eps, step : float
        Radius of the ball and size of a step, in units of [0, 1] images.
    steps : int
        At least 1.
    norm : {"linf", "l2"}
        Norm of the ball and of the steps.
    noise : Tensor, optional
        Like `images`, added at the start; see `start_noise`.
    clip_start : bool
        Clip the start to [0, 1], as the code of Madry et al. does (TRADES and others do not).
    centre : Tensor, optional
        Centre of the ball, like `images`; default: the images. Hendrycks et al. (2019) use the noised images by
        mistake, so that their result may be 2 eps away.

    Returns
    -------
    Tensor like `images`, in [0, 1] and in the ball

    Raises
    ------
    ReproodError
        If the arguments do not fit together.
    """
    _check(images, eps, noise, centre)
    if steps < 1 or step <= 0:
        raise ReproodError(f"PGD got {steps} steps of size {step:g}; it needs at least one step of a size above 0.")
    middle = images if centre is None else centre
    attacked = images if noise is None else images + noise
    if clip_start:
        attacked = attacked.clamp(0, 1)
    for _ in range(steps):
        attacked = project(attacked + step * _ascent(gradient(objective, attacked), norm), middle, eps, norm)
    return attacked.detach()


def pgd_until_wrong(
    classify: Classify,
    function: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    norm: Norm,
    noise: Tensor,
    clip_start: bool,
) -> Tensor:
    """Run `pgd` up to the first point where an image is misclassified; a start outside [0, 1] does not count.

    The forward pass of a step tells which images are; they leave the batch, which is what this saves. An image whose
    logits are not finite stays, so that its gradient shows it.

    Parameters
    ----------
    classify, images, labels, eps, step, steps, norm, clip_start
        As in `attack_labels`.
    function : callable
        Logits [B, K], labels [B] -> loss of each image [B], to be maximised.
    noise : Tensor
        As in `pgd`.

    Returns
    -------
    Tensor like `images`
    """
    attacked = images + noise
    if clip_start:
        attacked = attacked.clamp(0, 1)
    rows = torch.arange(len(images), device=images.device)
    for number in range(steps):
        leaf, own = attacked[rows].requires_grad_(), labels[rows]
        with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
            logits = classify(leaf)
            (slope,) = torch.autograd.grad(function(logits, own).sum(), leaf)
        if number or clip_start:
            goes_on = (logits.argmax(dim=1) == own) | ~logits.isfinite().all(dim=1)
            rows, leaf, slope = rows[goes_on], leaf[goes_on], slope[goes_on]
        if not len(rows):
            break
        attacked[rows] = project(leaf.detach() + step * _ascent(slope, norm), images[rows], eps, norm)
    return attacked


def fgsm(objective: Objective, images: Tensor, *, eps: float, norm: Norm = "linf") -> Tensor:
    """Return images + eps * sign(gradient), clipped to [0, 1]; arguments as in `pgd`."""
    _check(images, eps, None, None)
    return (images + eps * _ascent(gradient(objective, images), norm)).clamp_(0, 1).detach()


def attack_labels(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    generator: Generator,
    norm: Norm = "linf",
    loss: Loss = "ce",
    start: Start = "uniform",
    restarts: int = 1,
    clip_start: bool = False,
    until_wrong: bool = False,
) -> Tensor:
    """Run PGD against labels, and keep the worst of several restarts for each image.

    Parameters
    ----------
    classify : callable
        Images in [0, 1] -> logits [B, K]; the network in evaluation mode, so that images are independent.
    images : Tensor [B, ...]
        Floats in [0, 1].
    labels : int64 Tensor [B]
        True classes.
    eps, step, steps, norm
        As in `pgd`.
    generator : Generator
        Source of the random starts.
    loss : {"ce", "margin"}
        Loss to maximise; see `reprood.attacks.losses`.
    start : {"none", "uniform", "gaussian"}
        As in `start_noise`.
    restarts : int
        Number of starts. A misclassified image is worse than a correctly classified one; else the higher loss decides.
    clip_start : bool
        As in `pgd`.
    until_wrong : bool
        Leave each image at the first point where it is misclassified; see `pgd_until_wrong`.

    Returns
    -------
    Tensor like `images`
    """
    if restarts < 1 or (restarts > 1 and start == "none"):
        raise ReproodError(
            f"PGD got {restarts} restarts from the start '{start}'; several restarts need a random start."
        )
    function = LOSSES[loss]

    def objective(changed: Tensor) -> Tensor:
        return function(classify(changed), labels).sum()

    def ascend() -> Tensor:
        noise = start_noise(images, eps, norm, generator, start)
        if until_wrong:
            return pgd_until_wrong(
                classify, function, images, labels, eps=eps, step=step, steps=steps, norm=norm, noise=noise,
                clip_start=clip_start,
            )  # fmt: skip
        return pgd(objective, images, eps=eps, step=step, steps=steps, norm=norm, noise=noise, clip_start=clip_start)

    @torch.no_grad()
    def judge(changed: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            logits = classify(changed)
            return logits.argmax(dim=1) != labels, function(logits, labels)

    worst = ascend()
    if restarts == 1:
        return worst
    wrong, height = judge(worst)
    for _ in range(restarts - 1):
        other = ascend()
        other_wrong, other_height = judge(other)
        worse = (other_wrong & ~wrong) | ((other_wrong == wrong) & (other_height > height))
        worst = torch.where(_each(worse, worst), other, worst)
        wrong, height = wrong | other_wrong, torch.where(worse, other_height, height)
    return worst


def _ascent(slope: Tensor, norm: Norm) -> Tensor:
    """Return the direction of steepest ascent; NaN where the gradient is not finite.

    The sign of NaN would be 0, and a broken network would appear to be robust.
    """
    return slope.sign().add_(slope, alpha=0) if norm == "linf" else _unit(slope)


def _unit(values: Tensor) -> Tensor:
    """Divide each image by its L2 norm; zeros remain zeros.

    Divides by the largest entry first: gradients of a confident network are so small that their squares underflow.
    """
    tiny = torch.finfo(values.dtype).tiny
    scaled = values / _each(values.flatten(1).abs().amax(dim=1).clamp(min=tiny), values)
    return scaled / _each(scaled.flatten(1).norm(dim=1).clamp(min=tiny), values)


def _each(values: Tensor, images: Tensor) -> Tensor:
    """Reshape values [B] to [B, 1, ...], for broadcasting with images [B, ...]."""
    return values.view(-1, *[1] * (images.dim() - 1))


def _check(images: Tensor, eps: float, noise: Tensor | None, centre: Tensor | None) -> None:
    if not images.is_floating_point():
        raise ReproodError(f"Attacks take float images in [0, 1], but got {images.dtype}; convert with to_float first.")
    if eps < 0:
        raise ReproodError(f"An attack's radius eps is {eps:g}; it must be at least 0.")
    for name, tensor in (("noise", noise), ("centre", centre)):
        if tensor is not None and (tensor.shape != images.shape or tensor.dtype != images.dtype):
            raise ReproodError(
                f"The {name} of an attack is {tensor.dtype} {tuple(tensor.shape)}; "
                f"it must be like the images, {images.dtype} {tuple(images.shape)}."
            )
