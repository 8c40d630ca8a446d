"""OOD-ness of transformations (CSI): how well a plain SimCLR separates images from their transformed copies.

The paper chooses the shift by this number: the AUROC between images x and S(x) of the score of SimCLR trained without
shifts, the norm times the cosine to the nearest training image. With several shifts in a family (rotations, permuted
quarters) the copies under all of them but the identity are the outliers.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import make_normalise
from reprood.engine.problem import Problem
from reprood.evaluate.metrics import auroc, rank
from reprood.methods.csi import method as csi
from reprood.methods.csi.shifts import COUNTS, Shift, shift
from reprood.studies.base import Context, Findings, Row, Study

BATCH = 100
FAMILIES: tuple[Shift, ...] = ("cutout", "sobel", "noise", "blur", "cutperm", "rotation")


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    classifier : str
        Row of the models: CSI without labels and without shifts (SimCLR).
    families : tuple of str
        Families of shifts.
    images : int
        Largest number of test images.
    shown : int
        Images of the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: str = "simclr"
    families: tuple[Shift, ...] = FAMILIES
    images: int = Field(default=1000, ge=2)
    shown: int = Field(default=4, ge=1)

    @field_validator("families")
    @classmethod
    def _families(cls, families: tuple[Shift, ...]) -> tuple[Shift, ...]:
        if not families or "none" in families or len(set(families)) < len(families):
            raise ValueError("must name one or more families of shifts, none twice and not 'none'")
        return families


@torch.no_grad()
def measure(config: Config, context: Context) -> Findings:
    """Measure the AUROC in percent between test images and their copies under each family of shifts, for every model.

    Returns
    -------
    Findings
        One row per seed and family: the metric "oodness", 50 where the copies look like the images. Arrays:
        `images_none` and `images_<family>`, uint8 [n, H, W, C], under the last shift of the family.

    Raises
    ------
    ReproodError
        If the models are not SimCLR's.
    """
    models, settings = context.models_of(config.classifier), context.configs[config.classifier]
    if not isinstance(settings, csi.Config) or settings.labelled or settings.batch_shift != "none":
        raise ReproodError(
            f"Study {context.name}: '{config.classifier}' is not SimCLR (the method csi with shift: none, without "
            "labels); name such a row under 'classifier'."
        )
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        images = problem.monitor["test"].images[: config.images]
        scores = _scorer(models[seed], problem, settings, context, seed)
        inside = scores(images)
        shown = {"none": images}
        for family in config.families:
            generator = context.generator(seed, family)
            copies = [shift(images, family, number, generator) for number in range(1, COUNTS[family])]
            value = float(auroc(rank(inside, scores(torch.cat(copies))).counts()))
            rows.append(Row(seed=seed, arm=family, metric="oodness", value=100 * value))
            shown[family] = copies[-1]
        if seed == context.seeds[0]:
            arrays = {f"images_{name}": _as_rows(some[: config.shown]) for name, some in shown.items()}
    return Findings(rows, arrays)


def _scorer(
    model: nn.Module, problem: Problem, settings: csi.Config, context: Context, seed: int
) -> Callable[[Tensor], np.ndarray]:
    """Return the function from uint8 images [B, C, H, W] to SimCLR's scores, float64 [B]."""
    normalised = make_normalise(problem, context.run(seed))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield from (
            (normalised(part), labels)
            for part, labels in zip(
                torch.split(problem.train.images, BATCH), torch.split(problem.train.labels, BATCH), strict=True
            )
        )

    fitted = csi.fit_on_train(model, batches, settings, context.generator(seed, "fit"))

    def scores(images: Tensor) -> np.ndarray:
        parts = [csi.scores(model, normalised(part), settings, fitted)["con"] for part in torch.split(images, BATCH)]
        return np.asarray(torch.cat(parts).cpu().numpy())

    return scores


def _as_rows(images: Tensor) -> np.ndarray:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())


STUDY = Study(name="csi_oodness", config=Config, measure=measure)
