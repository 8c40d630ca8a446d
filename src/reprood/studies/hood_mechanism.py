"""What HOOD's penalty measures: the dependence of paired features, or the spread of either set?

Arbitrary pairs of in-distribution (ID) images and outliers have a population HSIC of 0, and the mean of the biased
estimate over all pairings depends only on the two spreads (`reprood.methods.hood.expected_hsic`). One batch varies
around that mean by chance: the less, the more dimensions both sets of features fill.
"""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import make_normalise
from reprood.engine.outliers import outlier_set
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.methods import hood
from reprood.studies.base import Context, Findings, Row, Study

FEATURE_BATCH = 250
EXACT = "mean_over_pairings"


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    reference : str
        Row of a HOOD training, whose bandwidth and batch size are used for the models of all rows.
    tau : float or None
        Bandwidth; None: the reference's.
    batch : int or None
        N, images on either side of a pairing; None: the reference's batch size.
    batches : int
        Largest number of batches; there may be fewer validation images.
    pairings : int
        Random pairings of every batch.
    outliers : str
        The auxiliary set; "" if there is only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = "hood"
    tau: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=2)
    batches: int = Field(default=10, ge=1)
    pairings: int = Field(default=100, ge=2)
    outliers: str = ""


def shuffled_hsic(outliers: Tensor, inside: Tensor, pairings: int, generator: Generator) -> Tensor:
    """Return HSIC of two kernel matrices [N, N] under random pairings of their rows: [pairings]."""
    values = []
    for _ in range(pairings):
        order = torch.randperm(len(inside), generator=generator).to(inside.device)
        values.append(hood.kernel_hsic(outliers, inside[order][:, order]))
    return torch.stack(values)


def numbers(outliers: Tensor, inside: Tensor, shuffled: Tensor) -> dict[str, float]:
    """Return the measurements of one batch; see `measure`.

    Parameters
    ----------
    outliers, inside : Tensor [N, N]
        Kernel matrices of the outliers' and of the ID images' features, in the order in which they are paired.
    shuffled : Tensor [pairings]
        HSIC under other pairings.
    """
    paired, expected = float(hood.kernel_hsic(outliers, inside)), float(hood.expected_hsic(outliers, inside))
    if expected <= 0 or paired <= 0:
        raise ReproodError("The features of a model do not differ at HOOD's bandwidth; set a smaller 'tau'.")
    return {
        "hsic": paired,
        "hsic_expected": expected,
        "hsic_relative_gap": abs(paired - expected) / paired,
        "pairing_spread": float(shuffled.std(correction=0)) / expected,
        "kbar": float(hood.off_diagonal_mean(outliers)),
        "lbar": float(hood.off_diagonal_mean(inside)),
    }


def measure(config: Config, context: Context) -> Findings:
    """Compare features of held-out ID images with those of outliers, for every model.

    Returns
    -------
    Findings
        Means over batches, arms = the methods: hsic; hsic_expected, its mean over all pairings; hsic_relative_gap,
        |hsic - hsic_expected| / hsic; pairing_spread, the standard deviation over random pairings as a fraction of
        hsic_expected; kbar, lbar, mean kernel between different outliers and between different ID images; norm_id,
        norm_outlier, mean norm of the features. The arm mean_over_pairings has the gap 0, for claims to compare with.
        Arrays of the first seed's first batch: `pairings_<method>` [pairings], `pair_<method>` (hsic, hsic_expected).

    Raises
    ------
    ReproodError
        If the reference's models are missing or are not HOOD's, there are too few images for one batch, or the
        features of a model do not differ.
    """
    tau, size = _settings(config, context)
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        outliers = outlier_set(problem, config.outliers, f"study {context.name}")
        count = min(config.batches, len(problem.validation) // size)
        if count == 0 or len(outliers) < size:
            raise ReproodError(
                f"Study {context.name}: pairs of {size} images need as many validation images and outliers, but there "
                f"are {len(problem.validation)} and {len(outliers)}; set a smaller 'batch'."
            )
        generator, run = context.generator(seed, "pairs"), context.run(seed)
        chosen = torch.randperm(len(problem.validation), generator=generator)[: count * size]
        partners = torch.cat([torch.randperm(len(outliers), generator=generator)[:size] for _ in range(count)])
        for method in context.models:
            model = context.models_of(method)[seed]
            inside = features(model, problem.validation.images, chosen, problem, run)
            outside = features(model, outliers.images, partners, problem, run)
            batches: list[dict[str, float]] = []
            for part, other in zip(torch.split(inside, size), torch.split(outside, size), strict=True):
                kernels = hood.gaussian_kernel(other, tau), hood.gaussian_kernel(part, tau)
                shuffled = shuffled_hsic(*kernels, config.pairings, context.generator(seed, "pairings", len(batches)))
                batches.append(numbers(*kernels, shuffled))
                if seed == context.seeds[0] and len(batches) == 1:
                    arrays[f"pairings_{method}"] = shuffled.cpu().numpy()
                    arrays[f"pair_{method}"] = np.array([batches[0]["hsic"], batches[0]["hsic_expected"]])
            means = {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]}
            means["norm_id"], means["norm_outlier"] = (float(part.norm(dim=1).mean()) for part in (inside, outside))
            rows += [Row(seed=seed, arm=method, metric=name, value=value) for name, value in means.items()]
        rows.append(Row(seed=seed, arm=EXACT, metric="hsic_relative_gap", value=0.0))
    return Findings(rows, arrays)


@torch.no_grad()
def features(model: nn.Module, images: Tensor, index: Tensor, problem: Problem, run: Run) -> Tensor:
    """Return features, float64 [n, d], of the uint8 images [N, C, H, W] at the rows `index` [n], not augmented."""
    normalised = make_normalise(problem, run)
    parts = torch.split(index.to(images.device), FEATURE_BATCH)
    return torch.cat([model.features(normalised(images[part])).double() for part in parts])  # type: ignore[operator]


def _settings(config: Config, context: Context) -> tuple[float, int]:
    """Return bandwidth and N."""
    context.models_of(config.reference)
    reference = context.configs[config.reference]
    if not isinstance(reference, hood.Config):
        raise ReproodError(f"Study {context.name}: the reference '{config.reference}' is not a training with HOOD.")
    return config.tau or reference.tau, config.batch or reference.training.batch_size


STUDY = Study(name="hood_mechanism", config=Config, measure=measure)
