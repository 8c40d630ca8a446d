"""Number of random views at test time over which CSI averages (appendix of the paper; issue 4 of its code).

Every number of views takes the first of the same views, so that the numbers differ by the average alone. Axes and
weights of the score are computed with the same number of views on the training images.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.problem import Problem
from reprood.evaluate.metrics import auroc, rank
from reprood.images.augment import normalise
from reprood.methods.csi import method as csi
from reprood.methods.csi.net import ContrastiveNet
from reprood.methods.csi.score import fit_axes, novelty_scores, view_outputs
from reprood.methods.csi.shifts import COUNTS
from reprood.methods.csi.views import view_at_test
from reprood.studies.base import Context, Findings, Row, Study


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    arm : str
        Row of the CSI model, trained without labels.
    views : tuple of int
        Numbers of views, ascending.
    batch : int
        Images at a time; the draws of a view depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str = "csi"
    views: tuple[int, ...] = Field(default=(1, 4, 10, 40), min_length=1)
    batch: int = Field(default=250, ge=1)


def arm_of(count: int) -> str:
    """Return the name of the arm with a number of views, such as `views_10`."""
    return f"views_{count}"


def means(values: Tensor, shifts: int, counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield means over the first views, for each number of them: [B, K T, ...] to [K, B, ...]."""
    by_view = values.reshape(len(values), shifts, -1, *values.shape[2:])
    for count in counts:
        yield by_view[:, :, :count].mean(dim=2).transpose(0, 1)


@torch.no_grad()
def mean_outputs(
    model: nn.Module, images: Tensor, problem: Problem, method: csi.Config, config: Config
) -> list[tuple[Tensor, Tensor | None]]:
    """Return projections [K, N, d] and shift logits [K, N, K] (None without) for each number of views.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    images : uint8 Tensor [N, C, H, W]
    problem : Problem
        For the normalisation.
    method : reprood.methods.csi.method.Config
        Of the model.
    config : Config
        Of the study.
    """
    assert isinstance(model, ContrastiveNet)
    shifts = COUNTS[method.batch_shift]
    parts: list[list[list[Tensor]]] = [[] for _ in config.views]

    def view(pixels: Tensor, number: int) -> Tensor:
        return view_at_test(pixels, method.batch_shift, number, method.test_area, method.crop_first)

    for batch in torch.split(images, config.batch):
        pixels = model.pixels(normalise(batch, problem.mean, problem.std))
        outputs = view_outputs(model.outputs, pixels, view, max(config.views), shifts)
        averaged = [list(means(values, shifts, config.views)) for values in outputs]
        for place, found in enumerate(parts):
            found.append([values[place] for values in averaged])
    joined = [[torch.cat(values, dim=1) for values in zip(*found, strict=True)] for found in parts]
    return [(values[0], values[1] if len(values) > 1 else None) for values in joined]


def measure(config: Config, context: Context) -> Findings:
    """Measure the AUROC with each number of views, for every seed's model.

    Returns
    -------
    Findings
        Metric auroc, in [0, 1], the mean over the OOD sets (arms views_1, views_4 and so on), of the first score: CSI's
        own, or the contrastive one of a model without shifts.

    Raises
    ------
    ReproodError
        If the study's benchmark has no OOD sets, or `ood: true` is missing in the suite.
    """
    models, method = context.models_of(config.arm), context.configs[config.arm]
    assert isinstance(method, csi.Config)
    rows: list[Row] = []
    for seed in context.seeds:
        problem, outliers = context.problem(seed), context.outliers.get(seed, {})
        if not outliers:
            raise ReproodError(f"The study {context.name} needs OOD sets; add `ood: true` to it in the suite.")
        sets = {"train": problem.train, "test": problem.monitor["test"], **outliers}
        found = {name: mean_outputs(models[seed], data.images, problem, method, config) for name, data in sets.items()}
        for place, count in enumerate(config.views):
            fitted = fit_axes(*found["train"][place])
            scores = {
                name: next(iter(novelty_scores(*found[name][place], fitted).values())).cpu().numpy()
                for name in ("test", *outliers)
            }
            values = [float(auroc(rank(scores["test"], scores[name]).counts())) for name in outliers]
            rows.append(Row(seed=seed, arm=arm_of(count), metric="auroc", value=sum(values) / len(values)))
    return Findings(rows)


STUDY = Study(name="csi_views", config=Config, measure=measure)
