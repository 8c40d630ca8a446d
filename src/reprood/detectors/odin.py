"""ODIN: a temperature, and a small input step that raises the confidence. No torch.

S. Liang, Y. Li, R. Srikant: Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks, ICLR
2018, arXiv 1706.02690. The input step needs gradients: the predict stage carries it out (`reprood.predict.passes`) and
stores the logits of the perturbed images; this module reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from reprood.detectors.msp import msp
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores


class OdinOptions(Options):
    """Options of ODIN.

    Attributes
    ----------
    temperature : float
        T > 0 of the softmax.
    epsilon : float or "validation"
        Step size in units of [0, 1] pixels, or the rule that chooses it on ID validation data from `grid`.
    grid : tuple of float
        Candidates.
    """

    temperature: float = Field(default=1000.0, gt=0)
    epsilon: float | Literal["validation"] = 0.0014
    grid: tuple[float, ...] = Field(default=(0.0025, 0.005, 0.01, 0.02, 0.04, 0.08), min_length=1)


@dataclass(frozen=True)
class Step:
    """The step size, in units of [0, 1] pixels."""

    epsilon: float


def pass_name(temperature: float, epsilon: float) -> str:
    """Return the name under which the logits of perturbed images are stored."""
    return f"odin_t{temperature:g}_e{epsilon:g}"


def passes(options: OdinOptions) -> dict[str, Mapping[str, Any]]:
    """Return the passes that the options need: one, or one for each candidate."""
    sizes = sorted(options.grid) if options.epsilon == "validation" else [float(options.epsilon)]
    return {
        pass_name(options.temperature, size): {"kind": "odin", "temperature": options.temperature, "epsilon": size}
        for size in sizes
    }


def choose_epsilon(validation: Mapping[float, Floats], temperature: float) -> float:
    """Return the step size that gives ID validation images the highest mean score (Generalized ODIN's rule).

    Parameters
    ----------
    validation : mapping
        Step size -> logits [N, C] of the validation images after that step. No OOD data.
    temperature : float
        T of the softmax.

    Returns
    -------
    float
        The smallest of equally good sizes.
    """
    means = {size: float(msp(validation[size], temperature).sum()) for size in sorted(validation)}
    return max(means, key=lambda size: means[size])


def fit(reference: Reference, options: OdinOptions) -> Step:
    """Return the step size: the given one, or the best on validation images."""
    if options.epsilon != "validation":
        return Step(float(options.epsilon))
    stored = reference.validation.passes
    sizes = {size: stored[pass_name(options.temperature, size)] for size in options.grid}
    return Step(choose_epsilon(sizes, options.temperature))


def score(outputs: Outputs, step: Step, options: OdinOptions) -> Scores:
    """Return max_c softmax(l(x') / T)_c of the perturbed images x'; float64 [N].

    In float32 at T = 1000 all scores lie within about 1e-3 of 1/C and tie; the softmax is taken in float64.
    """
    return msp(outputs.passes[pass_name(options.temperature, step.epsilon)], options.temperature)


DETECTOR = Detector(
    name="odin",
    label="ODIN",
    paper=Paper(
        title="Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks",
        authors="Liang, Li, Srikant",
        venue="ICLR",
        year=2018,
        url="https://arxiv.org/abs/1706.02690",
    ),
    formula="max_c softmax(l(x') / T)_c, x' = x - eps sign(d CE(l(x) / T, argmax l(x)) / dx) / std",
    inputs=("pass",),
    score=score,
    fit=fit,
    options=OdinOptions,
    passes=passes,
)
