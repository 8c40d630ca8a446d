"""Self-supervision for robustness and uncertainty: a classifier that also predicts by how much an image was rotated.

D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty, NeurIPS 2019, arXiv 1906.12340. This module has multi-class OOD detection ("ood"), adversarial training
("adversarial") and the plain auxiliary loss, as for common corruptions ("auxiliary"); label corruption is in
`ss_labels`, one-class detection in `ss_one_class`. The text of the paper beyond its abstract was not available: losses
and settings are those of the authors' code. Two differences: the first update there has the cosine's rate at t = 1
(here at t = 0; rates differ by less than 1e-4 of the first one), and the code scales images to [-1, 1]; here they are
normalised like all images of a suite, after an attack in [0, 1].
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.attacks.projected import pgd, start_noise
from reprood.engine.batches import Batch, Inputs, error_percent
from reprood.engine.fit import Monitor, fit
from reprood.engine.problem import Problem
from reprood.engine.robust_error import robust_error_percent
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip
from reprood.images.rotations import rotated_batch, translate
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier

TURNS = 4
SHIFTS = 3  # none, forward, backward


class Config(BaseModel):
    """Settings; the defaults are those of the released run for multi-class OOD detection (WRN-40-2, dropout 0.3).

    Attributes
    ----------
    training : Training
    part : {"ood", "auxiliary", "adversarial"}
        "ood": one forward pass of the four rotated copies and a shifted one. "auxiliary": the class loss, and the
        rotation loss in a separate forward pass. "adversarial": both on adversarial images.
    rotations : bool
        False: adversarial training alone, for "adversarial" only (without an attack that is the method `erm`).
    rotation_weight : float or None
        Of the rotation loss. None: 3 with "ood", of which a third counts (the released run); 0.5 otherwise.
    translation_weight : float
        Of each of the two shift losses, with "ood"; a third of it counts. At 0 the shifted images still take part in
        the batch statistics.
    shift : float
        Length of a shift as a fraction of the side (8 of 32 pixels).
    eps, step : float
        Radius and step of the attack in units of [0, 1] images.
    steps : int
        Of the attack.
    centre : {"noised", "clean"}
        Centre of the projection: the code adds the noise of the start in place, so that images may end up 2 eps away
        from the clean ones; "clean" is the usual definition.
    monitor_steps : int
        With "adversarial": steps of the attack on the class loss, with the training's radius and step and centred on
        the clean images, under which the history records the robust error of the monitored sets; 0 for none. The error
        is shown and never used.
    monitor_limit : int or None
        Number of images of each set that are attacked, from the first on; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=200, batch_size=128, lr=0.1, nesterov=True, weight_decay=5e-4, schedule="cosine_step", final_lr=1e-6
    )
    part: Literal["ood", "auxiliary", "adversarial"] = "ood"
    rotations: bool = True
    rotation_weight: float | None = Field(default=None, ge=0)
    translation_weight: float = Field(default=0.0, ge=0)
    shift: float = Field(default=0.25, gt=0, lt=1)
    eps: float = Field(default=8 / 255, ge=0, le=1)
    step: float = Field(default=2 / 255, gt=0)
    steps: int = Field(default=10, ge=1)
    centre: Literal["noised", "clean"] = "noised"
    monitor_steps: int = Field(default=10, ge=0)
    monitor_limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if not self.rotations and self.part != "adversarial":
            raise ValueError(
                f"rotations: false belongs to part: adversarial, not to part: {self.part}; for plain training use the "
                "method erm"
            )
        if self.translation_weight > 0 and self.part != "ood":
            raise ValueError(f"translation_weight belongs to part: ood; part: {self.part} has no shifted images")
        return self

    @property
    def weight(self) -> float:
        """Weight of the rotation loss: as configured, otherwise the paper's for this part."""
        if self.rotation_weight is not None:
            return self.rotation_weight
        return 3.0 if self.part == "ood" else 0.5


# --- the network ---


class RotationNet(Classifier):
    """A classifier with linear heads for rotations (4) and for shifts along both axes (3 each) on the same features."""

    def __init__(self, backbone: nn.Module, classes: int, *, translations: bool = False) -> None:
        super().__init__(backbone, classes)
        self.rotation = nn.Linear(self.width, TURNS)
        self.horizontal = nn.Linear(self.width, SHIFTS) if translations else None
        self.vertical = nn.Linear(self.width, SHIFTS) if translations else None


def build(config: Config, backbone: nn.Module, classes: int) -> RotationNet:
    """Return the untrained network; all its linear layers have PyTorch's initialisation, as in the authors' code."""
    network = RotationNet(backbone, classes, translations=config.translation_weight > 0)
    bound = network.width**-0.5
    nn.init.uniform_(network.head.bias, -bound, bound)  # the networks of other code bases start at 0
    return network


