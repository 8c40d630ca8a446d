"""ReSmooth's split: log-losses of weak and strong views under a plain classifier, and the mixture that separates them.

The plain classifier plays the role of f_D. One mixture is fitted for each seed, at the method's own N and M, and
evaluated at other N and M, so that "out of distribution" means the same along the grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reprood.engine.batches import Inputs, make_inputs
from reprood.engine.problem import ImageSet
from reprood.engine.training import Training
from reprood.methods.resmooth import method as resmooth
from reprood.methods.resmooth.method import ID_THRESHOLD, log_losses
from reprood.methods.resmooth.mixture import Mixture, bic_of_one, fit_mixture
from reprood.studies.base import Context, Findings, Row, Study

BINS = 60


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    classifier : str
        Row of the plain model.
    images : int
        Training images, fewer if there are not enough; each gives one view of every kind.
    batch : int
        Images at a time.
    operations, magnitude : int, float
        N and M of RandAugment for the mixture.
    operation_grid, magnitude_grid : tuple
        Other N (at `magnitude`) and other M (at `operations`) for which the share of OOD views is measured.
    shown : int
        Images on either side for the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: str = "erm"
    images: int = Field(default=2000, ge=2)
    batch: int = Field(default=250, ge=1)
    operations: int = Field(default=2, ge=1)
    magnitude: float = Field(default=28.0, ge=0, le=30)
    operation_grid: tuple[int, ...] = (1, 2, 3)
    magnitude_grid: tuple[float, ...] = (4.0, 16.0, 28.0)
    shown: int = Field(default=8, ge=0)

    def settings(self) -> list[tuple[int, float]]:
        """Return all (N, M), the mixture's own first."""
        grid = [(n, self.magnitude) for n in self.operation_grid] + [(self.operations, m) for m in self.magnitude_grid]
        return list(dict.fromkeys([(self.operations, self.magnitude), *grid]))


@dataclass(frozen=True)
class Views:
    """One view of each image: the image before crop and flip, its log-loss, and whether it is classified correctly.

    uint8 [N, C, H, W], float32 [N], bool [N], on the CPU.
    """

    images: Tensor
    losses: Tensor
    right: Tensor


def arm_of(operations: int, magnitude: float) -> str:
    """Return the name of the arm of strong views, such as `n2_m28`."""
    return f"n{operations}_m{magnitude:g}"


@torch.no_grad()
def evaluate_views(
    model: nn.Module, data: ImageSet, method: resmooth.Config, weak: Inputs, batch: int, generator: torch.Generator
) -> Views:
    """Return a view of every image as `method` makes its strong ones, with its log-loss."""
    images, losses, right = [], [], []
    for part, labels in zip(torch.split(data.images, batch), torch.split(data.labels, batch), strict=True):
        changed = resmooth.strong_before(part, method, generator)
        logits = model(weak(changed, generator)).float()
        images.append(changed.cpu())
        losses.append(log_losses(logits, labels).cpu())
        right.append((logits.argmax(1) == labels).cpu())
    return Views(torch.cat(images), torch.cat(losses), torch.cat(right))


def measure(config: Config, context: Context) -> Findings:
    """Fit the mixture and measure weak and strong views, for every seed's classifier.

    Returns
    -------
    Findings
        Metric bic (arms one, two: components; smaller is better) and bic_difference (arm two: BIC of two minus that of
        one); share_ood (percent with p < 0.5; arms weak, n2_m28 and so on); accuracy (percent, of weak and strong views
        together; arms id, ood; missing if there are none); id_mean, ood_mean, ood_weight, collapsed (arm two).
        Arrays of the first seed: `edges` of the histogram, counts `weak` and `strong`, `mixture` [3, 2] (means,
        variances, weights), images `shown_id` and `shown_ood` [shown, H, W, C].
    """
    models = context.models_of(config.classifier)
    training: Training = getattr(context.configs.get(config.classifier), "training", Training())
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        chosen = torch.randperm(len(problem.train), generator=context.generator(seed, "source"))[: config.images]
        chosen = chosen.to(problem.train.images.device)
        data = ImageSet(problem.train.images[chosen], problem.train.labels[chosen])
        weak = make_inputs(problem, training, context.run(seed))
        model, stream = models[seed], context.generator(seed, "weak")
        views = {"weak": evaluate_views(model, data, _method("none"), weak, config.batch, stream)}
        for operations, magnitude in config.settings():
            # Equal draws along the grid of magnitudes.
            stream = context.generator(seed, "strong", operations)
            method = _method("randaugment", operations, magnitude)
            views[arm_of(operations, magnitude)] = evaluate_views(model, data, method, weak, config.batch, stream)
        numbers, mixture = split(views, arm_of(config.operations, config.magnitude))
        rows += [Row(seed=seed, arm=arm, metric=metric, value=value) for (arm, metric), value in numbers.items()]
        if seed == context.seeds[0]:
            arrays = picture(views["weak"], views[arm_of(config.operations, config.magnitude)], mixture, config.shown)
    return Findings(rows, arrays)


def split(views: Mapping[str, Views], strong: str) -> tuple[dict[tuple[str, str], float], Mixture]:
    """Fit the mixture to the weak views and those named `strong`, and return numbers by arm and metric."""
    pooled = torch.cat((views["weak"].losses, views[strong].losses))
    right = torch.cat((views["weak"].right, views[strong].right))
    mixture = fit_mixture(pooled)
    two, one = mixture.bic(pooled), bic_of_one(pooled)
    numbers = {
        ("two", "bic"): two,
        ("one", "bic"): one,
        ("two", "bic_difference"): two - one,
        ("two", "id_mean"): mixture.means[0],
        ("two", "ood_mean"): mixture.means[1],
        ("two", "ood_weight"): mixture.weights[1],
        ("two", "collapsed"): float(mixture.collapsed),
    }
    for arm, view in views.items():
        numbers[arm, "share_ood"] = 100 * float((mixture.posterior(view.losses) < ID_THRESHOLD).double().mean())
    inside = mixture.posterior(pooled) >= ID_THRESHOLD
    for arm, part in (("id", right[inside]), ("ood", right[~inside])):
        if len(part):
            numbers[arm, "accuracy"] = 100 * float(part.double().mean())
    return numbers, mixture


def picture(weak: Views, strong: Views, mixture: Mixture, shown: int) -> dict[str, np.ndarray]:
    """Return arrays of the figure."""
    pooled = torch.cat((weak.losses, strong.losses)).numpy()
    edges = np.linspace(pooled.min(), pooled.max(), BINS + 1)
    inside = mixture.posterior(strong.losses) >= ID_THRESHOLD
    arrays: dict[str, Any] = {
        "edges": edges,
        "weak": np.histogram(weak.losses.numpy(), edges)[0],
        "strong": np.histogram(strong.losses.numpy(), edges)[0],
        "mixture": np.array([mixture.means, mixture.variances, mixture.weights]),
    }
    for name, part in (("shown_id", strong.images[inside]), ("shown_ood", strong.images[~inside])):
        arrays[name] = part[:shown].permute(0, 2, 3, 1).numpy()
    return arrays


def _method(strong: resmooth.Strong, operations: int = 0, magnitude: float = 0.0) -> resmooth.Config:
    return resmooth.Config(strong=strong, operations=operations, magnitude=magnitude)


STUDY = Study(name="resmooth_split", config=Config, measure=measure)
