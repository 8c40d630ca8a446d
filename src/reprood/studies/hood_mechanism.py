"""What HOOD's penalty measures: the dependence of paired features, or the spread of either set?

Arbitrary pairs of in-distribution (ID) images and outliers have a population HSIC of 0, and the mean of the biased
estimate over all pairings depends on the two spreads alone (`reprood.methods.hood.expected_hsic`). Around that mean one
batch varies by chance: the less, the more dimensions both sets of features fill.
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
from reprood.studies.run import Findings, Given, Row

FEATURE_BATCH = 250
EXACT = "mean_over_pairings"


class Config(BaseModel):
    """Settings.

    Attributes
    ----------
    reference : str
        Row of a HOOD training, whose bandwidth and batch size are taken for the models of all rows.
    tau : float or None
        Bandwidth; None: the reference's.
    batch : int or None
        N, images on either side of a pairing; None: the reference's batch size.
    batches : int
        At most so many; there may be fewer validation images.
    pairings : int
        Random pairings of every batch.
    outliers : str
        The auxiliary set; "" takes the only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = "hood"
    tau: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=2)
    batches: int = Field(default=10, ge=1)
    pairings: int = Field(default=100, ge=2)
    outliers: str = ""


def shuffled_hsic(outliers: Tensor, inside: Tensor, pairings: int, generator: Generator) -> Tensor:
    """HSIC of two kernel matrices [N, N] under random pairings of their rows: [pairings]."""
    values = []
    for _ in range(pairings):
        order = torch.randperm(len(inside), generator=generator).to(inside.device)
        values.append(hood.kernel_hsic(outliers, inside[order][:, order]))
    return torch.stack(values)


def numbers(outliers: Tensor, inside: Tensor, shuffled: Tensor) -> dict[str, float]:
    """The measurements of one batch; see `measure`.

    Parameters
    ----------
    outliers, inside : Tensor [N, N]
        Kernel matrices of the outliers' and of the ID images' features, in the order in which they are paired.
    shuffled : Tensor [pairings]
        HSIC under other pairings.
    """
    found, expected = float(hood.kernel_hsic(outliers, inside)), float(hood.expected_hsic(outliers, inside))
    if expected <= 0 or found <= 0:
        raise ReproodError("The features of a model do not differ at HOOD's bandwidth; set a smaller 'tau'.")
    return {
        "hsic": found,
        "hsic_expected": expected,
        "hsic_relative_gap": abs(found - expected) / found,
        "pairing_spread": float(shuffled.std(correction=0)) / expected,
        "kbar": float(hood.off_diagonal_mean(outliers)),
        "lbar": float(hood.off_diagonal_mean(inside)),
    }


def measure(config: Config, given: Given) -> Findings:
    """Features of held-out ID images beside those of outliers, for every model.

    Returns
    -------
    Findings
        Means over batches, arms = the methods: hsic; hsic_expected, its mean over all pairings; hsic_relative_gap,
        |hsic - hsic_expected| / hsic; pairing_spread, the standard deviation over random pairings as a share of
        hsic_expected; kbar, lbar, mean kernel between different outliers and between different ID images; norm_id,
        norm_outlier, mean norm of the features. The arm mean_over_pairings has the gap 0, for claims to compare with.
        Arrays of the first seed's first batch: `pairings_<method>` [pairings], `pair_<method>` (hsic, hsic_expected).

    Raises
    ------
    ReproodError
        When the reference's models are lacking or are not of HOOD, there are too few images for one batch, or the
        features of a model do not differ.
    """
    problem, tau, size = given.need(), *_settings(config, given)
    outliers = outlier_set(problem, config.outliers, f"study {given.name}")
    count = min(config.batches, len(problem.validation) // size)
    if count == 0 or len(outliers) < size:
        raise ReproodError(
            f"Study {given.name}: pairs of {size} images need as many validation images and outliers, and there are "
            f"{len(problem.validation)} and {len(outliers)}; set a smaller 'batch'."
        )
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for seed in given.seeds:
        generator, run = given.generator(seed, "pairs"), given.run(seed)
        chosen = torch.randperm(len(problem.validation), generator=generator)[: count * size]
        partners = torch.cat([torch.randperm(len(outliers), generator=generator)[:size] for _ in range(count)])
        for method in given.models:
            model = given.trained(method)[seed]
            inside = features(model, problem.validation.images, chosen, problem, run)
            outside = features(model, outliers.images, partners, problem, run)
            batches: list[dict[str, float]] = []
            for part, other in zip(torch.split(inside, size), torch.split(outside, size), strict=True):
                kernels = hood.gaussian_kernel(other, tau), hood.gaussian_kernel(part, tau)
                shuffled = shuffled_hsic(*kernels, config.pairings, given.generator(seed, "pairings", len(batches)))
                batches.append(numbers(*kernels, shuffled))
                if seed == given.seeds[0] and len(batches) == 1:
                    arrays[f"pairings_{method}"] = shuffled.cpu().numpy()
                    arrays[f"pair_{method}"] = np.array([batches[0]["hsic"], batches[0]["hsic_expected"]])
            found = {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]}
            found["norm_id"], found["norm_outlier"] = (float(part.norm(dim=1).mean()) for part in (inside, outside))
            rows += [Row(seed=seed, arm=method, metric=name, value=value) for name, value in found.items()]
        rows.append(Row(seed=seed, arm=EXACT, metric="hsic_relative_gap", value=0.0))
    return Findings(rows, arrays)


@torch.no_grad()
def features(model: nn.Module, images: Tensor, index: Tensor, problem: Problem, run: Run) -> Tensor:
    """Features, float64 [n, d], of the uint8 images [N, C, H, W] at the rows `index` [n], not augmented."""
    normalised = make_normalise(problem, run)
    parts = torch.split(index.to(images.device), FEATURE_BATCH)
    return torch.cat([model.features(normalised(images[part])).double() for part in parts])  # type: ignore[operator]


def _settings(config: Config, given: Given) -> tuple[float, int]:
    """Bandwidth and N."""
    given.trained(config.reference)
    reference = given.configs[config.reference]
    if not isinstance(reference, hood.Config):
        raise ReproodError(f"Study {given.name}: the reference '{config.reference}' is not a training with HOOD.")
    return config.tau or reference.tau, config.batch or reference.training.batch_size
