"""Self-supervision for robustness and uncertainty: a classifier that also predicts how an image was turned.

D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty, NeurIPS 2019, arXiv 1906.12340. Here are multi-class OOD detection ("ood"), adversarial training
("adversarial") and the plain auxiliary loss, as for common corruptions ("auxiliary"); label corruption is in
`ss_labels`, one-class detection in `ss_one_class`. The published code scales images to [-1, 1]; here they are
normalised as everywhere in a suite, after an attack in [0, 1].
"""

from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.attacks.projected import pgd, start_noise
from reprood.engine.batches import Batch, Inputs
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip
from reprood.images.rotations import rotated_batch, translate
from reprood.nets.classifier import Classifier

TURNS = 4
SHIFTS = 3  # none, forward, backward


class Config(BaseModel):
    """Settings; the defaults are those of the released run for multi-class OOD detection (WRN-40-2, dropout 0.3).

    Attributes
    ----------
    part : {"ood", "auxiliary", "adversarial"}
        "ood": one forward pass of the four turned copies and a shifted one. "auxiliary": the class loss, and the
        rotation loss in a forward pass of its own. "adversarial": both on adversarial images.
    rotations : bool
        False: adversarial training alone, for "adversarial" only (without an attack that is the method `erm`).
    rotation_weight : float or None
        Of the rotation loss. None: 3 with "ood", of which a third counts (the released run); 0.5 otherwise.
    translation_weight : float
        Of each of the two shift losses, with "ood"; a third of it counts. At 0 the shifted images still take part in
        the batch statistics.
    shift : float
        Length of a shift as a share of the side (8 of 32 pixels).
    eps, step : float
        Radius and step of the attack in units of [0, 1] images.
    steps : int
        Of the attack.
    centre : {"noised", "clean"}
        What the attack is projected around: the code adds the start's noise in place, so that images may end up 2 eps
        away from the clean ones; "clean" is the textbook's.
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

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if not self.rotations and self.part != "adversarial":
            raise ValueError(
                f"rotations: false belongs to part: adversarial, not to part: {self.part}; for plain training take the "
                "method erm"
            )
        if self.translation_weight > 0 and self.part != "ood":
            raise ValueError(f"translation_weight belongs to part: ood; part: {self.part} has no shifted images")
        return self

    @property
    def weight(self) -> float:
        """Of the rotation loss: as given, else the paper's for this part."""
        if self.rotation_weight is not None:
            return self.rotation_weight
        return 3.0 if self.part == "ood" else 0.5


# --- the network ---


class RotationNet(Classifier):
    """A classifier with linear heads for turns (4) and for shifts along both axes (3 each) on the same features."""

    def __init__(self, backbone: nn.Module, classes: int, *, translations: bool = False) -> None:
        super().__init__(backbone, classes)
        self.rotation = nn.Linear(self.width, TURNS)
        self.horizontal = nn.Linear(self.width, SHIFTS) if translations else None
        self.vertical = nn.Linear(self.width, SHIFTS) if translations else None


def build(config: Config, backbone: nn.Module, classes: int) -> RotationNet:
    """The untrained network."""
    return RotationNet(backbone, classes, translations=config.translation_weight > 0)


# --- losses (section 3 and the published code) ---


def rotation_loss(rotation_logits: Tensor) -> Tensor:
    """Mean cross-entropy of the turns of [R0; R1; R2; R3], logits [4B, 4]."""
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
    """CE(class) + (w_rot CE(turn) + w_tr CE(shift right) + w_tr CE(shift down)) / 3.

    Parameters
    ----------
    logits : Tensor [B, K]
        Of the upright images.
    rotation_logits : Tensor [4B, 4]
    labels : int64 Tensor [B]
    rotation_weight, translation_weight : float
    shifts : (logits [B, 3], labels [B], logits [B, 3], labels [B]), optional
        To the right, down.
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
    """What the attack ascends: the sum over images of CE(class), plus weight / 4 times the sum over turns."""
    total = functional.cross_entropy(logits.float(), labels, reduction="sum")
    if rotation_logits is not None:
        total = total + weight / TURNS * rotation_loss(rotation_logits) * len(rotation_logits)
    return total


# --- scores (section 6 of the published code, signs turned so that higher is more in-distribution) ---


def kl_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || softmax) in bits, float64 [B]."""
    log_p = torch.log_softmax(logits.double(), dim=1) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    classes = logits.shape[1]
    return -log_p.mean(dim=1) - torch.log2(torch.tensor(float(classes), dtype=torch.float64))


