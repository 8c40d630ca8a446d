"""HOOD: features of in-distribution (ID) images made independent of those of auxiliary outliers.

J. Lin, Y. Wang, Q. Cai, Y. Pan, T. Yao, H. Chao, T. Mei: Out-of-Distribution Detection with Hilbert-Schmidt
Independence Optimization, arXiv 2209.12807. Only the abstract and the published code were available: "the paper's"
below means the code's. The loss is

    L = CE(ID) + scale * w / 2 * (HSIC(outliers_1, ID) + HSIC(outliers_2, ID)),   HSIC = tr(K H L H) / (N - 1)^2,

with Gaussian kernels K and L of one bandwidth and H = I - 11' / N; the score is max_c |<f(x), mu_c>| (eq. 11).

ID images and outliers are paired arbitrarily, so the penalty's mean over pairings, `expected_hsic`, does not measure
dependence: it is small if either set of features has little spread. The study `hood_mechanism` measures this.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, make_normalise
from reprood.engine.fit import Loss, fit
from reprood.engine.outliers import Order, outlier_batches
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip
from reprood.images.randaugment import HOOD_TABLE, randaugment
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import Classifier

FEATURE_BATCH = 500


class Config(BaseModel):
    """Settings; the defaults are the published script's for CIFAR-100 (WRN-40-2 with dropout 0.3).

    Attributes
    ----------
    training : Training
    weight : float
        w of the penalty. 0 is the code's baseline: cross-entropy of ID batches alone, without outliers.
    tau : float
        Bandwidth of both kernels, in units of the features: they are not normalised, so it must suit the network.
    scale : float or None
        Factor of the penalty in addition to w. The code's 16384 = 128^2 belongs to its batches of 128; None takes the
        square of the batch size, with which the strength is the same for any batch.
    outliers : str
        The auxiliary set; "" if there is only one.
    order : {"sequential", "random"}
        See `reprood.engine.outliers`. The code reads 80 million images in order, each at most once.
    outlier_augment : {"crop_flip", "randaugment", "none"}
        "randaugment" is HOOD-aug: crop, RandAugment, flip. RandAugment is never applied to ID images.
    operations, magnitude : int, float
        n and m of RandAugment.
    translate_limit : float or None
        Longest translation by RandAugment as a fraction of the side. At m = 10 the code's is 33.3 pixels, which leaves
        an image of 32 pixels black: 41 % of the outliers with n = 4. None keeps that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=100,
        batch_size=128,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine_step",
        final_lr=1e-6,
        drop_last=True,
    )
    weight: float = Field(default=1.0, ge=0)
    tau: float = Field(default=5.0, gt=0)
    scale: float | None = Field(default=16384.0, gt=0)
    outliers: str = ""
    order: Order = "sequential"
    outlier_augment: Literal["crop_flip", "randaugment", "none"] = "crop_flip"
    operations: int = Field(default=4, ge=0)
    magnitude: float = Field(default=10.0, ge=0, le=30)
    translate_limit: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _full_batches(self) -> "Config":
        if not self.training.drop_last:
            raise ValueError("training.drop_last must be true: the penalty's factor is that of a full batch")
        if self.training.batch_size < 2:
            raise ValueError("training.batch_size must be 2 or more: HSIC needs pairs of images")
        return self

    def factor(self) -> float:
        """Return scale * w, by which the two HSIC are multiplied before the half of `penalty`."""
        return self.weight * (self.training.batch_size**2 if self.scale is None else self.scale)


# --- the Hilbert-Schmidt independence criterion ---


def gaussian_kernel(features: Tensor, sigma: float) -> Tensor:
    """Return K_ij = exp(-|x_i - x_j|^2 / (2 sigma^2)) of the rows of features [N, d]: [N, N].

    Distances come from the Gram matrix, as in the code, and may be below 0 by a rounding error.

    Examples
    --------
    >>> gaussian_kernel(torch.tensor([[0.0], [1.0]]), sigma=1.0)
    tensor([[1.0000, 0.6065],
            [0.6065, 1.0000]])
    """
    gram = features @ features.T
    squares = gram.diagonal()
    distances = squares[:, None] + squares - 2 * gram
    return torch.exp(-distances / (2 * sigma**2))


