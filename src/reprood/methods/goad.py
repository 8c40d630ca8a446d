"""GOAD: classify transformations by the distance of features to a centre of each, a rival of CSI.

L. Bergman, Y. Hoshen: Classification-Based Anomaly Detection for General Data, ICLR 2020, arXiv 2005.02359, in the form
of the authors' code for images. 72 transformations: mirrored or not, moved by nothing or a quarter of the side to the
right, left, down, up and combinations, and turned four times. With features z_m of an image under transformation m, and
the centre c_m of those of a batch,

    L = cross-entropy(W z_m, m) + weight * mean max(0, |z_m - c_m|^2 + margin - min_{m' != m} |z_m - c_m'|^2)
        + 10 mean of z^2
    score(x) = sum over m of log softmax(-|z_m - c|^2)_m

with the centres of all training images at test time. Differences from that code: it trains with Adam at 0.001 and takes
the test-time centres from features of the last epoch in training mode; here the optimiser is the engine's SGD and the
centres are of the trained network in evaluation mode. The recipe with which the authors of CSI ran it is not known.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_inputs
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.rotations import rotate, translate
from reprood.methods.base import Batches, History, Method, Paper
from reprood.nets.classifier import make_head, width_of

MOVES = (0, -1, 1)
CODES = tuple(product((False, True), MOVES, MOVES, range(4)))  # mirrored, right, down, quarter turns


class Config(BaseModel):
    """Settings; the defaults of the loss are those of the authors' code.

    Attributes
    ----------
    training : Training
        A step has 72 times `batch_size` rows: 288 for the authors' 4 images, of which they make 16 epochs.
    reach : float
        Length of a move as a fraction of the side (8 of 32 pixels).
    weight : float
        Of the loss of the centres.
    margin : float
        Of the loss of the centres, in squared distance.
    pull : float
        Weight of the mean square of the features.
    least : float
        Smallest squared distance in the score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=16,
        batch_size=4,
        lr=0.01,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine_step",
        final_lr=1e-6,
        augment="none",
        smallest_batch=2,
    )
    reach: float = Field(default=0.25, gt=0, lt=1)
    weight: float = Field(default=0.1, ge=0)
    margin: float = Field(default=1.0, ge=0)
    pull: float = Field(default=10.0, ge=0)
    least: float = Field(default=0.0, ge=0)


# --- transformations ---


def transformed(images: Tensor, number: int, reach: float) -> Tensor:
    """Return images [B, C, H, H] under transformation `number` of 72: mirrored, moved with mirrored borders, turned."""
    mirrored, right, down, turns = CODES[number]
    shown = images.flip(3) if mirrored else images
    pixels = round(reach * images.shape[2])
    if right or down:
        ones = torch.ones(len(images), dtype=torch.int64, device=images.device)
        shown = translate(shown, right * pixels * ones, down * pixels * ones)
    return rotate(shown, turns)


