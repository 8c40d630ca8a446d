"""Self-supervision under label corruption: rotation pre-training, and corrections of noisy labels.

D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty, NeurIPS 2019, arXiv 1906.12340, in the form of the authors' code; Gold Loss Correction (GLC) after
Hendrycks et al. (2018), the Forward correction after Patrini et al. (2017). The data stage draws the noisy labels; a
method receives the right ones of trusted images only.
"""

import copy
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, make_normalise
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.rotations import rotated_batch
from reprood.methods.base import History, Method, Paper
from reprood.methods.ss_ood import RotationNet, rotation_loss

BATCH = 500
RECIPE = Training(
    epochs=100, batch_size=128, lr=0.1, nesterov=True, weight_decay=5e-4, schedule="cosine_step", final_lr=1e-6
)


class Config(BaseModel):
    """Settings; the defaults are the paper's with self-supervision (WRN-40-2, dropout 0.3).

    Without self-supervision the paper trains for 100 epochs: set `rotations: false` and `training: {epochs: 100}`.

    Attributes
    ----------
    training : Training
        Of the phases with labels (the noisy one, and after it the corrected one).
    pretraining : Training
        Of the rotation-only phase.
    rotations : bool
        Rotation-only pre-training, and the rotation loss in addition to the class loss.
    rotation_weight : float
    correction : {"none", "glc", "forward"}
        GLC needs a benchmark with trusted images; the others treat these like any image, with their right labels.
        Forward's matrix is estimated on normalised images, as the network was trained; the published code passes
        images in [0, 1] to a network trained on [-1, 1].
    percentile : float or None
        Of the Forward correction: a class' largest probabilities from this percentile on are set to zero before its
        prototype is chosen (97 for CIFAR-10 in the code, none for CIFAR-100).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = RECIPE.model_copy(update={"epochs": 40})
    pretraining: Training = RECIPE
    rotations: bool = True
    rotation_weight: float = Field(default=0.5, ge=0)
    correction: Literal["none", "glc", "forward"] = "none"
    percentile: float | None = Field(default=97.0, gt=0, lt=100)


def build(config: Config, backbone: nn.Module, classes: int) -> RotationNet:
    """Return the untrained network; the class layer starts from a bias of 0, as in this part of the authors' code."""
    return RotationNet(backbone, classes)


# --- corrections ---