def kernel_hsic(first: Tensor, second: Tensor) -> Tensor:
    """Return the biased HSIC of two kernel matrices [N, N] of paired rows: tr(K H L H) / (N - 1)^2, H = I - 11' / N."""
    centred = [kernel - kernel.mean(dim=0) for kernel in (first, second)]
    return (centred[0] * centred[1].T).sum() / (len(first) - 1) ** 2


def hsic(first: Tensor, second: Tensor, sigma: float) -> Tensor:
    """Return `kernel_hsic` of paired features [N, d1] and [N, d2], N >= 2, under Gaussian kernels of one bandwidth.

    Examples
    --------
    >>> features = torch.tensor([[0.0], [1.0], [5.0]])
    >>> constant = torch.zeros(3, 1)
    >>> float(hsic(features, constant, sigma=1.0))  # nothing depends on a constant
    0.0
    >>> bool(hsic(features, features, sigma=1.0) > 0)
    True
    """
    return kernel_hsic(gaussian_kernel(first, sigma), gaussian_kernel(second, sigma))


def off_diagonal_mean(kernel: Tensor) -> Tensor:
    """Return the mean of a kernel matrix [N, N] off the diagonal: near 1 if the features hardly differ."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))


def expected_hsic(first: Tensor, second: Tensor) -> Tensor:
    """Return the exact mean of `kernel_hsic` over all N! pairings of the rows of two kernels with unit diagonals.

    It is (1 - k) (1 - l) / (N - 1) with k and l the `off_diagonal_mean` of either kernel.
    """
    return (1 - off_diagonal_mean(first)) * (1 - off_diagonal_mean(second)) / (len(first) - 1)


def penalty(features: Tensor, outlier_features: Tensor, tau: float, factor: float) -> Tensor:
    """Return HSIC of the ID images with either half of the outliers: factor / 2 times the sum of the two.

    Parameters
    ----------
    features : Tensor [n, d]
        Of ID images; not normalised.
    outlier_features : Tensor [2n, d]
        Of outliers. Both arguments receive gradients.
    tau : float
        Bandwidth.
    factor : float
        scale * w.
    """
    first, second = outlier_features.chunk(2)
    return factor / 2 * (hsic(first, features, tau) + hsic(second, features, tau))


def hood_loss(
    logits: Tensor, labels: Tensor, features: Tensor, outlier_features: Tensor, tau: float, factor: float
) -> Tensor:
    """Return the mean cross-entropy of the ID images plus the `penalty`; outliers have no cross-entropy.

    Parameters
    ----------
    logits : Tensor [n, K]
        Of the ID images.
    labels : int64 Tensor [n]
        Class indices.
    features, outlier_features, tau, factor
        As in `penalty`.

    Examples
    --------
    >>> logits, labels, features = torch.zeros(2, 10), torch.tensor([3, 4]), torch.zeros(2, 5)
    >>> round(float(hood_loss(logits, labels, features, torch.zeros(4, 5), tau=5.0, factor=4.0)), 4)  # log 10
    2.3026
    """
    return functional.cross_entropy(logits, labels) + penalty(features, outlier_features, tau, factor)


# --- the network and its score ---


class CorrelationNet(Classifier):
    """A classifier with the mean feature vector of each class as a buffer, stored with its weights."""

    class_means: Tensor

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__(backbone, classes)
        self.register_buffer("class_means", torch.zeros(classes, self.width))


def mean_features(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean of the features [N, d] of each class, float64 [K, d]; every class must occur."""
    wide = features.double()
    return torch.stack([wide[labels == label].mean(dim=0) for label in range(classes)])


