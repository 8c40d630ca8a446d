"""Plain training, CutMix, Mixup and Cutout in CutMix's recipe for ImageNet, on images that are streamed from files.

S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo: CutMix, ICCV 2019, arXiv 1905.04899 (section 4.1.1, Tables 3 and 4,
and the published code). Boxes, mixtures and losses are those of `reprood.methods.cutmix`; `probability: 0` is plain
training. Images: random resized crop of 224, flip, colour jitter 0.4, lighting 0.1; test: shorter side 256, centre 224.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, Inputs
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.streaming import Pictures, StreamedProblem, fit_streamed
from reprood.engine.training import Training
from reprood.images.augment import normalise, to_float
from reprood.methods import cutmix
from reprood.methods.base import History, Method
from reprood.methods.cutmix import illustrate, mix_batch, mixed_cross_entropy
from reprood.methods.imagenet.colour import change_colours
from reprood.nets.classifier import Classifier


class Config(cutmix.Config):
    """Settings; the defaults are those of CutMix with ResNet-50 on ImageNet (Table 3).

    Attributes
    ----------
    training : Training
        300 epochs, batches of 256, rate 0.1 divided by 10 at epochs 75, 150 and 225. `augment` is not used.
    jitter : float
        Strength of the changes of brightness, contrast and saturation; 0: none (the paper's text).
    lighting : float
        Standard deviation of the changes along the principal components of the colours; 0: none.
    """

    training: Training = Training(
        epochs=300, batch_size=256, lr=0.1, nesterov=True, schedule="imagenet_steps", augment="none"
    )
    jitter: float = Field(default=0.4, ge=0, lt=1)
    lighting: float = Field(default=0.1, ge=0)


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def make_inputs(problem: StreamedProblem, config: Config, run: Run) -> Inputs:
    """Return the change from uint8 images [B, C, H, W] to the network's inputs: colours (of RGB), normalisation."""
    coloured = problem.channels == 3 and (config.jitter > 0 or config.lighting > 0)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        if coloured:
            images = change_colours(to_float(images), config.jitter, config.lighting, generator)
        return normalise(images, problem.mean, problem.std).contiguous(memory_format=layout)

    return inputs


def train_streamed(problem: StreamedProblem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train on mixed batches of streamed images (CutMix, section 3.1)."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, partner, lam = mix_batch(batch, config)
        logits = network(images)
        if partner is None:
            return functional.cross_entropy(logits, batch.labels, label_smoothing=config.label_smoothing)
        return mixed_cross_entropy(logits, batch.labels, batch.labels[partner], lam, config.label_smoothing)

    inputs = make_inputs(problem, config, run)
    return model, fit_streamed(model, loss, problem, config.training, run, inputs=inputs)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train as `train_streamed` on images in memory, for small sets and trials."""

    def arrays(part: ImageSet) -> tuple[np.ndarray, np.ndarray]:
        return part.images.permute(0, 2, 3, 1).cpu().numpy(), part.labels.cpu().numpy()

    streamed = StreamedProblem(
        train=Pictures(problem.train.images.cpu(), problem.size),
        labels=problem.train.labels.cpu(),
        monitor={name: arrays(part) for name, part in problem.monitor.items()},
        classes=problem.classes,
        channels=problem.channels,
        size=problem.size,
        backbone=problem.backbone,
        mean=problem.mean,
        std=problem.std,
    )
    return train_streamed(streamed, config, run)


METHOD = Method(
    name="imagenet",
    paper=cutmix.METHOD.paper,
    config=Config,
    build=build,
    train=train,
    illustrate=illustrate,
    data_parallel=True,
)
