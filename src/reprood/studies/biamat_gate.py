"""Which auxiliary images pass BiaMAT's confidence gate, for a near and a far auxiliary set.

Measures the fraction of natural images for which the trained network's primary head is at least as confident as the
threshold that was frozen in its training, for the auxiliary images and for the validation images of the primary set.
"""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.images.augment import normalise
from reprood.methods.biamat.loss import confidence
from reprood.studies.base import Context, Findings, Row, Study

BATCH = 250
BINS = 40


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    sets, methods : tuple of str
        Auxiliary sets, and for each the row of the method that was trained with it, with the gate.
    images : int
        Images of each set, from the first on; fewer if the set is smaller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: tuple[str, ...] = ("near", "far")
    methods: tuple[str, ...] = ("biamat", "biamat_far")
    images: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _pairs(self) -> "Config":
        if not self.sets or len(self.sets) != len(self.methods) or len(set(self.sets)) < len(self.sets):
            raise ValueError("sets and methods must have the same length, at least one, and no set twice")
        return self


@torch.no_grad()
def confidences(model: nn.Module, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return the largest softmax probability of uint8 images [N, C, H, W], not augmented: float64 [N]."""
    return torch.cat([confidence(model(normalise(part, mean, std))) for part in torch.split(images, BATCH)])


def measure(config: Config, context: Context) -> Findings:
    """Measure the fraction of IN images and the mean confidence, for every set and seed.

    Returns
    -------
    Findings
        Arms: the auxiliary sets, and `primary_<set>` for validation images under the same network. Metrics: in_share
        (confidence not below the threshold), confidence (mean), threshold (of the auxiliary sets' arms alone).
        Arrays of the first seed: `edges`, and counts `confidence_<arm>`.

    Raises
    ------
    ReproodError
        For a set that the benchmark does not have, or a network that was trained without the gate.
    """
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {"edges": np.linspace(0, 1, BINS + 1)}
    for name, method in zip(config.sets, config.methods, strict=True):
        models = context.models_of(method)
        for seed in context.seeds:
            problem = context.problem(seed)
            if name not in problem.auxiliary:
                known = ", ".join(problem.auxiliary) or "none"
                raise ReproodError(
                    f"Study {context.name}: there is no auxiliary set '{name}'; the benchmark has {known}."
                )
            sets = {name: problem.auxiliary[name], f"primary_{name}": problem.validation}
            threshold = float(getattr(models[seed], "threshold", 0.0))
            if threshold == 0:
                raise ReproodError(
                    f"Study {context.name}: '{method}' has no threshold; it was trained without the gate."
                )
            rows.append(Row(seed=seed, arm=name, metric="threshold", value=threshold))
            for arm, data in sets.items():
                values = confidences(models[seed], data.images[: config.images], problem.mean, problem.std)
                numbers = {"in_share": float((values >= threshold).double().mean()), "confidence": float(values.mean())}
                rows += [Row(seed=seed, arm=arm, metric=metric, value=value) for metric, value in numbers.items()]
                if seed == context.seeds[0]:
                    arrays[f"confidence_{arm}"] = np.histogram(values.clamp(0, 1).cpu().numpy(), arrays["edges"])[0]
    return Findings(rows, arrays)


STUDY = Study(name="biamat_gate", config=Config, measure=measure)
