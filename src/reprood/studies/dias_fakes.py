"""DIAS' fakes by difficulty: how confident is a classifier that has never learnt from them?

The classifier is trained by cross-entropy alone while a copycat and a generator are trained against it, as in DIAS. It
then classifies held-out images, the copycat's maps of them (hard fakes), generated images (moderate) and the copycat's
features of them (easy). Everything is in evaluation mode, and generated images use the same batch normalisation as real
ones, because the classifier has used no other.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reprood.engine.problem import ImageSet
from reprood.methods.dias import method as dias
from reprood.methods.dias.net import Networks
from reprood.studies.base import Context, Findings, Row, Study

BINS = 40
CHANCE = "chance"
Network = TypeVar("Network", bound=nn.Module)
SOURCES = ("known", "hard", "hard_first", "hard_second", "easy")  # arms that have the label of an image


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    method : dias.Config
        How the networks are trained; all levels are made and `learn` is always False.
    batch : int
        Images at a time.
    shown : int
        Images for the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dias.Config = dias.Config()
    batch: int = Field(default=250, ge=1)
    shown: int = Field(default=8, ge=1)


@dataclass(frozen=True)
class Predictions:
    """A classifier's predictions on fakes of one kind: confidence, float64 [N], and most probable class, int64 [N]."""

    confidence: Tensor
    answer: Tensor


def predictions(logits: Tensor) -> Predictions:
    """Return the maximum softmax probability and class of logits [N, K]."""
    confidence, answer = logits.double().softmax(1).max(1)
    return Predictions(confidence.cpu(), answer.cpu())


@torch.no_grad()
def classify_fakes(networks: Networks, images: ImageSet, noise: Tensor, batch: int) -> dict[str, Predictions]:
    """Return predictions on held-out images, and on as many fakes of each kind.

    Parameters
    ----------
    networks : Networks
        In evaluation mode.
    images : ImageSet
        uint8 [N, C, H, W].
    noise : Tensor [N, n, 1, 1]
        For the generator.
    batch : int
        Images at a time.

    Returns
    -------
    dict
        known, hard_first, hard_second, easy, moderate; and hard, both kinds of hard fakes.
    """
    copycat, generator = _need(networks.copycat), _need(networks.generator)
    classifier = networks.classifier
    logits_of: dict[str, list[Tensor]] = {}
    for part, drawn in zip(torch.split(images.images, batch), torch.split(noise, batch), strict=True):
        real = part.float() / 255
        first, second, features = copycat.outputs(real)
        answers = {
            "known": classifier(real),
            "hard_first": classifier.logits_from(first, 1),
            "hard_second": classifier.logits_from(second, 2),
            "moderate": classifier(generator(drawn)),
            "easy": classifier.head(features),
        }
        for name, logits in answers.items():
            logits_of.setdefault(name, []).append(logits)
    one = {name: predictions(torch.cat(parts)) for name, parts in logits_of.items()}
    pair = one["hard_first"], one["hard_second"]
    both = Predictions(torch.cat([p.confidence for p in pair]), torch.cat([p.answer for p in pair]))
    return {**one, "hard": both}


def _need(network: Network | None) -> Network:
    if network is None:
        raise ValueError("the study needs a copycat and a generator")
    return network


def measure(config: Config, context: Context) -> Findings:
    """Train the networks for every seed and classify held-out images and fakes.

    Returns
    -------
    Findings
        Arms known, hard (both maps), hard_first, hard_second, moderate, easy. Metric confidence: mean maximum softmax
        probability in percent. Metric agreement, not of generated images, which have no label: percent of fakes that
        are classified as their source's label (of known images, the accuracy); the arm chance has 100 / K. Metric gap,
        arms first and second: mean distance of the copycat's maps to the classifier's as a fraction of these maps' mean
        size. Arrays of the first seed: `edges` and counts `confidence_<arm>` of histograms; `source`, `generated`
        uint8 [shown, H, W, C]; `map_classifier`, `map_copycat` uint8 [shown, h, w], the means over the channels of
        the first stage's maps.
    """
    method = config.method.model_copy(update={"learn": False, "levels": ("easy", "moderate", "hard")})
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        _, networks, _ = dias.train_networks(problem, method, context.run(seed))
        data = problem.validation
        drawn = torch.randn(len(data), method.noise, 1, 1, generator=context.generator(seed, "noise"))
        noise = drawn.to(data.images.device)
        by_arm = classify_fakes(networks, data, noise, config.batch)
        labels = data.labels.cpu()
        numbers = {(arm, "confidence"): 100 * float(one.confidence.mean()) for arm, one in by_arm.items()}
        for arm in SOURCES:
            own = torch.cat((labels, labels)) if arm == "hard" else labels
            numbers[arm, "agreement"] = 100 * float((by_arm[arm].answer == own).double().mean())
        numbers[CHANCE, "agreement"] = 100 / problem.classes
        numbers |= {(stage, "gap"): value for stage, value in gaps(networks, data, config.batch).items()}
        rows += [Row(seed=seed, arm=arm, metric=metric, value=value) for (arm, metric), value in numbers.items()]
        if seed == context.seeds[0]:
            arrays = picture(networks, data.images[: config.shown], noise[: config.shown])
            edges = np.linspace(0, 1, BINS + 1)
            arrays["edges"] = edges
            for arm in ("known", "hard_first", "hard_second", "moderate", "easy"):
                arrays[f"confidence_{arm}"] = np.histogram(by_arm[arm].confidence.numpy(), edges)[0]
    return Findings(rows, arrays)


@torch.no_grad()
def gaps(networks: Networks, images: ImageSet, batch: int) -> dict[str, float]:
    """Return the mean distance of the copycat's maps to the classifier's, relative to the latter's mean size."""
    copycat = _need(networks.copycat)
    distance, size = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for part in torch.split(images.images, batch):
        real = part.float() / 255
        for k, (own, goal) in enumerate(zip(copycat.outputs(real)[:2], networks.classifier.outputs(real)[:2])):
            distance[k] += (own - goal).abs().double().sum().cpu()
            size[k] += goal.abs().double().sum().cpu()
    first, second = (distance / size).tolist()
    return {"first": first, "second": second}


@torch.no_grad()
def picture(networks: Networks, images: Tensor, noise: Tensor) -> dict[str, np.ndarray]:
    """Return images of the figure, from uint8 images [n, C, H, W] and noise [n, z, 1, 1]; maps share one scale."""
    real = images.float() / 255
    maps = [net.outputs(real)[0].mean(1).cpu() for net in (networks.classifier, _need(networks.copycat))]
    low, high = (min(m.min() for m in maps), max(m.max() for m in maps))
    scaled = [((m - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8).numpy() for m in maps]
    made = (_need(networks.generator)(noise) * 255).round().to(torch.uint8)
    return {
        "source": images.permute(0, 2, 3, 1).cpu().numpy(),
        "generated": made.permute(0, 2, 3, 1).cpu().numpy(),
        "map_classifier": scaled[0],
        "map_copycat": scaled[1],
    }


STUDY = Study(name="dias_fakes", config=Config, measure=measure)