# --- losses ---


def rotation_loss(rotation_logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of the rotations of [R0; R1; R2; R3], logits [4B, 4].

    Examples
    --------
    >>> round(float(rotation_loss(torch.zeros(8, 4))), 4)  # log 4
    1.3863
    >>> round(float(rotation_loss(10 * torch.eye(4))), 4)  # every rotation is recognised
    0.0001
    """
    count = len(rotation_logits) // TURNS
    turns = torch.arange(TURNS, device=rotation_logits.device).repeat_interleave(count)
    return functional.cross_entropy(rotation_logits.float(), turns)


def ood_loss(
    logits: Tensor,
    rotation_logits: Tensor,
    labels: Tensor,
    rotation_weight: float,
    shifts: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    translation_weight: float = 0.0,
) -> Tensor:
    """Return CE(class) + (w_rot CE(rotation) + w_tr CE(shift right) + w_tr CE(shift down)) / 3.

    Parameters
    ----------
    logits : Tensor [B, K]
        Of the upright images.
    rotation_logits : Tensor [4B, 4]
        Of the images under all four rotations.
    labels : int64 Tensor [B]
        Class indices.
    rotation_weight : float
        w_rot.
    shifts : (Tensor [B, 3], int64 Tensor [B], Tensor [B, 3], int64 Tensor [B]), optional
        Logits and labels of the shift to the right, then of the shift down.
    translation_weight : float
        w_tr.

    Examples
    --------
    >>> logits, rotation_logits, labels = torch.zeros(2, 10), torch.zeros(8, 4), torch.tensor([3, 7])
    >>> round(float(ood_loss(logits, rotation_logits, labels, rotation_weight=3.0)), 4)  # log 10 + log 4
    3.6889
    """
    auxiliary = rotation_weight * rotation_loss(rotation_logits)
    if shifts is not None:
        right, right_labels, down, down_labels = shifts
        both = functional.cross_entropy(right.float(), right_labels) + functional.cross_entropy(
            down.float(), down_labels
        )
        auxiliary = auxiliary + translation_weight * both
    return functional.cross_entropy(logits.float(), labels) + auxiliary / 3


def attack_objective(logits: Tensor, labels: Tensor, rotation_logits: Tensor | None, weight: float) -> Tensor:
    """Return the attack's objective: the sum over images of CE(class), plus weight / 4 times that of rotations."""
    total = functional.cross_entropy(logits.float(), labels, reduction="sum")
    if rotation_logits is not None:
        total = total + weight / TURNS * rotation_loss(rotation_logits) * len(rotation_logits)
    return total


# --- scores (the published code's with the opposite sign: higher is more in-distribution) ---


def kl_from_uniform(logits: Tensor) -> Tensor:
    """Return KL(uniform || softmax) in bits, float64 [B].

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    >>> [round(bits, 4) for bits in kl_from_uniform(logits).tolist()]
    [0.0, 1.2341]
    """
    log_p = torch.log_softmax(logits.double(), dim=1) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    classes = logits.shape[1]
    return -log_p.mean(dim=1) - torch.log2(torch.tensor(float(classes), dtype=torch.float64))


def rotation_bits(rotation_logits: Tensor) -> Tensor:
    """Return the mean over the four rotations of -log2 of the right one's probability: logits [4B, 4] to float64 [B].

    Examples
    --------
    >>> rotation_bits(torch.zeros(4, 4))  # one image, chance
    tensor([2.], dtype=torch.float64)
    """
    count = len(rotation_logits) // TURNS
    log_p = torch.log_softmax(rotation_logits.double(), dim=1).view(TURNS, count, TURNS)
    right = torch.stack([log_p[turn, :, turn] for turn in range(TURNS)])
    return -right.mean(dim=0) / torch.log(torch.tensor(2.0, dtype=torch.float64))


def scores(model: RotationNet, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return `ss`, KL from uniform minus the rotation loss, and its two terms `ss_kl` and `ss_rotation`."""
    if not config.rotations:
        return {}
    with torch.no_grad():
        features = [model.features(turned) for turned in torch.split(rotated_batch(images)[0], len(images))]
        kl = kl_from_uniform(model.head(features[0]))
        bits = rotation_bits(torch.cat([model.rotation(part) for part in features]))
    return {"ss": kl - bits, "ss_kl": kl, "ss_rotation": -bits}


# --- training ---


def shifted(images: Tensor, config: Config, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return images shifted by 0, +s or -s pixels along each axis, and the labels 0, 1, 2 of both shifts."""
    pixels = round(config.shift * images.shape[2])
    lengths = torch.tensor([0, pixels, -pixels], device=images.device)
    right, down = torch.randint(SHIFTS, (2, len(images)), generator=generator).to(images.device)
    return translate(images, lengths[right], lengths[down]), right, down


def ood_step(network: RotationNet, batch: Batch, config: Config) -> Tensor:
    """Return the loss of one forward pass of [R0; R1; R2; R3; shifted]."""
    moved, right, down = shifted(batch.images, config, batch.generator)
    features = network.features(torch.cat([rotated_batch(batch.images)[0], moved]))
    count = len(batch.images)
    shifts = None
    if network.horizontal is not None and network.vertical is not None:
        last = features[TURNS * count :]
        shifts = (network.horizontal(last), right, network.vertical(last), down)
    return ood_loss(
        network.head(features[:count]),
        network.rotation(features[: TURNS * count]),
        batch.labels,
        config.weight,
        shifts,
        config.translation_weight,
    )


def auxiliary_step(network: RotationNet, images: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Return the class loss plus the rotation loss of a separate forward pass."""
    loss = functional.cross_entropy(network(images).float(), labels)
    return loss + weight * rotation_loss(network.rotation(network.features(rotated_batch(images)[0])))


def adversarial_step(network: RotationNet, batch: Batch, config: Config, mean: Tensor, std: Tensor) -> Tensor:
    """Attack [x; R0 x; R1 x; R2 x; R3 x] (or x alone) in training mode and return the adversarial loss."""
    count, labels = len(batch.images), batch.labels

    def outputs(images: Tensor) -> tuple[Tensor, Tensor | None]:
        features = network.features((images - mean) / std)
        turns = network.rotation(features[count:]) if config.rotations else None
        return network.head(features[:count]), turns

    def objective(images: Tensor) -> Tensor:
        logits, turns = outputs(images)
        return attack_objective(logits, labels, turns, config.weight)

    clean = torch.cat([batch.images, rotated_batch(batch.images)[0]]) if config.rotations else batch.images
    noise = start_noise(clean, config.eps, "linf", batch.generator)
    centre = clean + noise if config.centre == "noised" else None
    images = pgd(
        objective, clean, eps=config.eps, step=config.step, steps=config.steps, noise=noise, centre=centre, norm="linf"
    )
    logits, turns = outputs(images)
    loss = functional.cross_entropy(logits.float(), labels)
    return loss if turns is None else loss + config.weight * rotation_loss(turns)


def unit_inputs(training: Training, run: Run) -> Inputs:
    """Return a function that augments images and scales them to [0, 1] for an attack, without normalisation."""
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        if training.augment in ("crop_flip", "flip"):
            images = random_flip(images, generator)
        if training.augment in ("crop_flip", "crop"):
            images = random_crop(images, training.crop_padding, generator)
        return (images.float() / 255).contiguous(memory_format=layout)

    return inputs


def robust_monitor(problem: Problem, config: Config, run: Run, mean: Tensor, std: Tensor) -> Monitor:
    """Return a function that measures the errors on clean and on attacked images of the monitored sets, in percent."""

    def measure(model: nn.Module) -> dict[str, float]:
        def classify(images: Tensor) -> Tensor:
            return cast(Tensor, model((images - mean) / std))

        row = {f"{name}_error": error_percent(model, part, problem, run) for name, part in problem.monitor.items()}
        attack: dict[str, Any] = {"eps": config.eps, "step": config.step, "steps": config.monitor_steps}
        for name, part in problem.monitor.items():
            error = robust_error_percent(model, classify, part, run, limit=config.monitor_limit, **attack)
            row[f"{name}_robust_error"] = error
        return row

    return measure


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase; with adversarial training the history has the error on attacked images too."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    mean, std = (torch.tensor(v, device=run.device).view(1, -1, 1, 1) for v in (problem.mean, problem.std))

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        rotation_net = cast(RotationNet, network)  # or its compiled form
        if config.part == "ood":
            return ood_step(rotation_net, batch, config)
        if config.part == "auxiliary":
            return auxiliary_step(rotation_net, batch.images, batch.labels, config.weight)
        return adversarial_step(rotation_net, batch, config, mean, std)

    inputs, monitor = None, None
    if config.part == "adversarial":
        inputs = unit_inputs(config.training, run)
        monitor = robust_monitor(problem, config, run, mean, std) if config.monitor_steps else None
    rows = fit(model, loss, problem.train, config.training, run, problem=problem, inputs=inputs, monitor=monitor)
    return model, rows


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images, each rotated by a random number of quarter turns, or shifted; for figures."""
    turned = rotated_batch(images)[0].view(TURNS, *images.shape)
    choice = torch.randint(TURNS + 1, (len(images),), generator=generator)
    moved = shifted(images, config, generator)[0]
    shown = torch.cat([turned, moved[None]])
    return shown[choice, torch.arange(len(images))]


METHOD = Method(
    name="ss_ood",
    paper=Paper(
        title="Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty",
        url="https://arxiv.org/abs/1906.12340",
        id="ss_ood",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
    illustrate=illustrate,
)
