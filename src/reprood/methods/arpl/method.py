"""ARPL and ARPL+CS: rivals of DIAS in open-set recognition.

G. Chen, P. Peng, X. Wang, Y. Tian: Adversarial Reciprocal Points Learning for Open Set Recognition, TPAMI 2021, arXiv
2103.00953, in the form of the authors' code (iCGY96/ARPL). Every class has a point that stands for all that is not of
the class; an image is of the class whose point is furthest, and a margin bounds how far known images may be
(`loss`). With confusing samples ("+CS") each epoch begins with a pass in which a GAN makes images that the classifier
should find equally likely in all classes. The score is the largest logit (the detector `maxlogit`).

Departures from the code: the GAN is that of DIAS' code, which is built on this one (`reprood.methods.dias.dcgan`);
Adam, which the code uses for Tiny ImageNet, is left out.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.device import autocast
from reprood.engine.optimizers import Adam, build_optimizer
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.arpl.loss import arpl_loss, confusion_loss
from reprood.methods.arpl.net import GENERATED, REAL, Arpl, PointClassifier
from reprood.methods.base import History, Method, Paper
from reprood.methods.dias.dcgan import Discriminator, Generator
from reprood.methods.dias.game import Player, Turn, alternate
from reprood.methods.dias.step import at_least_fp32, real_loss

Precise = Callable[[], AbstractContextManager[object]]


class Config(BaseModel):
    """Settings; the defaults are the code's for images of 32 pixels.

    Attributes
    ----------
    training : Training
        Of the classifier. With confusing samples an epoch is two passes over the images.
    confusing : bool
        ARPL+CS.
    weight : float
        Of the margin.
    temperature : float
        Of the cross-entropy.
    beta : float
        Weight of generated images, for the generator and for the classifier.
    gan_rate, gan_betas : float, (float, float)
        Adam of generator and discriminator.
    gan_width, noise : int
        Channels of the discriminator's first maps and of the generator's last; length of the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=100, batch_size=64, lr=0.1, weight_decay=1e-4, milestones=(0.3, 0.6, 0.9))
    confusing: bool = False
    weight: float = Field(default=0.1, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.1, ge=0)
    gan_rate: float = Field(default=2e-4, gt=0)
    gan_betas: tuple[float, float] = (0.5, 0.999)
    gan_width: int = Field(default=64, ge=1)
    noise: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if any(not 0 <= beta < 1 for beta in self.gan_betas):
            raise ValueError("gan_betas must lie in [0, 1)")
        if self.training.ema is not None or self.training.clip_norm is not None:
            raise ValueError("several networks are trained in turns; leave training.ema and training.clip_norm out")
        return self


def build(config: Config, backbone: nn.Module, classes: int) -> Arpl:
    """Return the untrained classifier."""
    return Arpl(PointClassifier(backbone, classes, two_norms=config.confusing))


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train the classifier, with confusing samples in turns with generator and discriminator; only it is kept."""
    with seeded(run.seed("initialisation")):
        classifier = PointClassifier(problem.backbone(), problem.classes, two_norms=config.confusing)
    model = Arpl(classifier, torch.tensor(problem.mean), torch.tensor(problem.std)).to(run.device)
    players = {"classifier": Player(classifier, build_optimizer(classifier, config.training))}
    passes: dict[str, Turn] = {}
    if config.confusing:
        with seeded(run.seed("gan initialisation")):
            generator = Generator(config.noise, problem.channels, problem.size, config.gan_width)
            discriminator = Discriminator(problem.channels, problem.size, config.gan_width)
        players["generator"] = Player(generator, Adam(generator.parameters(), config.gan_betas))
        players["discriminator"] = Player(discriminator, Adam(discriminator.parameters(), config.gan_betas))
        passes["confusing"] = _confusing_turn(players, config, run)
    passes["plain"] = _plain_turn(players["classifier"], config, run)
    untouched = replace(problem, mean=(0.0,) * problem.channels, std=(1.0,) * problem.channels)
    rows = alternate(
        players,
        passes,
        model,
        problem.train,
        config.training,
        run,
        problem=problem,
        inputs=make_inputs(untouched, config.training, run),
    )
    return model.eval(), rows


def _known_loss(classifier: PointClassifier, batch: Batch, config: Config) -> Tensor:
    features = at_least_fp32(classifier.features(batch.images, REAL))
    return arpl_loss(
        features,
        batch.labels,
        classifier.points,
        classifier.radius,
        weight=config.weight,
        temperature=config.temperature,
    )


def _update(player: Player, loss: Tensor, rate: float) -> None:
    """Take a step; parameters that the loss does not use have a gradient of zero, as in the code's PyTorch."""
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in player.model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    player.optimizer.step(rate)


def _precise(run: Run) -> Precise:
    return lambda: autocast(run.precision, run.device)


def _plain_turn(player: Player, config: Config, run: Run) -> Turn:
    classifier, precise = player.model, _precise(run)
    assert isinstance(classifier, PointClassifier)

    def turn(batch: Batch, rate: float) -> dict[str, Tensor]:
        classifier.train()
        player.optimizer.zero_grad()
        with precise():
            loss = _known_loss(classifier, batch, config)
        _update(player, loss, rate)
        return {"loss": loss}

    return turn


def _confusing_turn(players: dict[str, Player], config: Config, run: Run) -> Turn:
    """Return a step of discriminator, generator and classifier, in this order."""
    player, precise = players["classifier"], _precise(run)
    classifier, generator, discriminator = (
        players[name].model for name in ("classifier", "generator", "discriminator")
    )
    assert isinstance(classifier, PointClassifier)

    def confusion(images: Tensor) -> Tensor:
        return confusion_loss(at_least_fp32(classifier.features(images, GENERATED)), classifier.points)

    def turn(batch: Batch, rate: float) -> dict[str, Tensor]:
        drawn = torch.randn(2, len(batch.images), config.noise, 1, 1, generator=batch.generator)
        first, second = drawn.to(run.device, non_blocking=True)
        for network in (classifier, generator, discriminator):
            network.train()
        players["discriminator"].optimizer.zero_grad()
        with precise():
            fakes = generator(first)
            judged = real_loss(discriminator(batch.images), True) + real_loss(discriminator(fakes.detach()), False)
        judged.backward()  # type: ignore[no-untyped-call]
        players["discriminator"].optimizer.step(config.gan_rate)

        players["generator"].optimizer.zero_grad()
        with precise():
            fooled = real_loss(discriminator(fakes), True)
            unsure = confusion(fakes)
        made = fooled + config.beta * unsure
        made.backward(inputs=list(generator.parameters()))  # type: ignore[no-untyped-call]
        players["generator"].optimizer.step(config.gan_rate)

        player.optimizer.zero_grad()
        with torch.no_grad(), precise():
            again = generator(second)
        with precise():
            own = _known_loss(classifier, batch, config)
            confused = confusion(again)
            loss = own + config.beta * confused
        _update(player, loss, rate)
        return {
            "loss": loss, "discriminator": judged, "generator_adversarial": fooled, "generator_confusion": unsure,
            "known": own, "confusion": confused,
        }  # fmt: skip

    return turn


METHOD = Method(
    name="arpl",
    paper=Paper(
        title="Adversarial Reciprocal Points Learning for Open Set Recognition", url="https://arxiv.org/abs/2103.00953"
    ),
    config=Config,
    build=build,
    train=train,
)
