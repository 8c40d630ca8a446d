"""Self-supervision for one-class novelty detection: which transformation was applied to this image?

D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty, NeurIPS 2019, arXiv 1906.12340. A network learns, on images of one class and without labels, to predict by
how much an image was moved right and down and how often it was rotated; it is less sure on images of other classes.
With the rotation head alone this is RotNet (Gidaris et al. 2018); with the backbone `cbam_resnet` it is the paper's
variant with self-attention.

The paper's "resize" head follows the authors' description in issue 5 of their repository: the unchanged image, or the
image zoomed by 300 / 224. There is no published code for CIFAR-10, nor for "+ OE" (heads towards the uniform
distribution on outliers); these parts are ours.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, make_inputs, make_normalise
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.rotations import rotate, rotated_batch, translate
from reprood.methods.base import History, Method, Paper
from reprood.methods.oe import uniform_cross_entropy
from reprood.nets.classifier import make_head, width_of

Head = Literal["translation", "rotation", "resize"]

# The code of a transformation has four numbers: moves to the right and down (0: none, 1: by -shift, 2: by +shift),
# quarter turns counter-clockwise, zoom (0 or 1).
X, Y, TURNS, ZOOM = range(4)
COUNTS = {X: 3, Y: 3, TURNS: 4, ZOOM: 2}
COLUMNS: dict[Head, tuple[int, ...]] = {"translation": (X, Y), "rotation": (TURNS,), "resize": (ZOOM,)}
ZOOM_FACTOR = 300 / 224
MONITOR_BATCH = 500


class Config(BaseModel):
    """Settings; the defaults are the paper's for one class of ImageNet (its network: `cbam_resnet`).

    Attributes
    ----------
    training : Training
    heads : tuple of {"rotation", "translation", "resize"}
        The predicted values; "translation" has two heads, right and down. Rotation is required.
    sampling : {"every", "random"}
        "every": an epoch has every image under each of the (9, with resize 18) placements, one per step, as in the
        authors' code, so that a network with translation heads takes 9 times the steps of RotNet in an epoch.
        "random": an epoch has every image once, under a random placement. In both, all four rotations of it follow.
    shift : float
        Length of a translation as a fraction of the side (56 of 224 pixels).
    outlier_weight : float
        Weight of the cross-entropy to the uniform distribution on outliers; 0: none.
    outliers : str
        The auxiliary set with the outliers; "" if there is only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=5, batch_size=64, lr=0.1, nesterov=True, weight_decay=5e-4, schedule="cosine_step", final_lr=1e-6
    )
    heads: tuple[Head, ...] = ("rotation", "translation")
    sampling: Literal["every", "random"] = "every"
    shift: float = Field(default=0.25, gt=0, lt=1)
    outlier_weight: float = Field(default=0.0, ge=0)
    outliers: str = ""

    @field_validator("heads")
    @classmethod
    def _heads(cls, heads: tuple[Head, ...]) -> tuple[Head, ...]:
        if "rotation" not in heads or len(set(heads)) < len(heads):
            raise ValueError("must name 'rotation', and no head twice")
        return heads


# --- transformations and their codes ---


def used_columns(config: Config) -> list[int]:
    """Return the columns of a code that the heads predict, in the order of the network's outputs."""
    return [column for head, columns in COLUMNS.items() if head in config.heads for column in columns]


def transformations(config: Config) -> Tensor:
    """Return the codes of all transformations, int64 [T, 4].

    T = 4 (RotNet), 36 (with translation), or twice that with resize. In product order, the move to the right outermost;
    columns that no head predicts are 0.
    """
    used = used_columns(config)
    return torch.tensor(list(product(*(range(COUNTS[c] if c in used else 1) for c in range(4)))))


def placements(config: Config) -> Tensor:
    """Return the transformations without a rotation, int64 [T / 4, 4]."""
    codes = transformations(config)
    return codes[codes[:, TURNS] == 0]


def zoomed(images: Tensor) -> Tensor:
    """Return floating-point images [B, C, H, H] enlarged by 300 / 224 (bilinear) and cropped at the centre."""
    side = images.shape[2]
    large = round(side * ZOOM_FACTOR)
    start = round((large - side) / 2)
    enlarged = functional.interpolate(images, size=(large, large), mode="bilinear", align_corners=False)
    return enlarged[:, :, start : start + side, start : start + side]


