"""CutMix, and Mixup and Cutout, with which its tables compare it.

S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo: CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features, ICCV 2019, arXiv 1905.04899. Section, equation and table numbers below are the paper's:

    x~ = M * x_A + (1 - M) * x_B,   y~ = lambda y_A + (1 - lambda) y_B            (1)
    box sides W sqrt(1 - lambda), H sqrt(1 - lambda); centre uniform              (2)

Where paper and published code differ, this file follows the code (integer box, one lambda and one box for a whole
batch). Mixup: Zhang et al. (2018). Cutout: DeVries and Taylor (2017).
"""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier

Box = tuple[int, int, int, int]
Mix = Literal[
    "cutmix",
    "mixup",
    "cutout",
    "cutout_mixup",
    "one_hot",
    "complete_label",
    "fixed_size",
    "scheduled",
    "centre_gaussian",
]

CIFAR_SIZE = 32


class Config(BaseModel):
    """Settings; the defaults are the paper's for CIFAR (PyramidNet-200, Table 5).

    Attributes
    ----------
    training : Training
    mix : str
        How batches are changed. "cutmix", "mixup", "cutout" and "cutout_mixup" (both) are rows of Table 5. The
        variants of Table 8: "one_hot" (label of the larger part), "complete_label" (both labels with weight one half),
        "fixed_size" (a box of half the side), "scheduled" (the probability rises from 0 to 1 over the training),
        "centre_gaussian" (box centre from a Gaussian at the image's centre).
    probability : float or None
        Share of the batches that are mixed. None: 1 for Mixup and Cutout; for CutMix and its variants 0.5 for images
        of up to 32 pixels and 1 for larger ones, because the authors mix half of the batches on CIFAR and every batch
        on all other data (issue 30 of their code). Not used by "scheduled".
    alpha : float
        lambda ~ Beta(alpha, alpha), for CutMix and Mixup.
    cutout_size : int or None
        Side of Cutout's square in pixels. None: half the side of the image, as in the paper (16 of 32, 112 of 224).
    centre_std : float
        Standard deviation of "centre_gaussian" as a fraction of the side; not given in the paper.
    label_smoothing : float
        eps, of both labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.25, nesterov=True, schedule="floor_steps")
    mix: Mix = "cutmix"
    probability: float | None = Field(default=None, ge=0, le=1)
    alpha: float = Field(default=1.0, gt=0)
    cutout_size: int | None = Field(default=None, ge=1)
    centre_std: float = Field(default=0.25, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


# --- the box and the mixtures: pure functions of images and draws ---


def rand_box(size: tuple[int, int], lam: float, centre: tuple[int, int]) -> tuple[Box, float]:
    """Return the rectangle to paste, and lambda corrected to its exact area (section 3.1, eq. 2; appendix A).

    Parameters
    ----------
    size : (int, int)
        Length of axes 2 and 3 of the images.
    lam : float
        lambda in [0, 1]: the fraction of the image to keep.
    centre : (int, int)
        Position on axes 2 and 3.

    Returns
    -------
    box : (int, int, int, int)
        Start on axis 2, start on axis 3, stop on axis 2, stop on axis 3. Sides are floor(length * sqrt(1 - lambda)),
        halves are integer divisions, and the box is clipped at the border.
    lam : float
        1 - area of the box / area of the image.

    Examples
    --------
    >>> rand_box((32, 32), 0.75, (16, 16))  # half the side
    ((8, 8, 24, 24), 0.75)
    >>> rand_box((32, 32), 0.75, (0, 31))  # clipped at the border
    ((0, 23, 8, 32), 0.9296875)
    """
    ratio = math.sqrt(1.0 - lam)
    starts, stops = [], []
    for length, middle in zip(size, centre, strict=True):
        half = int(length * ratio) // 2
        starts.append(min(max(middle - half, 0), length))
        stops.append(min(max(middle + half, 0), length))
    area = (stops[0] - starts[0]) * (stops[1] - starts[1])
    return (starts[0], starts[1], stops[0], stops[1]), 1 - area / (size[0] * size[1])


def cutmix_batch(images: Tensor, box: Box, permutation: Tensor) -> Tensor:
    """Replace `box` in each image by the same region of its partner (section 3.1, eq. 1).

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Not changed.
    box : (int, int, int, int)
        From `rand_box`.
    permutation : int64 Tensor [B]
        Row of the partner of each image.

    Examples
    --------
    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    >>> cutmix_batch(images, (0, 0, 1, 2), torch.tensor([1, 0]))[0, 0]
    tensor([[1., 1.],
            [0., 0.]])
    """
    mixed = images.clone()
    rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
    mixed[:, :, rows, columns] = images[:, :, rows, columns].index_select(0, permutation)
    return mixed


def mixup_batch(images: Tensor, lam: float, permutation: Tensor) -> Tensor:
    """Return lambda * images + (1 - lambda) * images[permutation] (Zhang et al. 2018, section 2).

    Examples
    --------
    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    >>> mixup_batch(images, 0.75, torch.tensor([1, 0])).flatten()
    tensor([0.2500, 0.7500])
    """
    return images * lam + images.index_select(0, permutation) * (1 - lam)


def cutout_batch(images: Tensor, side: int, centres: Tensor) -> Tensor:
    """Zero one square per image; zero is the mean colour of normalised images (DeVries and Taylor 2017, section 3.2).

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Normalised.
    side : int
        Nominal side; the square is [centre - side // 2, centre + side // 2), clipped at the border.
    centres : int64 Tensor [B, 2]
        Positions on axes 2 and 3.

    Examples
    --------
    >>> cutout_batch(torch.ones(1, 1, 3, 3), 2, torch.tensor([[1, 1]]))[0, 0]
    tensor([[0., 0., 1.],
            [0., 0., 1.],
            [1., 1., 1.]])
    """
    half = side // 2
    inside = []
    for axis in (0, 1):
        position = torch.arange(images.shape[2 + axis], device=images.device)
        offset = position - centres[:, axis : axis + 1]
        inside.append((offset >= -half) & (offset < half))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0)


def mixed_cross_entropy(logits: Tensor, first: Tensor, second: Tensor, lam: float, smoothing: float = 0.0) -> Tensor:
    """Return lambda * CE(logits, first) + (1 - lambda) * CE(logits, second), means over the batch (section 3.1, eq. 1).

    Equal to the cross-entropy with the target lambda * onehot(first) + (1 - lambda) * onehot(second).

    Parameters
    ----------
    logits : Tensor [B, K]
        Of the mixed images.
    first, second : int64 Tensor [B]
        Labels of the images and of their partners.
    lam : float
        Weight of the first labels, in [0, 1].
    smoothing : float
        Label smoothing of both targets.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> first, second = torch.tensor([0]), torch.tensor([1])
    >>> round(float(mixed_cross_entropy(logits, first, second, 0.75)), 4)  # log(1 + e^2) - 2 * 0.75
    0.6269
    """
    own = functional.cross_entropy(logits, first, label_smoothing=smoothing)
    other = functional.cross_entropy(logits, second, label_smoothing=smoothing)
    return own * lam + other * (1.0 - lam)


# --- the draws ---


def draw_lambda(alpha: float, generator: Generator) -> float:
    """Draw lambda ~ Beta(alpha, alpha)."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def draw_centre(size: tuple[int, int], generator: Generator) -> tuple[int, int]:
    """Draw a uniformly random pixel: first its position on axis 2, then on axis 3."""
    rows, columns = (int(torch.randint(length, (), generator=generator)) for length in size)
    return rows, columns


def draw_gaussian_centre(size: tuple[int, int], std: float, generator: Generator) -> tuple[int, int]:
    """Draw a pixel from a Gaussian at the image's centre.

    `std` is a fraction of the side; positions outside the image are moved to the border.
    """
    draws = torch.randn(2, generator=generator, dtype=torch.float64).tolist()
    rows, columns = (
        min(max(math.floor(length * (0.5 + std * draw)), 0), length - 1)
        for length, draw in zip(size, draws, strict=True)
    )
    return rows, columns


def mixing_probability(config: Config, progress: float, size: tuple[int, int]) -> float:
    """Return the probability that a batch is mixed, after a fraction `progress` of the training.

    Examples
    --------
    >>> [mixing_probability(Config(), 0.0, size) for size in ((32, 32), (64, 64))]  # CIFAR, Tiny ImageNet
    [0.5, 1.0]
    """
    if config.mix == "scheduled":
        return progress
    if config.probability is not None:
        return config.probability
    return 0.5 if config.mix not in ("mixup", "cutout", "cutout_mixup") and max(size) <= CIFAR_SIZE else 1.0


def is_mixed(draw: float, probability: float) -> bool:
    """Return whether a batch with the uniform draw r in [0, 1) is mixed: r < p, one draw for the whole batch."""
    return draw < probability


def mix_batch(batch: Batch, config: Config) -> tuple[Tensor, Tensor | None, float]:
    """Mix one batch, or leave it, as drawn from `batch.generator`.

    Parameters
    ----------
    batch : Batch
        Images [B, C, H, W]; `progress` and `generator` are used.
    config : Config
        Settings of the method.

    Returns
    -------
    images : Tensor [B, C, H, W]
        The batch's images, mixed or not.
    partner : int64 Tensor [B] or None
        Rows of the partners; None if there are none.
    lam : float
        Weight of the images' own labels.
    """
    images, generator = batch.images, batch.generator
    count, size = len(images), (images.shape[2], images.shape[3])
    if not is_mixed(float(torch.rand((), generator=generator)), mixing_probability(config, batch.progress, size)):
        return images, None, 1.0
    if config.mix in ("cutout", "cutout_mixup"):
        centres = torch.stack([torch.randint(length, (count,), generator=generator) for length in size], dim=1)
        images = cutout_batch(
            images, config.cutout_size or min(size) // 2, centres.to(images.device, non_blocking=True)
        )
    if config.mix == "cutout":
        return images, None, 1.0
    lam = 0.75 if config.mix == "fixed_size" else draw_lambda(config.alpha, generator)
    partner = torch.randperm(count, generator=generator).to(images.device, non_blocking=True)
    if config.mix in ("mixup", "cutout_mixup"):
        return mixup_batch(images, lam, partner), partner, lam
    if config.mix == "centre_gaussian":
        centre = draw_gaussian_centre(size, config.centre_std, generator)
    else:
        centre = draw_centre(size, generator)
    box, lam = rand_box(size, lam, centre)
    if config.mix == "one_hot":
        lam = 1.0 if lam >= 0.5 else 0.0
    elif config.mix == "complete_label":
        lam = 0.5
    return cutmix_batch(images, box, partner), partner, lam


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, as training sees them in a mixed batch; for figures."""
    always = config.model_copy(update={"probability": 1.0})
    rows = torch.arange(len(images))
    return mix_batch(Batch(images, rows, rows, generator, 0, 0, 1.0), always)[0]


# --- the training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train as usual, but with mixed batches and labels (section 3.1); nothing changes at test time.

    The training loss is that of the mixed labels and not comparable with a plain classifier's.
    """
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, partner, lam = mix_batch(batch, config)
        logits = network(images)
        if partner is None:
            return functional.cross_entropy(logits, batch.labels, label_smoothing=config.label_smoothing)
        return mixed_cross_entropy(logits, batch.labels, batch.labels[partner], lam, config.label_smoothing)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="cutmix",
    paper=Paper(
        title="CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        url="https://arxiv.org/abs/1905.04899",
        id="cutmix",
    ),
    config=Config,
    build=build,
    train=train,
    illustrate=illustrate,
    data_parallel=True,
)
