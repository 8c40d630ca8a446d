"""How uncertain a plain classifier is on CnC's synthetic images, and how different they are (section 4.4, Table 4).

All arms use the same source images, boxes and corruptions. The paper's measure of diversity is in a supplement that is
not available; the mean distance between penultimate features is used instead, under its own name.
"""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.images.augment import normalise
from reprood.images.corruption import corrupt_mixed
from reprood.methods.cnc.outliers import frost_crops, random_pbcc
from reprood.methods.cnc.settings import CORRUPTIONS, Frost, Strengths
from reprood.studies.base import Context, Findings, Row, Study

BATCH = 250
BINS = 30


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    classifier : str
        Row of the plain K-class model.
    images : int
        Training images from which synthetic ones are made; fewer if there are not enough.
    batch : int
        Images that share a box, and among which partners are drawn.
    strengths : {"imagenet", "cifar"}
        Of the corruptions.
    frost : {"photographs", "drawn"}
        As in the method `cnc`.
    shown : int
        Images of each arm for the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: str = "erm"
    images: int = Field(default=2000, ge=2)
    batch: int = Field(default=64, ge=2)
    strengths: Strengths = "imagenet"
    frost: Frost = "photographs"
    shown: int = Field(default=8, ge=1)


def synthesise(
    source: ImageSet, config: Config, mixing: Generator, corrupting: Generator, frost: Tensor | None = None
) -> dict[str, Tensor]:
    """Return images of the arms by name, uint8 [N, C, H, W] each: the source, PBCC, Corruption and CnC.

    Parameters
    ----------
    source : ImageSet
        uint8, with labels.
    config : Config
        `batch` and `strengths`.
    mixing, corrupting : Generator
        Draws of boxes and partners; draws of corruptions. PBCC's images get the same corruptions as the source's.
    frost : uint8 Tensor [N, C, H, W] or None
        Crops of photographs of frost; None: a texture is drawn.
    """
    images = torch.split(source.images, config.batch)
    parts = zip(images, torch.split(source.labels, config.batch), strict=True)
    mixed = [random_pbcc(part, labels, mixing) for part, labels in parts]
    # One seed per batch: how many numbers a corruption draws may depend on the image.
    seeds = torch.randint(2**62, (len(images),), generator=corrupting).tolist()
    made = {"source": source.images, "pbcc": torch.cat(mixed)}
    for arm, batches in (("corruption", images), ("cnc", mixed)):
        generators = (torch.Generator().manual_seed(seed) for seed in seeds)
        drawn = zip(batches, generators, strict=True)
        records = [*CORRUPTIONS.values()]
        made[arm] = torch.cat([corrupt_mixed(part, records, own, config.strengths, frost) for part, own in drawn])
    return made


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Return logits [N, K] and features [N, d], float64, of uint8 images."""
    logits, features = [], []
    for part in torch.split(images, BATCH):
        inputs = normalise(part, problem.mean, problem.std)
        logits.append(model(inputs).double())
        features.append(model.features(inputs).double())  # type: ignore[operator]
    return torch.cat(logits), torch.cat(features)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the softmax in nats: logits [N, K] to [N], 0 to log K.

    Examples
    --------
    >>> entropy(torch.zeros(1, 2)).exp()  # log 2 at chance
    tensor([2.])
    """
    logarithms = logits.log_softmax(1)
    return -(logarithms.exp() * logarithms).sum(1)


def mean_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance over all pairs of different rows of features [N, d].

    Examples
    --------
    >>> mean_distance(torch.tensor([[0.0], [1.0], [2.0]])) == torch.tensor(4 / 3)
    tensor(True)
    """
    return float(torch.nn.functional.pdist(features).mean())


def measure(config: Config, context: Context) -> Findings:
    """Measure entropy and spread of every arm, for every seed's classifier.

    Returns
    -------
    Findings
        Metrics: entropy (mean, nats), feature_distance (mean over pairs, divided by that of the source images).
        Arrays of the first seed: `edges` of the entropy histogram, `entropy_<arm>` counts, `shown_<arm>` images
        [shown, H, W, C].
    """
    models = context.models_of(config.classifier)
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        count = min(config.images, len(problem.train))
        if count < 2:
            raise ReproodError(f"The study {context.name} needs two training images or more, and there are {count}.")
        frost = frost_crops(problem, config.strengths, config.frost, context.name)
        arrays.setdefault("edges", np.linspace(0, np.log(problem.classes), BINS + 1))
        chosen = torch.randperm(len(problem.train), generator=context.generator(seed, "source"))[:count]
        chosen = chosen.to(problem.train.images.device)
        source = ImageSet(problem.train.images[chosen], problem.train.labels[chosen])
        made = synthesise(
            source, config, context.generator(seed, "mixing"), context.generator(seed, "corrupting"), frost
        )
        by_arm = {arm: outputs(models[seed], images, problem) for arm, images in made.items()}
        unit = max(mean_distance(by_arm["source"][1]), torch.finfo(torch.float64).tiny)
        for arm, (logits, features) in by_arm.items():
            entropies = entropy(logits)
            values = {"entropy": float(entropies.mean()), "feature_distance": mean_distance(features) / unit}
            rows += [Row(seed=seed, arm=arm, metric=metric, value=value) for metric, value in values.items()]
            if seed == context.seeds[0]:
                counts = np.histogram(entropies.clamp(0, arrays["edges"][-1]).cpu().numpy(), arrays["edges"])[0]
                arrays[f"entropy_{arm}"] = counts
        if seed == context.seeds[0]:
            arrays |= pictures(made, config.shown)
    return Findings(rows, arrays)


def pictures(made: Mapping[str, Tensor], shown: int) -> dict[str, np.ndarray]:
    """Return images of every arm as [shown, H, W, C], the same of each, spread over the batches."""
    rows = torch.linspace(0, len(made["source"]) - 1, shown).long()
    return {f"shown_{arm}": images.cpu()[rows].permute(0, 2, 3, 1).numpy() for arm, images in made.items()}


STUDY = Study(name="cnc_images", config=Config, measure=measure)