def placed(images: Tensor, codes: Tensor, config: Config) -> Tensor:
    """Zoom, then move (with reflection at the border) each image [B, C, H, H] according to its code (int64 [B, 4])."""
    if "resize" in config.heads:
        images = torch.where(codes[:, ZOOM].view(-1, 1, 1, 1) > 0, zoomed(images), images)
    if "translation" in config.heads:
        pixels = round(config.shift * images.shape[2])
        offsets = torch.tensor((0, -pixels, pixels), device=images.device)
        images = translate(images, offsets[codes[:, X]], offsets[codes[:, Y]])
    return images


def all_turns(images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return images and codes [B, ...] under all four rotations: [4B, ...], rotation by rotation."""
    turned, turns = rotated_batch(images)
    known = codes.repeat(4, 1)
    known[:, TURNS] = turns
    return turned, known


def transformed(images: Tensor, codes: Tensor, config: Config) -> Tensor:
    """Return each image [B, C, H, H] under the transformation of its code (int64 [B, 4]): placed, then rotated."""
    return rotate(placed(images, codes, config), codes[:, TURNS])


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, H], normalised, each under a random transformation other than none; for figures."""
    codes = transformations(config)
    return transformed(images, codes[torch.randint(1, len(codes), (len(images),), generator=generator)], config)


# --- predictions of the heads and their losses ---


def split_outputs(logits: Tensor, config: Config) -> dict[int, Tensor]:
    """Return the network's outputs [B, S] by column of the code: 3 for right, 3 for down, 4 turns, 2 for zoom."""
    used = used_columns(config)
    return dict(zip(used, torch.split(logits, [COUNTS[column] for column in used], dim=1), strict=True))


def heads_cross_entropy(logits: Tensor, codes: Tensor, config: Config) -> Tensor:
    """Return the mean over the heads of the mean cross-entropy: outputs [B, S] and codes (int64 [B, 4]) to a scalar.

    Examples
    --------
    >>> config = Config(heads=("rotation",))
    >>> codes = transformations(config)
    >>> round(float(heads_cross_entropy(torch.zeros(4, 4), codes, config)), 4)  # log 4
    1.3863
    """
    parts = split_outputs(logits, config)
    return torch.stack([functional.cross_entropy(part, codes[:, c]) for c, part in parts.items()]).mean()


def heads_to_uniform(logits: Tensor, config: Config) -> Tensor:
    """Return the mean over heads and rows of the cross-entropy from the uniform distribution to the softmax."""
    parts = split_outputs(logits, config).values()
    return torch.stack([uniform_cross_entropy(part).mean() for part in parts]).mean()


def applied_probability(logits: Tensor, codes: Tensor, config: Config) -> Tensor:
    """Return the sum over the heads of the softmax probability of the applied value, float64 [B].

    Takes outputs [B, S] and codes (int64 [B, 4]).

    Examples
    --------
    >>> config = Config(heads=("rotation", "translation"))
    >>> codes = transformations(config)[:1]
    >>> round(float(applied_probability(torch.zeros(1, 10), codes, config)), 4)  # 1/3 + 1/3 + 1/4
    0.9167
    """
    parts = split_outputs(logits.double(), config)
    return torch.stack([part.softmax(1).gather(1, codes[:, c, None])[:, 0] for c, part in parts.items()]).sum(0)


class TransformationHeads(nn.Module):
    """A backbone and one linear layer with the outputs of all heads.

    There are no classes: `forward` returns zeros for every image and `linear_head` None, so that only the method's own
    score and detectors on features apply.
    """

    def __init__(self, backbone: nn.Module, outputs: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.classes = classes
        self.heads = make_head(backbone, outputs)

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        features: Tensor = self.backbone(images)
        return features

    def transformation_logits(self, images: Tensor) -> Tensor:
        """Return the outputs of all heads, concatenated: [B, S]."""
        logits: Tensor = self.heads(self.features(images))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros [B, K]."""
        return images.new_zeros(len(images), self.classes)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return None: this model has no class head."""
        return None


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and heads."""
    return TransformationHeads(backbone, sum(COUNTS[column] for column in used_columns(config)), classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Predict the transformation of images that are placed and rotated four times; the loss is the mean over the heads.

    Labels are not used, so that a training set of several classes is one without labels (CSI, Table 2). The history has
    the heads' mean error in percent, on images under the transformations in turn.

    Raises
    ------
    ReproodError
        If there is no set of outliers to train with, and the settings need one.
    """
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    places = placements(config).to(run.device)
    every = config.sampling == "every"
    data = under_every_placement(problem.train, len(places)) if every else problem.train
    outliers = outlier_set(problem, config, run) if config.outlier_weight > 0 else None
    inputs = make_inputs(problem, config.training, run)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def draw(images: Tensor, generator: Generator) -> Tensor:
        return torch.randint(len(places), (len(images),), generator=generator).to(images.device, non_blocking=True)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, generator = batch.images, batch.generator
        chosen = batch.labels if every else draw(images, generator)
        if outliers is not None:
            rows = torch.randint(len(outliers), (len(images),), generator=generator).to(images.device)
            strange = inputs(outliers.images.index_select(0, rows), generator)
            images, chosen = torch.cat((images, strange)), torch.cat((chosen, draw(strange, generator)))
        shown, codes = all_turns(placed(images, places[chosen], config), places[chosen])
        logits: Tensor = network.transformation_logits(shown.contiguous(memory_format=layout))  # type: ignore[operator]
        if outliers is None:
            return heads_cross_entropy(logits, codes, config)
        count = len(batch.images)
        by_turn, known = logits.view(4, 2 * count, -1), codes.view(4, 2 * count, -1)[:, :count].flatten(0, 1)
        pull = heads_to_uniform(by_turn[:, count:].flatten(0, 1), config)
        return heads_cross_entropy(by_turn[:, :count].flatten(0, 1), known, config) + config.outlier_weight * pull

    def errors(network: nn.Module) -> dict[str, float]:
        parts = problem.monitor.items()
        return {f"{name}_transformation_error": error(network, part, problem, config, run) for name, part in parts}

    return model, fit(model, loss, data, config.training, run, problem=problem, inputs=inputs, monitor=errors)


def under_every_placement(data: ImageSet, count: int) -> ImageSet:
    """Return every image `count` times in a row, labelled with the indices 0 .. `count` - 1 of the placements."""
    numbers = torch.arange(count, device=data.labels.device).repeat(len(data))
    return ImageSet(data.images.repeat_interleave(count, dim=0), numbers)


def outlier_set(problem: Problem, config: Config, run: Run) -> ImageSet:
    """Return the auxiliary set that `config` names, or the only one.

    Raises
    ------
    ReproodError
        If there is no such set, or no name and not exactly one set.
    """
    known = problem.auxiliary
    if config.outliers in known:
        return known[config.outliers]
    if config.outliers or len(known) != 1:
        wanted = f"the auxiliary set '{config.outliers}'" if config.outliers else "one auxiliary set"
        raise ReproodError(
            f"{run.name}: training with outliers needs {wanted}; the benchmark has {', '.join(known) or 'none'}. Set "
            "'outliers' to the name of one, or outlier_weight to 0."
        )
    return next(iter(known.values()))


@torch.no_grad()
def error(network: nn.Module, data: ImageSet, problem: Problem, config: Config, run: Run) -> float:
    """Return the mean over the heads of the error in percent; the i-th image has transformation i modulo T."""
    every, prepare = transformations(config).to(run.device), make_normalise(problem, run)
    wrong = torch.zeros((), dtype=torch.float64, device=run.device)
    was_training = network.training
    network.eval()
    for rows in torch.split(torch.arange(len(data), device=run.device), MONITOR_BATCH):
        codes = every[rows % len(every)]
        with autocast(run.precision, run.device):
            logits = network.transformation_logits(  # type: ignore[operator]
                transformed(prepare(data.images[rows]), codes, config)
            )
        answers = {column: part.argmax(1) for column, part in split_outputs(logits, config).items()}
        wrong += torch.stack([(answer != codes[:, column]).sum() for column, answer in answers.items()]).double().mean()
    network.train(was_training)
    return 100 * float(wrong) / len(data)


# --- the score ---


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Score one batch by the probability of each transformation that is applied to it.

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    images : Tensor [B, C, H, H]
        Normalised. One transformation of them is in memory at a time.
    config : Config
        Settings of the method.
    fitted : mapping
        Not used.

    Returns
    -------
    dict of float64 Tensor [B]
        transformations: sum over the 4, 36 or 72 transformations and over the heads of the softmax probability of the
        applied value. Higher = more in-distribution; at most 108 with rotation and translation, chance is 33.
    """
    total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    for code in transformations(config).to(images.device):
        codes = code.expand(len(images), -1)
        shown = rotate(placed(images, codes, config), int(code[TURNS]))
        total += applied_probability(model.transformation_logits(shown), codes, config)  # type: ignore[operator]
    return {"transformations": total}


METHOD = Method(
    name="ss_one_class",
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
