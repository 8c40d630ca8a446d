"""The two kinds of training step of DIAS, as in the published code (Moon et al. 2022).

With S_a the cross-entropy smoothed by a (a = 1: uniform target), C the classifier, G the generator, D the discriminator
and P the copycat, whose maps P_1, P_2 and features P_f imitate those of C:

    GAN step       D: -log D(x) - log(1 - D(G(z)));   G: -log D(G(z)) - beta S_1(C(G(z)))
                   C: CE(C(x), y) + beta S_1(C(G(z')))                                          moderate fakes
    copycat step   P: CE(P(x), y) + pull * mean |P_i - C_i|
                   C: CE(C(x), y) + ratio / 3 (S_1/2(C(P_1)) + S_1/2(C(P_2)) + S_1(C(P_f)))     hard, hard, easy fakes

Which set of batch normalisation an image goes through, and which network is in training mode when, is part of the
method: a forward pass in training mode moves the statistics even if its gradients are not used.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.optimizers import Optimizer
from reprood.methods.dias.net import GENERATED, REAL, StagedClassifier

Precise = Callable[[], AbstractContextManager[object]]
FAKES = 3  # one easy, two hard


@dataclass(frozen=True)
class Weights:
    """Weights and smoothings of the losses.

    Attributes
    ----------
    smoothing, fake_smoothing : float
        a of the labels of hard fakes; of moderate and easy ones. 1 is the uniform distribution.
    fake_ratio : float
        Weight of the mean of the losses on the copycat's fakes.
    pull_ratio : float
        Weight of the copycat's distance to the classifier.
    beta : float
        Weight of the loss on generated images, for the generator and for the classifier.
    """

    smoothing: float = 0.5
    fake_smoothing: float = 1.0
    fake_ratio: float = 0.1
    pull_ratio: float = 1.0
    beta: float = 0.1


def at_least_fp32(values: Tensor) -> Tensor:
    """Return bf16 values as float32, for losses; others unchanged."""
    return values.float() if values.dtype == torch.bfloat16 else values


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return S_a: the mean over the batch of the cross-entropy with the target (1 - a) * onehot + a / K.

    Parameters
    ----------
    logits : Tensor [B, K]
        Scores of the classes.
    labels : int64 Tensor [B]
        Class indices.
    smoothing : float
        a in [0, 1]; with 1 the labels have no influence.

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> [round(float(smoothed_cross_entropy(logits, labels, a)), 4) for a in (0.0, 1.0)]
    [0.1269, 1.1269]
    """
    return functional.cross_entropy(at_least_fp32(logits), labels, label_smoothing=smoothing)


def real_loss(log_odds: Tensor, real: bool) -> Tensor:
    """Return the mean binary cross-entropy of a discriminator's log-odds [B], the images being all real or all fake.

    Examples
    --------
    >>> log_odds = torch.tensor([2.0])
    >>> round(float(real_loss(log_odds, real=True)), 4), round(float(real_loss(log_odds, real=False)), 4)
    (0.1269, 2.1269)
    """
    return functional.softplus(-at_least_fp32(log_odds) if real else at_least_fp32(log_odds)).mean()


def update_classifier(
    classifier: StagedClassifier, optimizer: Optimizer, loss: Tensor, rate: float, *, all_norms: bool
) -> None:
    """Compute the gradients of the classifier's loss and update it.

    Parameters
    ----------
    classifier, optimizer, loss, rate
        The network, its optimiser, its loss, and the learning rate.
    all_norms : bool
        Whether the batch normalisation of generated images, which the loss does not use, is still moved by momentum
        and weight decay: its gradient is then zero instead of missing. So it is in the authors' code, written for
        PyTorch 1.2 to 1.7, whose `zero_grad` fills gradients with zeros.
    """
    loss.backward()  # type: ignore[no-untyped-call]
    if all_norms:
        for parameter in classifier.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    optimizer.step(rate)


def plain_step(
    classifier: StagedClassifier,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    rate: float,
    precise: Precise,
    *,
    all_norms: bool = False,
) -> dict[str, Tensor]:
    """Take a step of cross-entropy alone: either kind of step without fakes; see `update_classifier`."""
    classifier.train()
    optimizer.zero_grad()
    with precise():
        loss = smoothed_cross_entropy(classifier(images), labels)
    update_classifier(classifier, optimizer, loss, rate, all_norms=all_norms)
    return {"loss": loss}


