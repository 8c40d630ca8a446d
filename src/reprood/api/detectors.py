"""The detectors of a call: those of the package by name, functions of arrays, and pytorch-ood's."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.detectors import registry
from reprood.detectors.pytorch_ood import Kind, fit_with, scores_with
from reprood.detectors.record import INPUTS, Detector, Options, Outputs, Paper, Reference, Scores, need

KINDS: tuple[Kind, ...] = ("logits", "features")
FEATURE_STEP = "mahalanobis"  # the kind of pass that needs the training images of a run
OWN = Paper(title="", authors="", venue="", year=0, url="")


@dataclass(frozen=True)
class Chosen:
    """A detector with its options."""

    detector: Detector
    options: Options

    @property
    def features(self) -> bool:
        """Whether it reads features or the last layer."""
        return bool({"features", "train_features", "head"} & set(self.detector.inputs))

    @property
    def train(self) -> bool:
        """Whether it is fitted on training samples."""
        return bool(registry.TRAIN & set(self.detector.inputs))

    @property
    def passes(self) -> Mapping[str, Mapping[str, Any]]:
        """The forward passes on perturbed images that it requests."""
        return self.detector.passes(self.options) if self.detector.passes is not None else {}

    @property
    def fitted(self) -> bool:
        """Whether it needs in-distribution samples: not when its only pass has a given step."""
        return self.detector.fit is not None and self.detector.fit_on_samples and len(self.passes) != 1


def choose(detectors: str | Iterable[Any] | Mapping[str, Any]) -> dict[str, Chosen]:
    """Return detectors by name.

    Parameters
    ----------
    detectors : sequence or mapping
        Names, functions or detectors of pytorch-ood; or a mapping of name -> options of the package's detector of that
        name, or name -> function or detector.

    Raises
    ------
    ReproodError
        For an unknown name or option, a repeated name, something that is no detector, or one that needs a suite.
    """
    given = [detectors] if isinstance(detectors, str) else detectors
    pairs = list(given.items()) if isinstance(given, Mapping) else [(_name(one), one) for one in given]
    chosen: dict[str, Chosen] = {}
    for name, what in pairs:
        if name in chosen:
            raise ReproodError(f"There are two detectors '{name}'; give a mapping with a name for each.")
        if isinstance(what, str | Mapping) or what is None:
            options = what if isinstance(what, Mapping) else None
            chosen[name] = Chosen(registry.detector(name), registry.parse_options({name: options})[name])
        elif isinstance(what, Detector):
            chosen[name] = Chosen(what, what.options())
        else:
            chosen[name] = Chosen(from_pytorch_ood(name, what) or from_function(name, what), Options())
    for name, one in chosen.items():
        if any(request.get("kind") == FEATURE_STEP for request in one.passes.values()):
            raise ReproodError(
                f"The detector {name} takes a step along the gradient of features, which a suite's predictions do; "
                "score the network in a suite, or leave the detector out."
            )
    if not chosen:
        raise ReproodError(f"detectors is empty; choose from {', '.join(registry.names())}, or give a function.")
    return chosen


def _name(detector: Any) -> str:
    if isinstance(detector, str | Detector):
        return detector if isinstance(detector, str) else detector.name
    return str(getattr(detector, "__name__", type(detector).__name__))


def from_function(name: str, function: Any) -> Detector:
    """Return a detector from a function of arrays: its parameters are `logits`, `features` or both.

    It returns one score per sample, higher = more in-distribution.

    Raises
    ------
    ReproodError
        When it is no function, or has other parameters without a default.
    """
    if not callable(function):
        raise ReproodError(f"The detector {name} is a {type(function).__name__}; expected a name or a function.")
    parameters = inspect.signature(function).parameters.values()
    taken = tuple(one.name for one in parameters if one.name in ("logits", "features"))
    other = [one.name for one in parameters if one.name not in taken and one.default is one.empty]
    if not taken or other:
        raise ReproodError(
            f"The detector {name} takes ({', '.join(one.name for one in parameters)}); name its parameters logits "
            "[samples, classes], features [samples, d] or both."
        )

    def score(outputs: Outputs, fitted: None, options: Options) -> Scores:
        return np.asarray(function(**{item: need(getattr(outputs, item), item) for item in taken}), np.float64)

    return Detector(name, name, OWN, "", taken, score)


def from_pytorch_ood(name: str, theirs: Any) -> Detector | None:
    """Return a detector from one of pytorch-ood's that works on logits or features, else None.

    Its outlier score is negated. If it requires fitting, it is fitted in place on the training samples.
    """
    kind = next((one for one in KINDS if hasattr(theirs, f"predict_{one}")), None)
    if kind is None:
        return None
    stored = "logits" if kind == "logits" else "features"

    def fit(reference: Reference, options: Options) -> None:
        if reference.train is None or reference.labels is None:
            raise TypeError("this detector needs the training split and its labels")
        fit_with(theirs, kind, reference.train, reference.labels)

    def score(outputs: Outputs, fitted: None, options: Options) -> Scores:
        return scores_with(theirs, kind, outputs)

    if not theirs.requires_fit:
        return Detector(name, name, OWN, "", (stored,), score)
    return Detector(name, name, OWN, "", (stored, f"train_{stored}"), score, fit)


def check_inputs(chosen: Mapping[str, Chosen], outputs: Outputs, reference: Reference | None) -> None:
    """Check that outputs hold what detectors need.

    Parameters
    ----------
    chosen : mapping
        Name -> detector.
    outputs : Outputs
        On any of the sets.
    reference : Reference or None
        None: there are no samples to fit on.

    Raises
    ------
    ReproodError
        One sentence that names the detector and what it needs.
    """
    for name, one in chosen.items():
        needs = f"The detector {name} needs"
        if not set(one.passes) <= set(outputs.passes):
            raise ReproodError(f"{needs} {INPUTS['pass']}; stored outputs hold none: give a model and images.")
        if "features" in one.detector.inputs and outputs.features is None:
            raise ReproodError(f"{needs} {INPUTS['features']}; give stored features, or a model.")
        if one.train and (reference is None or reference.train is None):
            raise ReproodError(f"{needs} training samples; give train.")
        if one.fitted and reference is None:
            raise ReproodError(f"{needs} in-distribution samples that are not tested; give train or validation.")
