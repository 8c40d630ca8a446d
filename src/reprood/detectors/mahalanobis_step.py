"""Mahalanobis distance after an input step whose size is chosen on in-distribution images alone. No torch.

K. Lee, K. Lee, H. Lee, J. Shin: A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks, NeurIPS 2018, arXiv 1807.03888, on penultimate features, without the ensemble over layers. The
step needs gradients: the predict stage carries it out (`reprood.predict.feature_step`) and stores the scores after
steps of several sizes. The size is chosen by the rule of Generalized ODIN, which calls this detector Mahalanobis*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from reprood.detectors.record import Detector, Options, Outputs, Paper, Reference, Scores


class MahalanobisStepOptions(Options):
    """Options: candidates for the step size, in units of [0, 1] pixels."""

    grid: tuple[float, ...] = Field(default=(0.0025, 0.005, 0.01, 0.02, 0.04, 0.08), min_length=1)


@dataclass(frozen=True)
class Step:
    """The step size, in units of [0, 1] pixels."""

    epsilon: float


def pass_name(epsilon: float) -> str:
    """Return the name under which the scores after a step are stored."""
    return f"mahalanobis_e{epsilon:g}"


def passes(options: MahalanobisStepOptions) -> dict[str, Mapping[str, Any]]:
    """Return the passes that the options need: one for each candidate."""
    return {pass_name(size): {"kind": "mahalanobis", "epsilon": size} for size in sorted(options.grid)}


def fit(reference: Reference, options: MahalanobisStepOptions) -> Step:
    """Return the size after which ID validation images have the highest mean score; the smallest of equally good.

    Examples
    --------
    >>> stored = {pass_name(0.01): np.array([[-2.0], [-3.0]]), pass_name(0.02): np.array([[-1.0], [-2.0]])}
    >>> validation = Outputs(np.zeros((2, 3)), None, stored)
    >>> fit(Reference(validation), MahalanobisStepOptions(grid=(0.01, 0.02)))
    Step(epsilon=0.02)
    """
    stored = reference.validation.passes
    means = {size: float(np.mean(stored[pass_name(size)], dtype=np.float64)) for size in sorted(options.grid)}
    return Step(max(means, key=lambda size: means[size]))


def score(outputs: Outputs, step: Step, options: MahalanobisStepOptions) -> Scores:
    """Return minus the squared distance of the stepped images to the nearest class mean; float64 [N]."""
    return np.asarray(outputs.passes[pass_name(step.epsilon)][:, 0], np.float64)


DETECTOR = Detector(
    name="mahalanobis_step",
    label="Mahalanobis*",
    paper=Paper(
        title="A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        authors="Lee, Lee, Lee, Shin",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1807.03888",
    ),
    formula="-min_c (z(x') - mu_c)' Sigma^+ (z(x') - mu_c), x' = x + eps sign(dS/dx) / std",
    inputs=("pass", "train_features"),
    score=score,
    fit=fit,
    options=MahalanobisStepOptions,
    passes=passes,
)