@dataclass(frozen=True)
class Adversaries:
    """Generator and discriminator with their optimisers and learning rate."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    rate: float


def gan_step(
    classifier: StagedClassifier,
    optimizer: Optimizer,
    adversaries: Adversaries,
    images: Tensor,
    labels: Tensor,
    noise: tuple[Tensor, Tensor],
    rate: float,
    weights: Weights,
    precise: Precise,
    *,
    learn: bool = True,
) -> dict[str, Tensor]:
    """Take a step of discriminator, generator and classifier: moderate fakes.

    The generator should fool the discriminator and, unlike in other open-set GANs, make images of which the classifier
    is sure: it maximises the loss that the classifier then minimises on new images.

    Parameters
    ----------
    classifier : StagedClassifier
        The network that is kept.
    optimizer : Optimizer
        Of the classifier.
    adversaries : Adversaries
        Generator and discriminator, with their optimisers.
    images : Tensor [B, C, H, W]
        In [0, 1].
    labels : int64 Tensor [B]
        Class indices.
    noise : (Tensor, Tensor) [B, n, 1, 1]
        For the first two updates, and for the classifier's.
    rate : float
        Learning rate of the classifier.
    weights : Weights
        Weights and smoothings of the losses.
    precise : callable
        Context of the forward passes; entered again after each update, because autocast keeps copies of weights.
    learn : bool
        False: the classifier only judges fakes; it learns from images alone, and sees generated ones in evaluation
        mode, normalised like real ones.

    Returns
    -------
    dict of scalar Tensor
        loss (the classifier's), discriminator_real, discriminator_fake, generator_adversarial, generator_uniform,
        gan_cross_entropy, moderate (the classifier on generated images; not with `learn` False).
    """
    generator, discriminator = adversaries.generator, adversaries.discriminator
    norms = GENERATED if learn else REAL
    generator.train()
    discriminator.train()
    adversaries.discriminator_optimizer.zero_grad()
    with precise():
        fakes = generator(noise[0])
        real, fake = real_loss(discriminator(images), True), real_loss(discriminator(fakes.detach()), False)
    (real + fake).backward()  # type: ignore[no-untyped-call]
    adversaries.discriminator_optimizer.step(adversaries.rate)

    classifier.train(learn)
    adversaries.generator_optimizer.zero_grad()
    with precise():
        fooled = real_loss(discriminator(fakes), True)
        uniform = smoothed_cross_entropy(classifier(fakes, norms), labels, weights.fake_smoothing)
    generator_loss = fooled - weights.beta * uniform
    generator_loss.backward(inputs=list(generator.parameters()))  # type: ignore[no-untyped-call]
    adversaries.generator_optimizer.step(adversaries.rate)

    losses = {
        "discriminator_real": real, "discriminator_fake": fake, "generator_adversarial": fooled,
        "generator_uniform": uniform,
    }  # fmt: skip
    if not learn:
        plain = plain_step(classifier, optimizer, images, labels, rate, precise)
        return {**plain, **losses, "gan_cross_entropy": plain["loss"]}
    optimizer.zero_grad()
    with torch.no_grad(), precise():
        again = generator(noise[1])
    with precise():
        own = smoothed_cross_entropy(classifier(images), labels)
        moderate = smoothed_cross_entropy(classifier(again, GENERATED), labels, weights.fake_smoothing)
        loss = own + weights.beta * moderate
    update_classifier(classifier, optimizer, loss, rate, all_norms=False)  # both sets have a gradient here
    return {"loss": loss, **losses, "gan_cross_entropy": own, "moderate": moderate}


def copycat_step(
    classifier: StagedClassifier,
    optimizer: Optimizer,
    copycat: StagedClassifier,
    copycat_optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    rate: float,
    weights: Weights,
    precise: Precise,
    *,
    easy: bool = True,
    hard: bool = True,
    learn: bool = True,
    all_norms: bool = False,
) -> dict[str, Tensor]:
    """Take a step of the copycat, which imitates the classifier's maps, then one of the classifier on its fakes.

    If one of the kinds of fakes is left out, the other keeps its weight.

    Parameters
    ----------
    classifier : StagedClassifier
        The network that is kept.
    optimizer : Optimizer
        Of the classifier.
    copycat : StagedClassifier
        Of the classifier's architecture.
    copycat_optimizer : Optimizer
        Of the copycat.
    images : Tensor [B, C, H, W]
        In [0, 1].
    labels : int64 Tensor [B]
        Class indices.
    rate : float
        Learning rate of both networks.
    weights : Weights
        Weights and smoothings of the losses.
    precise : callable
        As in `gan_step`.
    easy, hard : bool
        Which fakes the classifier learns from: the copycat's features; its maps of the first and the second stage.
    learn : bool
        False: from none.
    all_norms : bool
        As in `update_classifier`; True once the classifier has learnt from generated images.

    Returns
    -------
    dict of scalar Tensor
        loss (the classifier's), copycat_cross_entropy, copycat_pull, cross_entropy, easy, hard_first, hard_second.
    """
    copycat.train()
    classifier.eval()
    with torch.no_grad(), precise():
        goals = classifier.outputs(images)[:2]
    copycat_optimizer.zero_grad()
    with precise():
        *maps, features = copycat.outputs(images)
        imitated = smoothed_cross_entropy(copycat.head(features), labels)
        gaps = [
            functional.l1_loss(at_least_fp32(own), at_least_fp32(goal)) for own, goal in zip(maps, goals, strict=True)
        ]
        pull = (gaps[0] + gaps[1]) / 2
    (imitated + weights.pull_ratio * pull).backward()  # type: ignore[no-untyped-call]
    copycat_optimizer.step(rate)
    losses = {"copycat_cross_entropy": imitated, "copycat_pull": pull}
    if not learn:
        plain = plain_step(classifier, optimizer, images, labels, rate, precise)
        return {**plain, **losses, "cross_entropy": plain["loss"]}

    copycat.eval()
    classifier.train()
    with torch.no_grad(), precise():
        first, second, features = copycat.outputs(images)
    optimizer.zero_grad()
    with precise():
        own = smoothed_cross_entropy(classifier(images), labels)
        fakes = {}
        if hard:
            fakes["hard_first"] = smoothed_cross_entropy(classifier.logits_from(first, 1), labels, weights.smoothing)
            fakes["hard_second"] = smoothed_cross_entropy(classifier.logits_from(second, 2), labels, weights.smoothing)
        if easy:
            fakes["easy"] = smoothed_cross_entropy(classifier.head(features), labels, weights.fake_smoothing)
        loss = own + weights.fake_ratio * torch.stack(list(fakes.values())).sum() / FAKES
    update_classifier(classifier, optimizer, loss, rate, all_norms=all_norms)
    return {"loss": loss, **losses, "cross_entropy": own, **fakes}
