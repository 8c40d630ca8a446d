"""Strong augmentation and what may be done about images that it takes out of the distribution: rivals of ReSmooth.

AutoAugment (E. D. Cubuk et al., CVPR 2019, arXiv 1805.09501) or RandAugment, learnt plainly, with label smoothing, with
ReSmooth (Wang et al. 2022, arXiv 2205.12606), or with knowledge distillation (L. Wei et al., ECCV 2020, arXiv
2003.11342, in the form of ReSmooth's code): a teacher trained on weak views says what is left to see in a strong one,

    strong views    CE(s / T, y) + weight * T^2 * KL(softmax(s' / T) || softmax(t' / T)),

s' and t' being the logits of the teacher's `top` classes. The temperature in the cross-entropy and the direction of the
divergence are those of that code. The policies of AutoAugment are torchvision's; Cutout, which the paper applies after
them, is a setting.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from reprood.engine.batches import Batch, Inputs, make_inputs
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.randaugment import RESMOOTH_TABLE, randaugment
from reprood.images.stored import on_bytes
from reprood.methods.base import History, Method, Paper
from reprood.methods.resmooth import method as resmooth
from reprood.methods.resmooth.loss import objective, smoothed
from reprood.methods.resmooth.mixture import Mixture, fit_mixture

POLICIES = {"autoaugment": v2.AutoAugmentPolicy.CIFAR10, "autoaugment_svhn": v2.AutoAugmentPolicy.SVHN}


class Config(BaseModel):
    """Settings; the recipe is that of ReSmooth's code for CIFAR-10 and ResNet-18.

    Attributes
    ----------
    training : Training
        Of the network that is kept; the teacher and ReSmooth's first network have the same.
    strong : {"autoaugment", "autoaugment_svhn", "randaugment"}
        Augmentation of the strong view, in front of crop and flip: one of AutoAugment's policies for 32 pixels, or
        RandAugment.
    rule : {"plain", "smoothing", "resmooth", "distillation"}
        What is done with strong views: cross-entropy, label smoothing, smoothing by the posterior of ReSmooth's
        mixture, or distillation.
    smoothing : float
        e of the rules "smoothing" and "resmooth".
    weight, temperature, top : float, float, int
        Of the distillation; `top` 0 takes all classes.
    operations, magnitude : int, float
        Of RandAugment.
    cutout : int
        Side in pixels of a hole in strong views; 0 = none.
    weak_share : float
        Fraction of a batch that is shown in its weak view.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = resmooth.Config().training
    strong: Literal["autoaugment", "autoaugment_svhn", "randaugment"] = "autoaugment"
    rule: Literal["plain", "smoothing", "resmooth", "distillation"] = "plain"
    smoothing: float = Field(default=0.4, ge=0, lt=1)
    weight: float = Field(default=0.5, ge=0)
    temperature: float = Field(default=5.0, gt=0)
    top: int = Field(default=0, ge=0)
    operations: int = Field(default=2, ge=0)
    magnitude: float = Field(default=28.0, ge=0, le=30)
    cutout: int = Field(default=0, ge=0)
    weak_share: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _strong_views(self) -> "Config":
        if self.weak_share == 1 and self.rule != "plain":
            raise ValueError(f"with weak_share 1 there are no strong views for rule: {self.rule}; lower weak_share")
        return self

    def like_resmooth(self) -> resmooth.Config:
        """Return ReSmooth's settings for its first network and its views."""
        return resmooth.Config(training=self.training, cutout=self.cutout, strong="none")


# --- the views ---


def autoaugment(images: Tensor, policy: str, generator: Generator) -> Tensor:
    """Apply one of the sub-policies of AutoAugment to each of the uint8 images [B, C, H, W], by torchvision."""
    change = v2.AutoAugment(POLICIES[policy])
    with seeded(int(torch.randint(2**31, (), generator=generator))):
        return torch.stack([change(image) for image in images.cpu()]).to(images.device)


