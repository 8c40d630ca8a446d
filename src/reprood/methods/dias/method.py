"""DIAS: a difficulty-aware simulator of unknown classes for open-set recognition.

W. Moon, J. Park, H. S. Seong, C.-H. Cho, J.-P. Heo: Difficulty-Aware Simulator for Open Set Recognition, ECCV 2022,
arXiv 2207.10024. The classifier learns from three kinds of fakes: hard ones, the maps of a "copycat" that imitates it,
with half-smoothed labels of their source; moderate ones, images of a generator that seeks images of which the
classifier is sure, with uniform labels; easy ones, the copycat's features, with uniform labels. The losses are in
`step`. The score for known images is the maximum softmax probability (the detector `msp`).

Only the abstract of the paper was available: the algorithm and its values are those of the published code. Departures
from it: the code's alternative with Adam for classifier and copycat is left out; the copycat has one more set of batch
normalisation there, which is never used; for images that are not of 32 pixels the GAN has other depths
(`reprood.methods.dias.dcgan`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

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
from reprood.methods.base import History, Method, Paper
from reprood.methods.dias.dcgan import Discriminator, Generator
from reprood.methods.dias.game import Player, Turn, alternate
from reprood.methods.dias.net import Dias, Networks, StagedClassifier
from reprood.methods.dias.step import Adversaries, Weights, copycat_step, gan_step, plain_step

Level = Literal["easy", "moderate", "hard"]


class Config(BaseModel):
    """Settings; the defaults are the code's.

    Attributes
    ----------
    training : Training
        Of the classifier and of the copycat. An epoch is two passes over the images: one with the generator, one with
        the copycat; the classifier learns in both. The code's rate drops at epochs 60, 120, 180 and 240 whatever the
        length, here at shares of the length, which are the same for its 200 epochs.
    levels : tuple of {"easy", "moderate", "hard"}
        Fakes that the classifier learns from. A network that makes none of them is not trained. Without any:
        cross-entropy with as many steps on the same images in the same order.
    smoothing : float
        Of the labels of hard fakes.
    fake_smoothing : float
        Of the labels of moderate and easy fakes; 1 = uniform.
    fake_ratio, pull_ratio, beta : float
        Weights: of the copycat's fakes; of the copycat's distance to the classifier; of generated images.
    gan_rate, gan_betas : float, (float, float)
        Adam of generator and discriminator.
    gan_width, noise : int
        Channels of the discriminator's first maps and of the generator's last; length of the noise.
    learn : bool
        False: all fakes of `levels` are generated and the classifier learns from none of them, to measure how hard they
        are for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=200, batch_size=64, lr=0.1, weight_decay=1e-4, milestones=(0.3, 0.6, 0.9))
    levels: tuple[Level, ...] = ("easy", "moderate", "hard")
    smoothing: float = Field(default=0.5, ge=0, le=1)
    fake_smoothing: float = Field(default=1.0, ge=0, le=1)
    fake_ratio: float = Field(default=0.1, ge=0)
    pull_ratio: float = Field(default=1.0, ge=0)
    beta: float = Field(default=0.1, ge=0)
    gan_rate: float = Field(default=2e-4, gt=0)
    gan_betas: tuple[float, float] = (0.5, 0.999)
    gan_width: int = Field(default=128, ge=1)
    noise: int = Field(default=100, ge=1)
    learn: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels must not name a level twice")
        if any(not 0 <= beta < 1 for beta in self.gan_betas):
            raise ValueError("gan_betas must lie in [0, 1)")
        if self.training.ema is not None or self.training.clip_norm is not None:
            raise ValueError("several networks are trained in turns; leave training.ema and training.clip_norm out")
        return self

    @property
    def copies(self) -> bool:
        """Whether there is a copycat."""
        return "easy" in self.levels or "hard" in self.levels

    @property
    def generates(self) -> bool:
        """Whether there is a generator."""
        return "moderate" in self.levels

    @property
    def weights(self) -> Weights:
        """Weights and smoothings of the losses."""
        return Weights(self.smoothing, self.fake_smoothing, self.fake_ratio, self.pull_ratio, self.beta)


def build(config: Config, backbone: nn.Module, classes: int) -> Dias:
    """Return the untrained classifier."""
    return Dias(StagedClassifier(backbone, classes))


