"""The record that registers a detector, and the stored outputs that it works on. No torch.

A detector is one file of this package that ends with `DETECTOR = Detector(...)`; `reprood.detectors.registry` finds it
by its file name. A detector never sees an OOD sample before it scores it: it is fitted on in-distribution training or
validation samples, with the test-time transform.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]

INPUTS = {
    "logits": "logits of the scored samples",
    "features": "penultimate features of the scored samples",
    "train_logits": "logits and labels of the training samples",
    "train_features": "penultimate features and labels of the training samples",
    "head": "weight and bias of an affine last layer",
    "validation_labels": "labels of the validation samples",
    "pass": "logits of perturbed images, from a forward pass of their own",
}


class Options(BaseModel):
    """Options of a detector: frozen; unknown keys are rejected. The defaults are the published values."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Paper:
    """Where a detector was published."""

    title: str
    authors: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True)
class Outputs:
    """Stored outputs of a network on the samples of one split.

    Attributes
    ----------
    logits : float32 array [N, C]
    features : float32 array [N, d] or None
        Penultimate features; None unless the benchmark requests them.
    passes : mapping
        Name of a forward pass on perturbed images -> its logits, float32 [N, C].
    """

    logits: Floats
    features: Floats | None = None
    passes: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """What a detector may be fitted on: in-distribution samples and the last layer.

    Attributes
    ----------
    validation : Outputs
        In-distribution validation samples.
    train : Outputs or None
        Training samples without augmentation; None unless the benchmark requests them.
    labels : int array [N] or None
        Labels of the training samples, 0 .. C - 1.
    head : (float32 array [C, d], float32 array [C]) or None
        Weight and bias of the last layer; None when the logits are not an affine function of the features.
    validation_labels : int array [N] or None
        Labels of the validation samples, 0 .. C - 1; None when they have no class.
    """

    validation: Outputs
    train: Outputs | None = None
    labels: NDArray[np.integer[Any]] | None = None
    head: tuple[Floats, Floats] | None = None
    validation_labels: NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True)
class Detector:
    """A post-hoc detector: everything that the rest of the project knows about it.

    Attributes
    ----------
    name : str
        Name of its file, its key in a benchmark's `detectors:`, and `score_<name>` in the results.
    label : str
        Name in tables and figures.
    paper : Paper
    formula : str
        The score, as one line of text.
    inputs : tuple of str
        Keys of `INPUTS` that it needs.
    score : callable
        (outputs, fitted, options) -> float64 array [N]; HIGHER MEANS MORE IN-DISTRIBUTION.
    fit : callable or None
        (reference, options) -> `fitted`; None when nothing is fitted (`fitted` then is None). Numbers of a fitted
        dataclass are recorded with the scores.
    options : type
        Subclass of `Options`.
    fit_on_samples : bool
        Whether `fit` reads in-distribution samples, and not the last layer alone.
    passes : callable or None
        options -> {name of a pass: {"kind", ...}}: the forward passes on perturbed images that the predict stage
        carries out (`reprood.predict.passes`).
    """

    name: str
    label: str
    paper: Paper
    formula: str
    inputs: tuple[str, ...]
    score: Callable[[Outputs, Any, Any], Scores]
    fit: Callable[[Reference, Any], Any] | None = None
    options: type[Options] = Options
    fit_on_samples: bool = True
    passes: Callable[[Any], Mapping[str, Mapping[str, Any]]] | None = None

    def __post_init__(self) -> None:
        """Reject inputs that do not exist.

        Raises
        ------
        ValueError
            Names the input.
        """
        unknown = [name for name in self.inputs if name not in INPUTS]
        if unknown or not self.inputs:
            raise ValueError(f"detector {self.name}: inputs are {self.inputs}; expected some of {', '.join(INPUTS)}")
        if ("pass" in self.inputs) != (self.passes is not None):
            raise ValueError(f"detector {self.name}: the input 'pass' and the function `passes` go together")

    def missing(self, reference: Reference) -> str | None:
        """Return why a network does not allow this detector, or None when it does."""
        if "head" in self.inputs and reference.head is None:
            return "it needs an affine last layer, and the network's logits are not an affine function of its features"
        if "validation_labels" in self.inputs and reference.validation_labels is None:
            return "it needs labels of the validation samples, and they have none"
        return None


def need(array: Floats | None, what: str) -> Floats:
    """Return an array that a detector declares among its inputs.

    Raises
    ------
    TypeError
        When it is None: the caller did not provide a declared input.
    """
    if array is None:
        raise TypeError(f"this detector needs {INPUTS[what]}")
    return array


def training(reference: Reference) -> Outputs:
    """Return the outputs on training samples, for a detector that declares them among its inputs.

    Raises
    ------
    TypeError
        When the caller did not provide them.
    """
    if reference.train is None:
        raise TypeError("this detector needs the training split")
    return reference.train


def training_labels(reference: Reference) -> NDArray[np.integer[Any]]:
    """Return the labels [N] of the training samples, for a detector that reads them.

    Raises
    ------
    TypeError
        When the caller did not provide them.
    """
    if reference.labels is None:
        raise TypeError("this detector needs the labels of the training split")
    return reference.labels


def last_layer(reference: Reference) -> tuple[Floats, Floats]:
    """Return weight [C, d] and bias [C] of the last layer, for a detector that declares it among its inputs.

    Raises
    ------
    TypeError
        When the caller did not provide it.
    """
    if reference.head is None:
        raise TypeError(f"this detector needs {INPUTS['head']}")
    return reference.head