def strong_before(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Apply what the strong view does before crop and flip: uint8 [B, C, H, W] in and out."""
    if config.strong == "randaugment":
        return randaugment(images, RESMOOTH_TABLE, config.operations, config.magnitude, generator)
    return autoaugment(images, config.strong, generator)


def make_strong(weak: Inputs, config: Config) -> Inputs:
    """Return the strong view, built around the weak one: augmentation, crop, flip, normalisation, Cutout."""
    last = config.like_resmooth()

    def strong(images: Tensor, generator: Generator) -> Tensor:
        views = weak(strong_before(images, config, generator), generator)
        return resmooth.strong_after(views, last, generator)

    return strong


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, in their strong view without crop and flip; for figures."""
    views = on_bytes(images, lambda stored: strong_before(stored, config, generator))
    return resmooth.strong_after(views, config.like_resmooth(), generator)


# --- the losses ---


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, weight: float, temperature: float, top: int = 0
) -> Tensor:
    """Return the mean of CE(s / T, y) + weight * T^2 * KL(softmax(s' / T) || softmax(t' / T)).

    Parameters
    ----------
    student, teacher : Tensor [B, K]
        Logits s and t; the teacher's get no gradient.
    labels : int64 Tensor [B]
    weight, temperature : float
        The weight and T.
    top : int
        How many of the teacher's largest logits s' and t' hold; 0: all.

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> round(float(distillation_loss(logits, logits, labels, weight=1.0, temperature=1.0)), 4)  # KL is 0
    0.1269
    """
    own = functional.cross_entropy(student / temperature, labels)
    chosen = teacher.detach().topk(top or teacher.shape[1], dim=1).indices
    ours, theirs = ((logits.gather(1, chosen) / temperature).log_softmax(1) for logits in (student, teacher.detach()))
    divergence = (ours.exp() * (ours - theirs)).sum(1).mean()
    return own + weight * temperature**2 * divergence


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head, with room for ReSmooth's mixture."""
    return resmooth.Smoothed(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train a first network on weak views if the rule needs one, then the network that is kept."""
    weak = make_inputs(problem, config.training, run)
    strong = make_strong(weak, config)
    with seeded(run.seed("initialisation")):
        model = resmooth.Smoothed(problem.backbone(), problem.classes)
    rows: History = []
    teacher: nn.Module | None = None
    mixture: Mixture | None = None
    if config.rule in ("resmooth", "distillation"):
        teacher, rows = resmooth.train_baseline(problem, config.like_resmooth(), run)
    if config.rule == "resmooth" and teacher is not None:
        losses = resmooth.training_log_losses(teacher, problem.train, config.training, run, weak, strong)
        mixture = fit_mixture(losses)
        resmooth.report(mixture, rows, run)
        model.mixture.copy_(torch.tensor([mixture.means, mixture.variances, mixture.weights], dtype=torch.float64))

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch.images, batch.labels
        count = resmooth.weak_count(len(images), config.weak_share)
        logits = network(images).float()
        if config.rule == "distillation" and teacher is not None and count < len(images):
            with torch.no_grad():
                views = teacher(images[count:]).float()
            part = distillation_loss(
                logits[count:],
                views,
                labels[count:],
                weight=config.weight,
                temperature=config.temperature,
                top=config.top,
            )
            first = smoothed(logits[:count], labels[:count], 0.0).mean() if count else part.new_zeros(())
            return config.weak_share * first + (1 - config.weak_share) * part
        p_id = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        if mixture is not None and teacher is not None:
            with torch.no_grad():
                p_id[count:] = mixture.posterior(resmooth.log_losses(teacher(images[count:]), labels[count:]))
        amount = 0.0 if config.rule == "plain" else config.smoothing
        return objective(logits, labels, p_id, count, share=config.weak_share, smoothing=amount)[0]

    composed = resmooth.make_composed(weak, strong, config.weak_share)
    return model, rows + fit(model, loss, problem.train, config.training, run, problem=problem, inputs=composed)


METHOD = Method(
    name="strong_augment",
    paper=Paper(
        title="ReSmooth: Detecting and Utilizing OOD Samples When Training With Data Augmentation",
        url="https://arxiv.org/abs/2205.12606",
        id="resmooth",
    ),
    config=Config,
    build=build,
    train=train,
    illustrate=illustrate,
)
