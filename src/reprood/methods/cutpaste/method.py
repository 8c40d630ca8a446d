"""CutPaste: tell images from copies with a pasted patch; a density on the learnt features finds defects.

C.-L. Li, K. Sohn, J. Yoon, T. Pfister: CutPaste: Self-Supervised Learning for Anomaly Detection and Localization,
CVPR 2021, arXiv 2104.04015. There is no code of the authors. What the text does not state (depth of the head, size of
the translation, normalisation of the features, width of the smoothing kernel) follows the re-implementation by Runinho
and the code of the authors' preceding paper (Sohn et al. 2021, "Learning and Evaluating Representations for Deep
One-class Classification").

First a network learns a proxy task on normal images of one class (section 2.1). Then its head is dropped and a Gaussian
is fitted to the features of the training images; an image far from it is anomalous (section 2.3). With `crop` the
network sees windows (section 2.4): the largest distance of a window is the image's score, and the distances smoothed
and enlarged to the image's size are its map (figure 1). Other proxy tasks, an untrained network and one trained on
ImageNet are settings of the same module.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, make_normalise
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.images.augment import choose
from reprood.images.rotations import rotate, rotated_batch, translate
from reprood.methods.base import Batches, History, Method, Paper
from reprood.methods.cutpaste.density import distance, fit_density
from reprood.methods.cutpaste.fill import random_colour_scar, random_confetti, random_cutout
from reprood.methods.cutpaste.jitter import random_jitter
from reprood.methods.cutpaste.net import CutPaste
from reprood.methods.cutpaste.paste import random_cutpaste, random_scar
from reprood.methods.cutpaste.patches import random_windows, spread_scores
from reprood.methods.cutpaste.scores import grad_cam, log_odds_normal, proxy_score, training_features, window_distances
from reprood.methods.cutpaste.settings import FILLED
from reprood.methods.cutpaste.settings import Config as Config
from reprood.nets.imagenet_weights import load_imagenet

MONITOR_BATCH = 250


def build(config: Config, backbone: nn.Module, classes: int) -> CutPaste:
    """Return the untrained network: backbone and head."""
    return CutPaste(backbone, classes, config)


# --- the views ---


def base_images(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return normal training images uint8 [B, C, H, H], shifted and jittered; of a patch model a random window each."""
    reach = round(config.translation * images.shape[2])
    if reach:
        moves = torch.randint(-reach, reach + 1, (2, len(images)), generator=generator)
        images = translate(images, *moves.to(images.device, non_blocking=True))
    if config.jitter:
        images = random_jitter(images, generator, config.jitter)
    return random_windows(images, config.crop, generator) if config.crop else images


def pasted(images: Tensor, config: Config, generator: Generator, jitter: float) -> list[Tensor]:
    """Return the copies with a patch that the proxy task needs, each [B, C, H, W]; patches jittered by `jitter`."""
    if config.proxy in FILLED:
        return [filled(images, config, generator)]
    copies = []
    if config.proxy in ("normal", "union", "3way"):
        copies.append(random_cutpaste(images, generator, config.area, config.aspect, config.aspect_law, jitter))
    if config.proxy in ("scar", "union", "3way"):
        copies.append(random_scar(images, generator, config.scar_width, config.scar_height, strength=jitter))
    if config.proxy == "union":
        thin = choose(len(images), 0.5, generator).to(images.device, non_blocking=True)
        return [torch.where(thin.view(-1, 1, 1, 1), copies[1], copies[0])]
    return copies


