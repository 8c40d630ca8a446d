"""Audit of single training steps in bf16: an attack, adversarial training, TRADES, a GAN, HSIC, a contrastive loss.

Used by `precision.py`. Each step is carried out twice from the same weights on the same batch and draws, in fp32 and
with the network under bf16 autocast as in a training. Compared are its losses, the direction of its gradient (of its
update, for the GAN's networks), and the attacked pixels, which must be equal.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from reprood.attacks.losses import cross_entropy
from reprood.attacks.projected import pgd, start_noise
from reprood.engine.device import Precision, autocast
from reprood.engine.optimizers import SGD, Adam
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.seeds import seeded
from reprood.images.augment import normalise
from reprood.methods.biamat.loss import Parts
from reprood.methods.biamat.net import RobustNet, TwoHeads
from reprood.methods.biamat.step import Ascent, at_step, trades_step
from reprood.methods.csi.loss import nt_xent
from reprood.methods.dias.dcgan import Discriminator, Generator
from reprood.methods.dias.net import StagedClassifier
from reprood.methods.dias.step import Adversaries, Weights, gan_step
from reprood.methods.hood import penalty
from reprood.nets import staged
from reprood.nets.classifier import Classifier

BATCH = 64
ASCENT = Ascent(8 / 255, 2 / 255, 10)
WARM = 30  # steps of the GAN before the comparison
NOISE = 16


@dataclass(frozen=True)
class Result:
    """What a step computed.

    Attributes
    ----------
    losses : list of float
    direction : Tensor or None
        Gradient of the parameters, or their update, in one vector.
    attacked : Tensor or None
        Attacked images.
    """

    losses: list[float]
    direction: Tensor | None = None
    attacked: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """A step and its tolerances.

    Attributes
    ----------
    name : str
    run : callable
        (batch number, precision) -> Result.
    loss : float
        Largest relative difference of a loss.
    cosine : float
        Least cosine of the two directions.
    """

    name: str
    run: Callable[[int, Precision], Result]
    loss: float
    cosine: float


@dataclass(frozen=True)
class Row:
    """The worst of several batches: relative difference of losses, cosine of directions, share of equal pixels."""

    step: str
    loss: float
    cosine: float | None
    pixels: float | None
    within: bool


def flat(values: Iterator[Tensor] | list[Tensor]) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in values])


def gradients(model: nn.Module, loss: Tensor) -> Tensor:
    """Return the gradient of a loss with respect to all parameters that it depends on."""
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    return flat([torch.zeros_like(p) if s is None else s for p, s in zip(parameters, slopes, strict=True)])


class Audit:
    """The steps on the batches of one training set, from the weights of one trained classifier."""

    def __init__(self, problem: Problem, trained: nn.Module) -> None:
        assert isinstance(trained, Classifier)
        self.problem, self.trained, self.device = problem, trained, problem.train.images.device
        self.game = self._warm_gan()

    def batch(self, number: int, size: int = BATCH) -> ImageSet:
        """Return the images of a batch; rows start over at the end of the training set."""
        rows = torch.arange(number * size, (number + 1) * size, device=self.device) % len(self.problem.train)
        return ImageSet(self.problem.train.images[rows], self.problem.train.labels[rows])

    def pixels(self, data: ImageSet) -> Tensor:
        """Return images in [0, 1]."""
        return data.images.float() / 255

    def normalised(self, data: ImageSet) -> Tensor:
        """Return images normalised as for the classifier."""
        return normalise(data.images, self.problem.mean, self.problem.std)

    def generator(self, number: int) -> torch.Generator:
        """Return the source of a batch's draws."""
        return torch.Generator().manual_seed(number)

    def robust(self) -> TwoHeads:
        """Return the trained classifier as BiaMAT's network, without an auxiliary head."""
        model = RobustNet(copy.deepcopy(self.trained.backbone), self.problem.classes, "channels").to(self.device)
        model.head.load_state_dict(self.trained.head.state_dict())
        for buffer, values in ((model.mean, self.problem.mean), (model.std, self.problem.std)):
            buffer.copy_(torch.tensor(values).view_as(buffer))
        return TwoHeads(model, 0).to(self.device).train()

    # --- the steps

    def attack(self, number: int, precision: Precision) -> Result:
        """Run PGD on the cross-entropy where autocast is on, as in the loss of a training."""
        data, model = self.batch(number), self.robust().eval()
        images = self.pixels(data)
        noise = start_noise(images, ASCENT.eps, "linf", self.generator(number))

        def objective(changed: Tensor) -> Tensor:
            return cross_entropy(model.primary.pixel_logits(changed), data.labels).sum()

        with autocast(precision, self.device):
            attacked = pgd(objective, images, **ASCENT._asdict(), noise=noise)
        with torch.no_grad():
            return Result([float(objective(attacked))], attacked=attacked)

    def adversarial(self, number: int, precision: Precision, *, trades: bool) -> Result:
        """Take a step of BiaMAT's adversarial training or TRADES on primary images alone."""
        data, model = self.batch(number), self.robust()
        images, none = self.pixels(data), torch.zeros(0, dtype=torch.int64, device=self.device)
        start = "gaussian" if trades else "uniform"
        noise = start_noise(images, ASCENT.eps, "linf", self.generator(number), start)
        with autocast(precision, self.device):
            step = trades_step if trades else at_step
            parts: Parts = step(model, images, data.labels, none, noise, 1.0, ASCENT)
        return Result([float(parts.primary.detach())], gradients(model, parts.primary))

    def gan(self, number: int, precision: Precision) -> Result:
        """Take one step of DIAS' discriminator, generator and classifier."""
        nets, players = copy.deepcopy(self.game)
        classifier, optimizer, adversaries = players
        data, drawn = self.batch(number), torch.randn(2, BATCH, NOISE, 1, 1, generator=self.generator(number))
        first, second = drawn.to(self.device)
        before = [flat(net.parameters()) for net in nets]
        losses = gan_step(
            classifier, optimizer, adversaries, self.pixels(data), data.labels, (first, second), 0.05, Weights(),
            lambda: autocast(precision, self.device),
        )  # fmt: skip
        updates = [flat(net.parameters()) - old for net, old in zip(nets, before, strict=True)]
        direction = torch.cat([update / update.norm() for update in updates])  # each network counts the same
        return Result([float(loss.detach()) for loss in losses.values()], direction)

    def hsic(self, number: int, precision: Precision) -> Result:
        """Compute HOOD's penalty of ID images and twice as many others, on features of unit standard deviation."""
        model = copy.deepcopy(self.trained).train()
        images = self.normalised(self.batch(number, 3 * BATCH))
        with autocast(precision, self.device):
            features = model.features(images)
        scaled = features.float() / features.detach().float().std()
        value = penalty(scaled[:BATCH], scaled[BATCH:], 5.0, float(BATCH**2))
        return Result([float(value.detach())], gradients(model, value))

    def contrastive(self, number: int, precision: Precision) -> Result:
        """Compute NT-Xent of the features of images and of their mirror images, at CSI's temperature."""
        model = copy.deepcopy(self.trained).train()
        images = self.normalised(self.batch(number))
        with autocast(precision, self.device):
            value = nt_xent(model.features(torch.cat([images, images.flip(-1)])), 0.5)
        return Result([float(value.detach())], gradients(model, value))

    def _warm_gan(self) -> tuple[list[nn.Module], tuple[StagedClassifier, SGD, Adversaries]]:
        """Return DIAS' networks and their optimisers after some steps in fp32."""
        channels, size = self.problem.channels, self.problem.size
        with seeded(0):
            classifier = StagedClassifier(staged.build(channels, width=8, stem_stride=2), self.problem.classes)
            generator = Generator(NOISE, channels, size, 8)
            discriminator = Discriminator(channels, size, 8)
        nets: list[nn.Module] = [net.to(self.device) for net in (classifier, generator, discriminator)]
        adversaries = Adversaries(
            generator, discriminator, Adam(generator.parameters(), (0.5, 0.999)),
            Adam(discriminator.parameters(), (0.5, 0.999)), 2e-4,
        )  # fmt: skip
        optimizer = SGD([{"params": list(classifier.parameters()), "weight_decay": 1e-4}], 0.9, False)
        for number in range(WARM):
            data = self.batch(number)
            noise = torch.randn(2, BATCH, NOISE, 1, 1, generator=self.generator(number)).to(self.device)
            gan_step(
                classifier, optimizer, adversaries, self.pixels(data), data.labels, (noise[0], noise[1]), 0.05,
                Weights(), lambda: autocast("fp32", self.device),
            )  # fmt: skip
        return nets, (classifier, optimizer, adversaries)

    def steps(self) -> list[Step]:
        """Return all steps with their tolerances."""
        return [
            Step("attack (PGD-10)", self.attack, 0.0, 1.0),
            Step("adversarial training", lambda n, p: self.adversarial(n, p, trades=False), 0.02, 0.98),
            Step("TRADES", lambda n, p: self.adversarial(n, p, trades=True), 0.03, 0.98),
            Step("GAN (DIAS)", self.gan, 0.02, 0.98),
            Step("HSIC (HOOD)", self.hsic, 0.02, 0.98),
            Step("contrastive (NT-Xent)", self.contrastive, 0.02, 0.98),
        ]


def compare(step: Step, batches: int) -> Row:
    """Return the worst agreement of bf16 with fp32 over several batches."""
    losses, cosines, pixels = [], [], []
    for number in range(batches):
        with seeded(number):
            exact = step.run(number, "fp32")
        with seeded(number):
            other = step.run(number, "bf16")
        losses += [abs(b - a) / max(abs(a), 1e-12) for a, b in zip(exact.losses, other.losses, strict=True)]
        if exact.direction is not None and other.direction is not None:
            cosines.append(float(functional.cosine_similarity(exact.direction, other.direction, dim=0)))
        if exact.attacked is not None and other.attacked is not None:
            pixels.append(float((exact.attacked == other.attacked).double().mean()))
    loss, cosine, equal = max(losses), min(cosines, default=None), min(pixels, default=None)
    within = loss <= step.loss and (cosine is None or cosine >= step.cosine) and equal in (None, 1.0)
    return Row(step.name, loss, cosine, equal, within)


def audit(problem: Problem, trained: nn.Module, batches: int) -> Iterator[Row]:
    """Yield a row for each step, the worst of several batches."""
    for step in Audit(problem, trained).steps():
        yield compare(step, batches)