def every_transformation(images: Tensor, reach: float) -> Tensor:
    """Return images [B, C, H, H] under all transformations, transformation by transformation: [72 B, C, H, H]."""
    return torch.cat([transformed(images, number, reach) for number in range(len(CODES))])


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, H], normalised, each under a random transformation other than none; for figures."""
    numbers = torch.randint(1, len(CODES), (len(images),), generator=generator).tolist()
    parts = torch.split(images, 1)
    return torch.cat([transformed(part, number, config.reach) for part, number in zip(parts, numbers, strict=True)])


# --- loss and score ---


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """Return the squared distances of features [M, B, d] to centres [K, d]: [M, B, K]."""
    return torch.cdist(features, centres.expand(len(features), -1, -1)).square()


def centre_loss(features: Tensor, margin: float) -> Tensor:
    """Return the triplet loss of features [M, B, d] with the M centres of the batch.

    Examples
    --------
    >>> apart = torch.tensor([[[0.0], [0.0]], [[3.0], [3.0]]])  # two transformations, centres 0 and 3
    >>> float(centre_loss(apart, margin=1.0)), float(centre_loss(apart, margin=10.0))
    (0.0, 1.0)
    """
    distances = squared_distances(features, features.mean(dim=1))
    numbers = torch.arange(len(features), device=features.device)
    own = distances[numbers, :, numbers]
    others = distances.scatter(2, numbers.view(-1, 1, 1).expand(-1, distances.shape[1], 1), torch.inf)
    return functional.relu(own + margin - others.amin(dim=2)).mean()


def log_probabilities(features: Tensor, centres: Tensor, least: float) -> Tensor:
    """Return the sum over transformations of the log probability of the right one, features [M, B, d] to float64 [B].

    The distribution over transformations is the softmax of minus the squared distances to the centres [M, d].
    """
    distances = squared_distances(features.double(), centres.double()).clamp(min=least)
    numbers = torch.arange(len(features), device=features.device)
    return (-distances).log_softmax(2)[numbers, :, numbers].sum(0)


class TransformationCentres(nn.Module):
    """A backbone and a linear layer over the transformations.

    There are no classes: `forward` returns zeros for every image and `linear_head` None, so that only the method's own
    score and detectors on features apply.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.classes = classes
        self.heads = make_head(backbone, len(CODES))

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        features: Tensor = self.backbone(images)
        return features

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, d] and logits [B, 72] of normalised images."""
        features = self.features(images)
        return features, self.heads(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros [B, K]."""
        return images.new_zeros(len(images), self.classes)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return None: this model has no class head."""
        return None


def build(config: Config, backbone: nn.Module, classes: int) -> TransformationCentres:
    """Return the untrained network."""
    return TransformationCentres(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train on all transformations of every image of a batch.

    Labels are not used, so that a training set of several classes is one without labels.
    """
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    inputs = make_inputs(problem, config.training, run)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        shown = every_transformation(batch.images, config.reach).contiguous(memory_format=layout)
        features, logits = (part.float() for part in network.outputs(shown))  # type: ignore[operator]
        numbers = torch.arange(len(CODES), device=logits.device).repeat_interleave(len(batch.images))
        by_number = features.view(len(CODES), len(batch.images), -1)
        prediction = functional.cross_entropy(logits, numbers)
        separation: Tensor = config.weight * centre_loss(by_number, config.margin)
        total: Tensor = prediction + separation + config.pull * features.square().mean()
        return total

    return model, fit(model, loss, problem.train, config.training, run, problem=problem, inputs=inputs)


def all_features(model: TransformationCentres, images: Tensor, reach: float) -> Tensor:
    """Return the features of normalised images [B, C, H, H] under all transformations, [72, B, d]."""
    return torch.stack([model.features(transformed(images, number, reach)) for number in range(len(CODES))])


@torch.no_grad()
def fit_on_train(
    model: TransformationCentres, batches: Batches, config: Config, generator: Generator
) -> dict[str, Tensor]:
    """Return the centres of the training images' features, float64 [72, d], in evaluation mode."""
    total: Tensor | None = None
    count = 0
    for images, _ in batches():
        part = all_features(model, images, config.reach).double().sum(1)
        total = part if total is None else total + part
        count += len(images)
    assert total is not None  # a training set has images
    return {"centres": total / count}


@torch.no_grad()
def scores(
    model: TransformationCentres, images: Tensor, config: Config, fitted: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Score one batch by the log probability of each transformation that is applied to it.

    Parameters
    ----------
    model : TransformationCentres
        Trained, in evaluation mode.
    images : Tensor [B, C, H, H]
        Normalised. One transformation of them is in memory at a time.
    config : Config
        Settings of the method.
    fitted : mapping
        From `fit_on_train`.

    Returns
    -------
    dict of float64 Tensor [B]
        goad: higher = more in-distribution, at most 0.
    """
    features = all_features(model, images, config.reach)
    return {"goad": log_probabilities(features, fitted["centres"], config.least)}


METHOD = Method(
    name="goad",
    paper=Paper(
        title="Classification-Based Anomaly Detection for General Data",
        url="https://arxiv.org/abs/2005.02359",
    ),
    config=Config,
    build=build,
    train=train,
    fit_on_train=fit_on_train,
    scores=scores,
    illustrate=illustrate,
)