def initial_networks(problem: Problem, config: Config, run: Run) -> Networks:
    """Return all networks before training; each has its own random stream."""
    with seeded(run.seed("initialisation")):
        classifier = StagedClassifier(problem.backbone(), problem.classes)
    networks = Networks(classifier)
    if config.copies:
        with seeded(run.seed("copycat initialisation")):
            networks = replace(networks, copycat=StagedClassifier(problem.backbone(), problem.classes))
    if config.generates:
        with seeded(run.seed("gan initialisation")):
            generator = Generator(config.noise, problem.channels, problem.size, config.gan_width)
            discriminator = Discriminator(problem.channels, problem.size, config.gan_width)
        networks = replace(networks, generator=generator, discriminator=discriminator)
    return networks


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train all networks in turns; only the classifier is kept."""
    model, _, rows = train_networks(problem, config, run)
    return model, rows


def train_networks(problem: Problem, config: Config, run: Run) -> tuple[Dias, Networks, History]:
    """Return the model, all networks it was trained with, and the history (see `reprood.methods.dias.game`)."""
    networks = initial_networks(problem, config, run)
    model = Dias(networks.classifier, torch.tensor(problem.mean), torch.tensor(problem.std))
    players = {"classifier": Player(networks.classifier, build_optimizer(networks.classifier, config.training))}
    if networks.copycat is not None:
        players["copycat"] = Player(networks.copycat, build_optimizer(networks.copycat, config.training))
    for name, network in (("generator", networks.generator), ("discriminator", networks.discriminator)):
        if network is not None:
            players[name] = Player(network, Adam(network.parameters(), config.gan_betas))
    model.to(run.device)
    plain = replace(problem, mean=(0.0,) * problem.channels, std=(1.0,) * problem.channels)
    passes = {
        "gan": _gan_turn(networks, players, config, run),
        "copycat": _copycat_turn(networks, players, config, run),
    }
    rows = alternate(
        players,
        passes,
        model,
        problem.train,
        config.training,
        run,
        problem=problem,
        inputs=make_inputs(plain, config.training, run),
    )
    return model.eval(), networks, rows


def _plain_turn(networks: Networks, players: dict[str, Player], config: Config, run: Run) -> Turn:
    optimizer, all_norms = players["classifier"].optimizer, _learns_from_generated(config)

    def turn(batch: Batch, rate: float) -> dict[str, Tensor]:
        return plain_step(
            networks.classifier, optimizer, batch.images, batch.labels, rate, _precise(run), all_norms=all_norms
        )

    return turn


def _gan_turn(networks: Networks, players: dict[str, Player], config: Config, run: Run) -> Turn:
    if networks.generator is None or networks.discriminator is None:
        return _plain_turn(networks, players, config, run)
    optimizer, weights = players["classifier"].optimizer, config.weights
    adversaries = Adversaries(
        networks.generator,
        networks.discriminator,
        players["generator"].optimizer,
        players["discriminator"].optimizer,
        config.gan_rate,
    )

    def turn(batch: Batch, rate: float) -> dict[str, Tensor]:
        drawn = torch.randn(2, len(batch.images), config.noise, 1, 1, generator=batch.generator)
        first, second = drawn.to(run.device, non_blocking=True)
        return gan_step(
            networks.classifier, optimizer, adversaries, batch.images, batch.labels, (first, second), rate, weights,
            _precise(run), learn=config.learn,
        )  # fmt: skip

    return turn


def _copycat_turn(networks: Networks, players: dict[str, Player], config: Config, run: Run) -> Turn:
    if networks.copycat is None:
        return _plain_turn(networks, players, config, run)
    copycat, weights = networks.copycat, config.weights

    def turn(batch: Batch, rate: float) -> dict[str, Tensor]:
        return copycat_step(
            networks.classifier, players["classifier"].optimizer, copycat, players["copycat"].optimizer, batch.images,
            batch.labels, rate, weights, _precise(run), easy="easy" in config.levels, hard="hard" in config.levels,
            learn=config.learn, all_norms=_learns_from_generated(config),
        )  # fmt: skip

    return turn


def _learns_from_generated(config: Config) -> bool:
    """Return whether the batch normalisation of generated images is trained (in the pass with the generator)."""
    return config.generates and config.learn


def _precise(run: Run) -> Callable[[], Any]:
    return lambda: autocast(run.precision, run.device)


METHOD = Method(
    name="dias",
    paper=Paper(
        title="Difficulty-Aware Simulator for Open Set Recognition",
        url="https://arxiv.org/abs/2207.10024",
        id="dias",
    ),
    config=Config,
    build=build,
    train=train,
)
