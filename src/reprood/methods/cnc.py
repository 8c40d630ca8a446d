"""CnC: outliers made by compounding two changes of training images, learnt as one more class.

R. Hebbalaguppe, S. S. Ghosal, J. Prakash, H. Khadilkar, C. Arora: A Novel Data Augmentation Technique for
Out-of-Distribution Sample Detection using Compounded Corruptions, ECML PKDD 2022, arXiv 2207.13916. Section and
equation numbers are the paper's:

    x~ = M * x_A + (1 - M) * x_B, then corrupted     (1)
    L = CE(x, y) + alpha * CE(x~, K + 1)             (2)

Where the paper is silent this file follows the published code; departures from the code are stated.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import normalise, random_crop, random_flip
from reprood.images.corruption import corrupt_mixed
from reprood.images.corruptions import (
    brightness,
    contrast,
    defocus_blur,
    elastic_transform,
    fog,
    frost,
    gaussian_blur,
    gaussian_noise,
    glass_blur,
    impulse_noise,
    saturate,
    shot_noise,
    snow,
    speckle_noise,
    zoom_blur,
)
from reprood.methods.base import History, Method, Paper
from reprood.methods.cutmix import cutmix_batch, draw_centre, draw_lambda, rand_box
from reprood.nets.classifier import Classifier

Outliers = Literal["cnc", "reversed", "corruption", "pbcc", "gaussian_noise"]
Pairs = Literal["other_class", "any"]
Strengths = Literal["imagenet", "cifar"]
Frost = Literal["photographs", "drawn"]
# Steps for which outliers are made at once: with 75 kinds of corruption one batch has few images of a kind, and
# corrupting these separately takes eight times as long.
BLOCK = 32
# The fifteen of the paper, in the order of its code. Each is imported on its own, so no other corruption matters here.
CORRUPTIONS = {
    module.CORRUPTION.name: module.CORRUPTION
    for module in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        snow,
        fog,
        zoom_blur,
        contrast,
        elastic_transform,
        brightness,
        speckle_noise,
        gaussian_blur,
        saturate,
        frost,
    )
}
CNC_NAMES = tuple(CORRUPTIONS)


class Config(BaseModel):
    """Settings; the defaults are the paper's for CIFAR and ResNet-34, trained from scratch.

    Attributes
    ----------
    training : Training
    pretrain : Training or None
        A first phase on the K classes alone; the head then gets its extra output, and `training` is the fine-tuning.
        None: train K + 1 classes from the start, as in all of the paper's results.
    outliers : str
        How they are made from training images. "cnc": patches of two classes are combined, then corrupted; "reversed":
        corrupted, then combined (r-CnC); "corruption", "pbcc": one of the two alone; "gaussian_noise": corrupted by
        Gaussian noise alone.
    pairs : {"other_class", "any"}
        The other image of a combination: from another class, as the paper says, or any of the batch, as its code does.
    corruptions : tuple of str
        One of them is drawn for each image, with a severity from 1 to 5.
    strengths : {"imagenet", "cifar"}
        Of the corruptions: ImageNet-C's, which the published code calls and which are harsh at 32 pixels, or
        CIFAR-10-C's.
    frost : {"photographs", "drawn"}
        What the corruption "frost" blends in: crops of photographs, from the auxiliary set `frost_<strengths>` (a split
        of the data set `frost`), or a drawn texture for benchmarks without that set.
    alpha : float
        Weight of the outliers' loss.
    same_geometry : bool
        Crop and flip outliers like ID images. The code also rotates them by up to `rotation` degrees, which leaves
        black corners, and turns them upside down: signs of an outlier that test images do not have.
    same_normalisation : bool
        Normalise outliers like ID images. The code divides by a larger standard deviation.
    std_ratio : tuple of float
        That standard deviation as a multiple of the ID images', for RGB; grey images take the mean of the three.
    rotation : float
        Largest angle in degrees.

    Notes
    -----
    With "pbcc" geometry and normalisation are those of ID images, as in the code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=200, lr=0.1, weight_decay=5e-4, schedule="multistep")
    pretrain: Training | None = None
    outliers: Outliers = "cnc"
    pairs: Pairs = "other_class"
    corruptions: tuple[str, ...] = Field(default=CNC_NAMES, min_length=1)
    strengths: Strengths = "imagenet"
    frost: Frost = "photographs"
    alpha: float = Field(default=1.0, ge=0)
    same_geometry: bool = False
    same_normalisation: bool = False
    std_ratio: tuple[float, float, float] = (0.247 / 0.2023, 0.243 / 0.1994, 0.262 / 0.2010)
    rotation: float = Field(default=15.0, ge=0, le=180)

    @field_validator("corruptions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CNC_NAMES:
                raise ValueError(f"the method has no corruption '{name}'; known: {', '.join(CNC_NAMES)}")
        return names


# --- the network: K classes and one for everything else ---


class ExtraClass(Classifier):
    """A classifier of K + 1 classes that predicts one of the first K (section 3.2).

    `forward` and `linear_head` are those of the K classes; `all_logits` has the extra class as its last column.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__(backbone, classes + 1)
        self.classes = classes

    def all_logits(self, images: Tensor) -> Tensor:
        """Return logits [B, K + 1] of normalised images [B, C, H, W]."""
        return super().forward(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of the classes."""
        return self.all_logits(images)[:, : self.classes]

    def linear_head(self) -> tuple[Tensor, Tensor]:
        """Return the detached weight [K, d] and bias [K] of the classes."""
        weight, bias = super().linear_head()
        return weight[: self.classes], bias[: self.classes]


def with_extra_class(model: Classifier) -> ExtraClass:
    """Return a classifier of K classes with one more, freshly initialised output; the K logits do not change."""
    extended = ExtraClass(model.backbone, model.head.out_features)
    weight, bias = model.linear_head()
    with torch.no_grad():
        extended.head.weight[: extended.classes] = weight.cpu()
        extended.head.bias[: extended.classes] = bias.cpu()
    return extended


# --- outliers: patch-based convex combination (PBCC), corruption, and both ---


def draw_partners(labels: Tensor, generator: Generator, pairs: Pairs = "other_class") -> Tensor:
    """Draw for every image the row of the image that it is combined with, int64 [B].

    Parameters
    ----------
    labels : int64 Tensor [B]
        Class indices.
    generator : Generator
        Source of the draws, on the CPU.
    pairs : {"other_class", "any"}
        "any" is the code's random permutation, in which some images meet their own class. "other_class" draws
        uniformly among the batch's images of other classes; if there are none, an image is its own partner.
    """
    count = len(labels)
    if pairs == "any":
        return torch.randperm(count, generator=generator).to(labels.device, non_blocking=True)
    draws = torch.rand(count, generator=generator, dtype=torch.float64).to(labels.device, non_blocking=True)
    others = labels[:, None] != labels
    available = others.sum(1)
    wanted = (draws * available).long()
    partner = (others.cumsum(1) > wanted[:, None]).int().argmax(1)
    return torch.where(available > 0, partner, torch.arange(count, device=labels.device))


def pbcc(images: Tensor, partners: Tensor, lam: float, centre: tuple[int, int]) -> Tensor:
    """Combine each image with its partner: x~ = M x + (1 - M) x[partner], M zero in one rectangle (section 3.1, eq. 1).

    CutMix's box and paste, without its mixed labels: the result belongs to the extra class.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Of any type; not changed.
    partners : int64 Tensor [B]
        Rows of the other images.
    lam : float
        lambda in [0, 1]; the box has sides floor(H sqrt(1 - lambda)) and floor(W sqrt(1 - lambda)).
    centre : (int, int)
        Of the box, on axes 2 and 3; parts outside the image are cut off.

    Examples
    --------
    >>> images = torch.tensor([0, 1]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    >>> pbcc(images, torch.tensor([1, 0]), lam=0.75, centre=(2, 2))[0, 0]
    tensor([[0, 0, 0, 0],
            [0, 1, 1, 0],
            [0, 1, 1, 0],
            [0, 0, 0, 0]])
    """
    box, _ = rand_box((images.shape[2], images.shape[3]), lam, centre)
    return cutmix_batch(images, box, partners)


def random_pbcc(images: Tensor, labels: Tensor, generator: Generator, pairs: Pairs = "other_class") -> Tensor:
    """Apply `pbcc` with random partners and, as in the code, one lambda ~ U(0, 1) and one centre per batch."""
    lam = draw_lambda(1.0, generator)
    partners = draw_partners(labels, generator, pairs)
    return pbcc(images, partners, lam, draw_centre((images.shape[2], images.shape[3]), generator))


def rotate_at(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image about its centre by `degrees` [B], to the nearest pixel; pixels from outside are 0.

    Counter-clockwise for positive angles, as in the code. Indexing keeps integer pixels exact.
    """
    batch, channels, height, width = images.shape
    angle = torch.deg2rad(degrees.double()).view(-1, 1, 1)
    down = torch.arange(height, device=images.device, dtype=torch.float64).view(-1, 1) - (height - 1) / 2
    across = torch.arange(width, device=images.device, dtype=torch.float64) - (width - 1) / 2
    column = (angle.cos() * across - angle.sin() * down + width / 2).floor().long()
    row = (angle.sin() * across + angle.cos() * down + height / 2).floor().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = (row * width + column).where(inside, 0).view(batch, 1, -1).expand(-1, channels, -1)
    turned = images.flatten(2).gather(2, place).view_as(images)
    return turned.masked_fill_(~inside[:, None], 0)


def outlier_geometry(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Crop, flip in both directions and rotate by a uniform angle, as the code does with the images for outliers.

    With `same_geometry`, and always for "pbcc": only what `training.augment` does with ID images. uint8 in and out.
    """
    training, like_id = config.training, config.same_geometry or config.outliers == "pbcc"
    if not like_id or training.augment in ("crop_flip", "crop"):
        images = random_crop(images, training.crop_padding, generator)
    if not like_id or training.augment in ("crop_flip", "flip"):
        images = random_flip(images, generator)
    if like_id:
        return images
    images = random_flip(images.transpose(2, 3), generator).transpose(2, 3)
    degrees = (2 * torch.rand(len(images), generator=generator, dtype=torch.float64) - 1) * config.rotation
    return rotate_at(images, degrees.to(images.device, non_blocking=True))


def frost_crops(problem: Problem, strengths: Strengths, frost: Frost, where: str) -> Tensor | None:
    """Return the crops of photographs of frost, uint8 [N, C, H, W]; None if frost is drawn.

    Raises
    ------
    ReproodError
        If the benchmark does not have the auxiliary set `frost_<strengths>`; `where` begins the message.
    """
    if frost == "drawn":
        return None
    name = f"frost_{strengths}"
    if name not in problem.auxiliary:
        raise ReproodError(
            f"{where}: the corruption 'frost' needs the auxiliary set '{name}', a split of the data set 'frost'; add "
            "it to the benchmark, or set frost to 'drawn'."
        )
    return problem.auxiliary[name].images


def make_outliers(
    images: Tensor, labels: Tensor, config: Config, generator: Generator, frost: Tensor | None = None
) -> Tensor:
    """Make outliers from training images (section 3.1), uint8 [B, C, H, W] in and out; geometry is not changed here.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        Training images, of one batch or of several: each `training.batch_size` of them share a box.
    labels : int64 Tensor [B]
        Their classes.
    config : Config
        `outliers`, `pairs`, `corruptions`, `strengths`.
    generator : Generator
        Source of all draws.
    frost : uint8 Tensor [N, C, H, W] or None
        Crops of photographs of frost; None: a texture is drawn.
    """
    batch = config.training.batch_size

    def combined(images: Tensor) -> Tensor:
        parts = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
        return torch.cat([random_pbcc(part, classes, generator, config.pairs) for part, classes in parts])

    if config.outliers == "pbcc":
        return combined(images)
    names = ("gaussian_noise",) if config.outliers == "gaussian_noise" else config.corruptions
    changed = combined(images) if config.outliers == "cnc" else images
    changed = corrupt_mixed(changed, [CORRUPTIONS[name] for name in names], generator, config.strengths, frost)
    return combined(changed) if config.outliers == "reversed" else changed


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return outliers made from images [B, C, H, W] of different classes, in their normalisation; for figures.

    Normalised images do not say what black and white are: their extremes are used. Frost is drawn.
    """
    low, high = images.amin(), images.amax()
    scale = (high - low).clamp(min=1e-12) / 255
    stored = ((images - low) / scale).round().to(torch.uint8)
    outliers = make_outliers(stored, torch.arange(len(images), device=images.device), config, generator)
    return outliers.to(images.dtype) * scale + low


# --- the objective ---


def extra_class_loss(logits: Tensor, labels: Tensor, outlier_logits: Tensor, alpha: float = 1.0) -> Tensor:
    """Return CE(ID, y) + alpha * CE(outliers, K + 1), each the mean over its own images (section 3.2, eq. 2).

    Parameters
    ----------
    logits : Tensor [B, K + 1]
        Of ID images, from one forward pass with the outliers, so that they share batch statistics.
    labels : int64 Tensor [B]
        0 to K - 1.
    outlier_logits : Tensor [M, K + 1]
        Of the outliers, from the same forward pass.
    alpha : float
        Not negative.

    Examples
    --------
    >>> logits, labels = torch.zeros(2, 4), torch.tensor([0, 2])
    >>> round(float(extra_class_loss(logits, labels, torch.zeros(5, 4), alpha=0.5)), 4)  # 1.5 * log 4
    2.0794
    """
    extra = torch.full((len(outlier_logits),), outlier_logits.shape[1] - 1, device=labels.device)
    return functional.cross_entropy(logits, labels) + alpha * functional.cross_entropy(outlier_logits, extra)


# --- training ---


def plain_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of the K classes."""
    return functional.cross_entropy(network(batch.images), batch.labels)


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network of K + 1 classes."""
    return ExtraClass(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train K + 1 classes, with as many outliers as ID images in the forward pass of every step (section 3.2).

    With `pretrain`, a plain classifier is trained first, and the K + 1 classes start from its weights.
    """
    rows: History = []
    if config.pretrain is None:
        with seeded(run.seed("initialisation")):
            model = ExtraClass(problem.backbone(), problem.classes)
    else:
        with seeded(run.seed("initialisation")):
            plain = Classifier(problem.backbone(), problem.classes)
        rows += fit(plain, plain_loss, problem.train, config.pretrain, run, problem=problem, phase="pretrain")
        with seeded(run.seed("extra class")):
            model = with_extra_class(plain)
    outliers = outlier_batches(problem, config, run)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images = torch.cat((batch.images, outliers(batch)))
        logits: Tensor = network.all_logits(images)  # type: ignore[operator]
        count = len(batch.images)
        return extra_class_loss(logits[:count], batch.labels, logits[count:], config.alpha)

    return model, rows + fit(model, loss, problem.train, config.training, run, problem=problem)


def outlier_batches(problem: Problem, config: Config, run: Run) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to its outliers, normalised, one for each ID image.

    As in the code they come from another order of the same training images, a new one each epoch. They are made for
    `BLOCK` steps at once, from draws that depend on the epoch and the block alone.
    """
    size, data = config.training.batch_size, problem.train
    mean, std = outlier_normalisation(problem, config)
    frosted = config.outliers not in ("pbcc", "gaussian_noise") and "frost" in config.corruptions
    frost = frost_crops(problem, config.strengths, config.frost, run.name) if frosted else None
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    @lru_cache(maxsize=1)
    def block(epoch: int, number: int) -> Tensor:
        order = torch.randperm(len(data), generator=run.generator("outliers", epoch))
        rows = order[number * BLOCK * size : (number + 1) * BLOCK * size].to(run.device)
        generator = run.generator("outliers", epoch, number)
        with torch.autocast(run.device.type, enabled=False):  # losses are computed under autocast, images are not
            images = outlier_geometry(data.images.index_select(0, rows), config, generator)
            return make_outliers(images, data.labels.index_select(0, rows), config, generator, frost)

    def outliers(batch: Batch) -> Tensor:
        number, step = divmod(batch.step, BLOCK)
        images = block(batch.epoch, number)[step * size : step * size + len(batch.index)]
        return normalise(images, mean, std).contiguous(memory_format=layout)

    return outliers


def outlier_normalisation(problem: Problem, config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation per channel by which outliers are normalised."""
    if config.same_normalisation or config.outliers == "pbcc":
        return problem.mean, problem.std
    ratio = config.std_ratio if problem.channels == 3 else (sum(config.std_ratio) / 3,) * problem.channels
    return problem.mean, tuple(std * factor for std, factor in zip(problem.std, ratio, strict=True))


# --- the score ---


def cnc_score(all_logits: Tensor) -> Tensor:
    """Return log((1 - p) / p) with p the softmax probability of class K + 1: logits [B, K + 1] to float64 [B].

    Orders images like the paper's 1 - p, but without its ties near 0 and 1. Higher = more in-distribution.

    Examples
    --------
    >>> cnc_score(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    tensor([ 2., -2.], dtype=torch.float64)
    """
    logits = all_logits.double()
    return torch.logsumexp(logits[:, :-1], dim=1) - logits[:, -1]


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the score `cnc` of normalised images [B, C, H, W]: `cnc_score` in one plain forward pass."""
    return {"cnc": cnc_score(model.all_logits(images))}  # type: ignore[operator]


METHOD = Method(
    name="cnc",
    paper=Paper(
        title="A Novel Data Augmentation Technique for Out-of-Distribution Sample Detection using Compounded "
        "Corruptions",
        url="https://arxiv.org/abs/2207.13916",
        id="cnc",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
    illustrate=illustrate,
)