def rotation_bits(rotation_logits: Tensor) -> Tensor:
    """Mean over the four turns of -log2 of the right turn's probability, float64 [B], from logits [4B, 4]."""
    count = len(rotation_logits) // TURNS
    log_p = torch.log_softmax(rotation_logits.double(), dim=1).view(TURNS, count, TURNS)
    right = torch.stack([log_p[turn, :, turn] for turn in range(TURNS)])
    return -right.mean(dim=0) / torch.log(torch.tensor(2.0, dtype=torch.float64))


def scores(model: RotationNet, images: Tensor, config: Config, fitted: dict[str, float]) -> dict[str, Tensor]:
    """`ss` = KL from uniform minus the rotation loss; `ss_kl` and `ss_rotation` are its two terms."""
    if not config.rotations:
        return {}
    with torch.no_grad():
        features = [model.features(turned) for turned in torch.split(rotated_batch(images)[0], len(images))]
        kl = kl_from_uniform(model.head(features[0]))
        bits = rotation_bits(torch.cat([model.rotation(part) for part in features]))
    return {"ss": kl - bits, "ss_kl": kl, "ss_rotation": -bits}


# --- training ---


def shifted(images: Tensor, config: Config, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images shifted by 0, +s or -s pixels along each axis, and the labels 0, 1, 2 of both shifts."""
    pixels = round(config.shift * images.shape[2])
    lengths = torch.tensor([0, pixels, -pixels], device=images.device)
    right, down = torch.randint(SHIFTS, (2, len(images)), generator=generator).to(images.device)
    return translate(images, lengths[right], lengths[down]), right, down


def ood_step(network: RotationNet, batch: Batch, config: Config) -> Tensor:
    """One forward pass of [R0; R1; R2; R3; shifted]."""
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
    """The class loss, then the rotation loss in a forward pass of its own."""
    loss = functional.cross_entropy(network(images).float(), labels)
    return loss + weight * rotation_loss(network.rotation(network.features(rotated_batch(images)[0])))


def adversarial_step(network: RotationNet, batch: Batch, config: Config, mean: Tensor, std: Tensor) -> Tensor:
    """Attack and update on [x; R0 x; R1 x; R2 x; R3 x] (or x alone), the network in training mode all along."""
    count, labels = len(batch.images), batch.labels

    def answers(images: Tensor) -> tuple[Tensor, Tensor | None]:
        features = network.features((images - mean) / std)
        turns = network.rotation(features[count:]) if config.rotations else None
        return network.head(features[:count]), turns

    def objective(images: Tensor) -> Tensor:
        logits, turns = answers(images)
        return attack_objective(logits, labels, turns, config.weight)

    clean = torch.cat([batch.images, rotated_batch(batch.images)[0]]) if config.rotations else batch.images
    noise = start_noise(clean, config.eps, "linf", batch.generator)
    centre = clean + noise if config.centre == "noised" else None
    images = pgd(
        objective, clean, eps=config.eps, step=config.step, steps=config.steps, noise=noise, centre=centre, norm="linf"
    )
    logits, turns = answers(images)
    loss = functional.cross_entropy(logits.float(), labels)
    return loss if turns is None else loss + config.weight * rotation_loss(turns)


def unit_inputs(training: Training, run: Run) -> Inputs:
    """Augmented images in [0, 1], not normalised: what an attack changes."""
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        if training.augment in ("crop_flip", "flip"):
            images = random_flip(images, generator)
        if training.augment in ("crop_flip", "crop"):
            images = random_crop(images, training.crop_padding, generator)
        return (images.float() / 255).contiguous(memory_format=layout)

    return inputs


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, list[dict[str, Any]]]:
    """One phase."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    mean, std = (torch.tensor(v, device=run.device).view(1, -1, 1, 1) for v in (problem.mean, problem.std))

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        whole = cast(RotationNet, network)  # or its compiled form
        if config.part == "ood":
            return ood_step(whole, batch, config)
        if config.part == "auxiliary":
            return auxiliary_step(whole, batch.images, batch.labels, config.weight)
        return adversarial_step(whole, batch, config, mean, std)

    inputs = unit_inputs(config.training, run) if config.part == "adversarial" else None
    return model, fit(model, loss, problem.train, config.training, run, problem=problem, inputs=inputs)


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Each image turned by a random number of quarter turns, or shifted."""
    turned = rotated_batch(images)[0].view(TURNS, *images.shape)
    choice = torch.randint(TURNS + 1, (len(images),), generator=generator)
    moved = shifted(images, config, generator)[0]
    every = torch.cat([turned, moved[None]])
    return every[choice, torch.arange(len(images))]
