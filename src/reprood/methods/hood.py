"""HOOD: features of in-distribution images made independent of those of outliers.

J. Lin, Y. Wang, Q. Cai, Y. Pan, T. Yao, H. Chao, T. Mei: Out-of-Distribution Detection with Hilbert-Schmidt
Independence Optimization, arXiv 2209.12807. The body of the paper could not be read: what follows is its code.

The penalty is the biased HSIC of features of arbitrary pairs of an in-distribution image and an outlier. Its mean over
pairings is (1 - mean K) (1 - mean L) / (N - 1) whatever the network is, so that it acts on the spread of either set of
features; the study `hood_mechanism` measures this.
"""

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_normalise
from reprood.engine.fit import fit
from reprood.engine.outliers import Order, outlier_rows, outlier_set
from reprood.engine.precision import autocast
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip
from reprood.images.randaugment import HOOD_TABLE, randaugment
from reprood.nets.classifier import Classifier

BATCH = 500


class Config(BaseModel):
    """Settings; the defaults are those of the published scripts for CIFAR-100 (WRN-40-2, dropout 0.3).

    Attributes
    ----------
    weight : float
        w of the penalty.
    tau : float
        Bandwidth of both Gaussian kernels.
    scale : float or None
        Factor of the HSIC: 16384 = 128^2 in the code, which is tied to its batch of 128; None: the square of the batch.
    outliers : str
        The auxiliary set; "" takes the only one.
    order : {"random", "sequential"}
        Outliers drawn at random, or read in order from equally spaced places as in the code, whose 80 million images
        stand in order of their search words.
    outlier_augment : {"crop_flip", "randaugment"}
        "randaugment" is HOOD-aug: crop, RandAugment, flip.
    operations, magnitude
        n and m of RandAugment.
    translate_limit : float or None
        Largest translation of RandAugment as a share of the side. At the published m = 10 a translation is 33 pixels
        and leaves a black image of 32; None leaves it so.
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
    outlier_augment: Literal["crop_flip", "randaugment"] = "crop_flip"
    operations: int = Field(default=4, ge=0)
    magnitude: float = Field(default=10.0, ge=0, le=30)
    translate_limit: float | None = Field(default=None, gt=0, le=1)


# --- the penalty ---


def gaussian_kernel(features: Tensor, sigma: float) -> Tensor:
    """K_ij = exp(-||x_i - x_j||^2 / (2 sigma^2)) of the rows of [N, d], on raw features; [N, N]."""
    products = features @ features.T
    squares = products.diagonal()
    return torch.exp(-(squares[:, None] + squares[None] - 2 * products) / (2 * sigma**2))


def hsic(first: Tensor, second: Tensor, sigma: float) -> Tensor:
    """Biased estimate tr(K H L H) / (N - 1)^2 of paired rows [N, d1] and [N, d2] (Gretton et al. 2005).

    H takes the mean off columns; with both kernels symmetric it is enough to centre the columns of each.
    """
    count = len(first)
    k, m = gaussian_kernel(first, sigma), gaussian_kernel(second, sigma)
    k, m = k - k.mean(dim=0, keepdim=True), m - m.mean(dim=0, keepdim=True)
    return torch.trace(k @ m) / (count - 1) ** 2


def expected_hsic(first: Tensor, second: Tensor, sigma: float) -> Tensor:
    """Mean of `hsic` over all pairings of the rows: (1 - mean of K) (1 - mean of L) / (N - 1), off the diagonals."""
    count = len(first)

    def off_diagonal(kernel: Tensor) -> Tensor:
        return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))

    k, m = off_diagonal(gaussian_kernel(first, sigma)), off_diagonal(gaussian_kernel(second, sigma))
    return (1 - k) * (1 - m) / (count - 1)


def penalty(features: Tensor, outlier_features: Tensor, sigma: float, factor: float) -> Tensor:
    """Half of `factor` times the sum of the HSIC of n ID images with either half of 2n outliers."""
    count = len(features)
    halves = outlier_features[:count], outlier_features[count : 2 * count]
    return factor / 2 * (hsic(halves[0], features, sigma) + hsic(halves[1], features, sigma))


# --- the network and its score ---


class CorrelationNet(Classifier):
    """A classifier that keeps the mean feature vector of each class [K, d]."""

    class_means: Tensor

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__(backbone, classes)
        self.register_buffer("class_means", torch.zeros(classes, self.width))


def build(config: Config, backbone: nn.Module, classes: int) -> CorrelationNet:
    """The untrained network."""
    return CorrelationNet(backbone, classes)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature vector of each class, not normalised; [N, d] -> [K, d]."""
    return torch.stack([features[labels == label].mean(dim=0) for label in range(classes)])


def correlation(features: Tensor, means: Tensor) -> Tensor:
    """max_c |<f, mu_c>|, float64 [B] (equation 11 as the code names it); higher = more in-distribution."""
    return (features.double() @ means.double().T).abs().amax(dim=1)


def scores(model: CorrelationNet, images: Tensor, config: Config, fitted: dict[str, float]) -> dict[str, Tensor]:
    """`hood_cor`: the correlation with the nearest class mean."""
    with torch.no_grad():
        return {"hood_cor": correlation(model.features(images), model.class_means)}


@torch.no_grad()
def keep_class_means(model: CorrelationNet, data: ImageSet, problem: Problem, run: Run) -> None:
    """Class means of clean training images in evaluation mode."""
    normalised = make_normalise(problem, run)
    model.eval()
    found = []
    for part in torch.split(data.images, BATCH):
        with autocast("fp32", run.device):
            found.append(model.features(normalised(part)))
    model.class_means.copy_(class_means(torch.cat(found), data.labels, problem.classes))


# --- training ---


def augmented(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """uint8 outliers [B, C, H, W] cropped, changed by RandAugment in HOOD-aug, flipped."""
    images = random_crop(images, config.training.crop_padding, generator)
    if config.outlier_augment == "randaugment":
        images = randaugment(
            images,
            HOOD_TABLE,
            config.operations,
            config.magnitude,
            generator,
            translate_limit=config.translate_limit,
        )
    return random_flip(images, generator)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, list[dict[str, Any]]]:
    """One phase with n ID images and 2n outliers in one forward pass; then the class means of the final network."""
    outliers = outlier_set(problem, config.outliers, run.name)
    normalised = make_normalise(problem, run)
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    epochs, size = config.training.epochs, config.training.batch_size
    factor = config.weight * (size**2 if config.scale is None else config.scale)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, CorrelationNet)
        count = len(batch.images)
        rows = outlier_rows(batch, len(outliers), 2 * count, config.order, epochs).to(run.device)
        others = normalised(augmented(outliers.images[rows], config, batch.generator))
        features = network.features(torch.cat([batch.images, others]))
        cross_entropy = functional.cross_entropy(network.head(features[:count]).float(), batch.labels)
        if factor == 0:
            return cross_entropy
        with torch.autocast(run.device.type, enabled=False):  # kernels need the digits
            wide = features.float()
            return cross_entropy + penalty(wide[:count], wide[count:], config.tau, factor)

    history = fit(model, loss, problem.train, config.training, run, problem=problem)
    keep_class_means(model, problem.train, problem, run)
    return model, history


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """What RandAugment makes of outliers in HOOD-aug, shown on ID images; unchanged ones for HOOD."""
    if config.outlier_augment != "randaugment":
        return images
    low, high = images.amin(), images.amax()
    pixels = ((images - low) / (high - low) * 255).round().to(torch.uint8)
    return augmented(pixels, config, generator).float() / 255 * (high - low) + low