def gold_matrix(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return GLC's matrix [K, K]: row i is the mean probability vector of trusted images of class i.

    Parameters
    ----------
    probabilities : Tensor [N, K]
        Of the network trained on noisy labels, on trusted images.
    labels : int64 Tensor [N]
        Right labels.
    classes : int
        K.

    Examples
    --------
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]])
    >>> gold_matrix(probabilities, torch.tensor([0, 0, 1]), 2)
    tensor([[0.8000, 0.2000],
            [0.5000, 0.5000]])
    """
    return torch.stack([probabilities[labels == label].mean(dim=0) for label in range(classes)])


def forward_matrix(probabilities: Tensor, percentile: float | None) -> Tensor:
    """Return the Forward correction's matrix [K, K]: row i is the softmax of the image with the largest p of class i.

    With a percentile, the values of a class from there on are set to zero first. As in the published code this happens
    in place, class after class, so that rows of later classes contain the zeros of earlier ones.

    Parameters
    ----------
    probabilities : Tensor [N, K]
        Softmax of the network trained on noisy labels.
    percentile : float or None
        None: nothing is set to zero.
    """
    left = probabilities.clone()
    rows = []
    for label in range(left.shape[1]):
        if percentile is not None:
            ordered = left[:, label].sort().values
            # numpy's "higher" percentile
            place = -int(-(percentile / 100 * (len(ordered) - 1)) // 1)
            left[:, label] = torch.where(left[:, label] >= ordered[place], 0.0, left[:, label])
        rows.append(left[left[:, label].argmax()].clone())
    return torch.stack(rows)


def corrected_nll(logits: Tensor, labels: Tensor, matrix: Tensor) -> Tensor:
    """Return -log sum_i p_i C[i, y] of each image [B]: the negative log-likelihood of the noisy label.

    Examples
    --------
    >>> logits, labels = torch.tensor([[0.0, 0.0]]), torch.tensor([1])
    >>> corrected_nll(logits, labels, torch.tensor([[0.5, 0.5], [0.0, 1.0]])).exp()  # 1 / 0.75
    tensor([1.3333])
    """
    probabilities = torch.softmax(logits, dim=1)
    return -torch.log((probabilities @ matrix)[torch.arange(len(labels), device=labels.device), labels])


def glc_loss(
    silver_logits: Tensor, silver_labels: Tensor, gold_logits: Tensor, gold_labels: Tensor, matrix: Tensor, divisor: int
) -> Tensor:
    """Return (sum over trusted of CE + sum over others of the corrected loss) / divisor, the constant batch size."""
    total = corrected_nll(silver_logits.float(), silver_labels, matrix).sum()
    return (total + functional.cross_entropy(gold_logits.float(), gold_labels, reduction="sum")) / divisor


# --- training ---


@torch.no_grad()
def probabilities_of(model: nn.Module, images: Tensor, problem: Problem, run: Run) -> Tensor:
    """Return the softmax [N, K] of uint8 images, in evaluation mode and not augmented."""
    normalised = make_normalise(problem, run)
    model.eval()
    probabilities = []
    for part in torch.split(images, BATCH):
        with autocast(run.precision, run.device):
            logits = model(normalised(part))
        probabilities.append(torch.softmax(logits.float(), dim=1))
    return torch.cat(probabilities)


def subset(data: ImageSet, rows: Tensor) -> ImageSet:
    """Return some rows of a set."""
    return ImageSet(data.images[rows], data.labels[rows])


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train on rotations alone, then noisy labels, then corrected labels, as far as the settings require."""
    trusted = problem.trusted
    if config.correction == "glc" and trusted is None:
        raise ReproodError(
            f"{run.name}: GLC needs training images with trusted labels; set 'trusted:' under the benchmark's "
            "'label_noise'."
        )
    if config.correction == "glc" and trusted is not None:
        counts = problem.train.labels[trusted].bincount(minlength=problem.classes).tolist()
        if 0 in counts or bool(trusted.all()):
            gap = f"none is of class {counts.index(0)}" if 0 in counts else "no other image is left"
            raise ReproodError(
                f"{run.name}: of {len(trusted)} training images {sum(counts)} have trusted labels, and {gap}; GLC "
                "needs some of every class and some others; change 'trusted:' under the benchmark's 'label_noise'."
            )
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    history = []

    def turns(network: nn.Module, images: Tensor) -> Tensor:
        rotation_net = cast(RotationNet, network)  # or its compiled form
        features = rotation_net.features(rotated_batch(images)[0])
        return config.rotation_weight * rotation_loss(rotation_net.rotation(features))

    def rotation_only(network: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            network(batch.images)  # not used, but the code runs it too, which updates the batch statistics
        return turns(network, batch.images)

    def with_labels(network: nn.Module, batch: Batch) -> Tensor:
        loss = functional.cross_entropy(network(batch.images).float(), batch.labels)
        return loss + turns(network, batch.images) if config.rotations else loss

    if config.rotations:
        history += fit(model, rotation_only, problem.train, config.pretraining, run, problem=problem, phase="rotation")
    start = copy.deepcopy(model.state_dict())
    silver = problem.train
    if config.correction == "glc" and trusted is not None:
        silver = subset(problem.train, (~trusted).nonzero()[:, 0])
    history += fit(model, with_labels, silver, config.training, run, problem=problem)
    if config.correction == "none":
        return model, history

    if config.correction == "glc" and trusted is not None:
        gold = subset(problem.train, trusted.nonzero()[:, 0])
        matrix = gold_matrix(probabilities_of(model, gold.images, problem, run), gold.labels, problem.classes)
    else:
        matrix = forward_matrix(probabilities_of(model, silver.images, problem, run), config.percentile)
        trusted = torch.zeros(len(problem.train), dtype=torch.bool, device=run.device)
    known = trusted

    def corrected(network: nn.Module, batch: Batch) -> Tensor:
        sure = known[batch.index]
        parts = [(batch.images[rows], batch.labels[rows]) for rows in (~sure, sure)]
        # the two kinds are forwarded separately, as in the code
        logits = [network(images) if len(images) else images.new_zeros(0, problem.classes) for images, _ in parts]
        divisor = config.training.batch_size if config.correction == "glc" else len(batch.index)
        loss = glc_loss(logits[0], parts[0][1], logits[1], parts[1][1], matrix, divisor)
        return loss + turns(network, batch.images) if config.rotations else loss

    with seeded(run.seed("initialisation", "corrected")):
        fresh = build(config, problem.backbone(), problem.classes).to(run.device)
    if config.rotations:
        fresh.load_state_dict(start)
    history += fit(fresh, corrected, problem.train, config.training, run, problem=problem, phase="corrected")
    return fresh, history


METHOD = Method(
    name="ss_labels",
    paper=Paper(
        title="Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty",
        url="https://arxiv.org/abs/1906.12340",
        id="ss_ood",
    ),
    config=Config,
    build=build,
    train=train,
)