def correlation(features: Tensor, means: Tensor) -> Tensor:
    """Return the paper's correlation score (eq. 11), max_c |<f, mu_c>|, float64 [B]; higher = more in-distribution.

    Neither features nor means are normalised, so the norm of the features [B, d] counts most.

    Examples
    --------
    >>> correlation(torch.tensor([[1.0, -3.0]]), torch.eye(2))
    tensor([3.], dtype=torch.float64)
    """
    return (features.double() @ means.double().T).abs().amax(dim=1)


@torch.no_grad()
def store_class_means(model: CorrelationNet, problem: Problem, run: Run) -> None:
    """Store the class means of the final network: evaluation mode, clean training images, fp32."""
    normalised = make_normalise(problem, run)
    parts = torch.split(problem.train.images, FEATURE_BATCH)
    features = torch.cat([model.eval().features(normalised(part)) for part in parts])
    model.class_means.copy_(mean_features(features, problem.train.labels, problem.classes))


@torch.no_grad()
def scores(model: CorrelationNet, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the score `hood_cor` of normalised images [B, C, H, W]; the paper's SFM is the detector `msp`."""
    return {"hood_cor": correlation(model.features(images), model.class_means)}


# --- training ---


def augmented(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return outliers, uint8 [B, C, H, W], as used in training: cropped, with RandAugment in HOOD-aug, flipped."""
    if config.outlier_augment == "none":
        return images
    images = random_crop(images, config.training.crop_padding, generator)
    if config.outlier_augment == "randaugment":
        limit = config.translate_limit
        images = randaugment(images, HOOD_TABLE, config.operations, config.magnitude, generator, translate_limit=limit)
    return random_flip(images, generator)


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, changed as outliers are in training; for figures.

    Normalised images do not say what black and white are: their extremes are used.
    """
    low, high = images.amin(), images.amax()
    scale = (high - low).clamp(min=1e-12) / 255
    stored = ((images - low) / scale).round().to(torch.uint8)
    return augmented(stored, config, generator).to(images.dtype) * scale + low


def build(config: Config, backbone: nn.Module, classes: int) -> CorrelationNet:
    """Return the untrained network."""
    return CorrelationNet(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase, with n ID images and 2n outliers in one forward pass, then store the class means.

    Raises
    ------
    ReproodError
        If there are no outliers, or if a class has no training image and therefore no mean.
    """
    empty = torch.bincount(problem.train.labels, minlength=problem.classes).eq(0).nonzero().flatten().tolist()
    if empty:
        raise ReproodError(
            f"{run.name}: there is no training image of class {empty[0]}, and HOOD's score needs the mean of every "
            "class; leave the class out of the benchmark or raise its number of training images."
        )
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    loss = plain_loss if config.weight == 0 else _joint_loss(problem, config, run)
    rows = fit(model, loss, problem.train, config.training, run, problem=problem)
    store_class_means(model, problem, run)
    return model, rows


def plain_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of the ID images."""
    return functional.cross_entropy(network(batch.images), batch.labels)


def _joint_loss(problem: Problem, config: Config, run: Run) -> Loss:
    outliers = outlier_batches(problem, config.training, run, name=config.outliers, order=config.order)
    normalised = make_normalise(problem, run)
    factor = config.factor()

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        count = len(batch.images)
        # Autocast is for the network only: neither images nor kernels should depend on the precision.
        with torch.autocast(run.device.type, enabled=False):
            others = normalised(augmented(outliers(batch), config, batch.generator))
        features: Tensor = network.features(torch.cat((batch.images, others)))  # type: ignore[operator]
        logits: Tensor = network.head(features[:count])  # type: ignore[operator]
        with torch.autocast(run.device.type, enabled=False):
            wide = features.float()
            return hood_loss(logits.float(), batch.labels, wide[:count], wide[count:], config.tau, factor)

    return loss


METHOD = Method(
    name="hood",
    paper=Paper(
        title="Out-of-Distribution Detection with Hilbert-Schmidt Independence Optimization",
        url="https://arxiv.org/abs/2209.12807",
        id="hood",
    ),
    config=Config,
    build=build,
    train=train,
    scores=scores,
    illustrate=illustrate,
    illustrates_outliers=True,
)