def filled(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return copies of images uint8 [B, C, H, W] with a patch that is not cut from an image (section 5.1)."""
    if config.proxy == "colour_scar":
        return random_colour_scar(images, generator, config.scar_width, config.scar_height)
    if config.proxy == "confetti":
        return random_confetti(images, generator, config.area, config.aspect, config.aspect_law)
    return random_cutout(images, generator, config.area, config.aspect, config.aspect_law, config.fill)


def views(images: Tensor, config: Config, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return views of images uint8 [B, C, H, W], view by view [n B, ...], and their classes int64 [n B]."""
    if config.proxy == "rotation":
        return rotated_batch(images)
    strength = config.jitter if config.patch_jitter is None else config.patch_jitter
    shown = [images, *pasted(images, config, generator, strength)]
    return torch.cat(shown), torch.arange(len(shown), device=images.device).repeat_interleave(len(images))


def illustrate(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Return images [B, C, H, W], normalised, with patches pasted, or rotated; without colour jitter; for figures.

    The values of black and white are not known for normalised images; for colours of patches their extremes are used.
    """
    if config.proxy == "none":
        return images
    if config.proxy in FILLED:
        low = images.amin()
        scale = (images.amax() - low).clamp(min=1e-12) / 255
        pixels = ((images - low) / scale).round()
        changed = filled(pixels.to(torch.uint8), config, generator).to(images.dtype)
        return torch.where(changed == pixels, images, changed * scale + low)
    if config.proxy == "rotation":
        return rotate(images, torch.randint(1, 4, (len(images),), generator=generator))
    shown = torch.stack(pasted(images, config, generator, 0.0))
    which = torch.randint(len(shown), (len(images),), generator=generator)
    return shown[which, torch.arange(len(images))]


# --- training ---


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train the proxy task by cross-entropy; all views of a batch go through the network together.

    A network with ImageNet weights trains its head alone first. The history has the proxy task's error in percent on
    views of the validation and test images, always the same ones. Without a proxy task it is empty.

    Raises
    ------
    ReproodError
        If the benchmark has more than one class, or ImageNet weights are not available.
    """
    if problem.classes != 1:
        raise ReproodError(
            f"{run.name}: one-class training was given {problem.classes} classes; use a benchmark whose training "
            "images are of one class."
        )
    with seeded(run.seed("initialisation")):
        model = CutPaste(problem.backbone(), problem.classes, config)
    if config.pretrained:
        load_imagenet(model.backbone)
        model.renormalise(problem.mean, problem.std)
    if config.proxy == "none":
        return model.to(run.device).eval(), []
    count, normalised = len(problem.train), make_normalise(problem, run)
    length = config.epoch_images or count
    # Row indices represent the images, so that a small set repeated forty times per epoch is in memory once.
    rows = torch.arange(count, device=run.device).repeat(-(-length // count))[:length]
    data = ImageSet(rows, torch.zeros_like(rows))

    def inputs(chosen: Tensor, generator: Generator) -> Tensor:
        return base_images(problem.train.images.index_select(0, chosen), config, generator)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        shown, classes = views(batch.images, config, batch.generator)
        logits: Tensor = network.proxy_logits(normalised(shown))  # type: ignore[operator]
        return functional.cross_entropy(logits.float(), classes)

    def errors(network: nn.Module) -> dict[str, float]:
        parts = problem.monitor.items()
        return {f"{name}_proxy_error": proxy_error(network, part, problem, config, run) for name, part in parts}

    train_phase = partial(fit, model, loss, data, run=run, problem=problem, inputs=inputs, monitor=errors)
    history: History = []
    if config.pretrained:
        model.train_backbone(False)
        history += train_phase(config.head_training, phase="head")
        model.train_backbone(True)
    history += train_phase(config.training)
    return model, history


@torch.no_grad()
def proxy_error(network: nn.Module, data: ImageSet, problem: Problem, config: Config, run: Run) -> float:
    """Return the error in percent over all views of all images; the same views at every call."""
    prepare, generator = make_normalise(problem, run), run.generator("monitor")
    wrong = torch.zeros((), dtype=torch.int64, device=run.device)
    total = 0
    was_training = network.training
    network.eval()
    for images in torch.split(data.images, MONITOR_BATCH):
        shown, classes = views(base_images(images, config, generator), config, generator)
        with autocast(run.precision, run.device):
            logits = network.proxy_logits(prepare(shown))  # type: ignore[operator]
        wrong += (logits.argmax(1) != classes).sum()
        total += len(classes)
    network.train(was_training)
    return 100 * int(wrong) / total


# --- scores and maps ---


@torch.no_grad()
def fit_on_train(
    model: CutPaste,
    batches: Batches,
    config: Config,
    generator: Generator,
) -> dict[str, Tensor]:
    """Fit the densities to the training images, in evaluation mode and not augmented.

    Parameters
    ----------
    model : CutPaste
        Trained, in evaluation mode.
    batches : callable
        Iterates over normalised images [B, C, H, W] with labels.
    config : Config
        Settings of the method.
    generator : Generator
        Chooses the windows of a shared density.

    Returns
    -------
    dict of float64 Tensor
        From `reprood.methods.cutpaste.density.fit_density`, for all densities.

    Raises
    ------
    ReproodError
        If windows do not tile the images, or no density fits the features.
    """
    features = training_features(model, (images for images, _ in batches()), config, generator)
    fitted: dict[str, Tensor] = {}
    for kind in config.densities:
        fitted |= fit_density(kind, features)
    return fitted


@torch.no_grad()
def scores(model: CutPaste, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Score one batch.

    Parameters
    ----------
    model : CutPaste
        Trained, in evaluation mode.
    images : Tensor [B, C, H, H]
        Normalised.
    config : Config
        Settings of the method.
    fitted : mapping
        From `fit_on_train`.

    Returns
    -------
    dict of float64 Tensor [B]
        Higher = more normal. One for each of `config.densities`: minus the distance of the image, or of a patch model
        minus the largest distance of its windows (figure 1). "proxy", for whole images: that of the proxy classifier.
    """
    if config.crop:
        distances = window_distances(model, images, config, fitted, config.densities)
        return {kind: -values.flatten(1).amax(1) for kind, values in distances.items()}
    features = model.features(images)
    by_name: dict[str, Tensor] = {kind: -distance(kind, features, fitted) for kind in config.densities}
    if config.proxy != "none":
        by_name["proxy"] = proxy_score(model, images, config)
    return by_name


@torch.no_grad()
def anomaly_maps(model: CutPaste, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> Tensor:
    """Return maps of where images are anomalous: [B, C, H, H], normalised, to [B, H, H], higher = more anomalous.

    The distances of a patch model's windows, smoothed and enlarged (A.5); otherwise Grad-CAM, as set by `config.cam`.
    """
    kind = config.densities[0]
    if config.crop:
        distances = window_distances(model, images, config, fitted, (kind,))[kind]
        return spread_scores(distances, config.crop, config.stride)
    maps: Tensor = model.maps(images)
    if config.cam == "density":
        return grad_cam(maps, lambda pooled: distance(kind, pooled, fitted), images.shape[2])
    head = model.head
    assert head is not None  # ensured by the settings
    return grad_cam(maps, lambda pooled: -log_odds_normal(head(pooled)), images.shape[2])


METHOD = Method(
    name="cutpaste",
    paper=Paper(
        title="CutPaste: Self-Supervised Learning for Anomaly Detection and Localization",
        url="https://arxiv.org/abs/2104.04015",
        id="cutpaste",
    ),
    config=Config,
    build=build,
    train=train,
    fit_on_train=fit_on_train,
    scores=scores,
    anomaly_maps=anomaly_maps,
    illustrate=illustrate,
)
