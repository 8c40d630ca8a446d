"""Every post-hoc detector by name: what it needs, its options, how it is fitted and how it scores.

A new detector is a file of pure functions beside this one, a pair `fit`/`score` here and a name in `names.py`.
Nothing here ever sees an OOD sample before it is scored: fits use ID training or ID validation samples only,
taken with the test-time transform.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from pydantic import ValidationError
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.detectors import knn, logits, mahalanobis, odin, react, vim
from reprood.detectors.options import EnergyOptions, KnnOptions, OdinOptions, Options, ReactOptions, VimOptions

Needs = Literal["logits", "features", "head", "gradient"]


@dataclass(frozen=True)
class Stored:
    """What one forward pass over a split left behind.

    Attributes
    ----------
    logits : Tensor [N, C]
    features : Tensor [N, d] or None
        Penultimate features; None when the network has none.
    batches : callable or None
        Gives an iterator over the split's normalised images, anew on each call; None when there are no images at hand.
    """

    logits: Tensor
    features: Tensor | None = None
    batches: Callable[[], Iterable[Tensor]] | None = None


@dataclass(frozen=True)
class Known:
    """What a detector may be fitted on: in-distribution samples and the network itself.

    Attributes
    ----------
    train : Stored
        ID training samples, not augmented.
    labels : Tensor [N]
        Their labels, 0 .. C - 1.
    validation : Stored
        ID validation samples.
    head : (Tensor [C, d], Tensor [C]) or None
        Weight and bias of an affine head; None when the logits are no affine function of the features.
    model : nn.Module or None
        For detectors that make their own pass; in evaluation mode.
    std : Tensor [channels] or None
        Channel standard deviations of the ID normalisation.
    """

    train: Stored
    labels: Tensor
    validation: Stored
    head: tuple[Tensor, Tensor] | None = None
    model: nn.Module | None = None
    std: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """ODIN's step size in units of [0, 1] pixels."""

    epsilon: float


@dataclass(frozen=True)
class Limit:
    """ReAct's largest activation."""

    threshold: float


@dataclass(frozen=True)
class Detector:
    """One row of the table.

    Attributes
    ----------
    name, label : str
        Key in the configuration and in `score_<name>`; name for readers.
    needs : {"logits", "features", "head", "gradient"}
        head = features and an affine head; gradient = the network and the images.
    options : type
        The options with their defaults (the published ones).
    score : callable
        (split, known, fitted, options) -> Tensor [N] float64, higher = more in-distribution.
    fit : callable
        (known, options) -> what `score` is given as `fitted`.
    """

    name: str
    label: str
    needs: Needs
    options: type[Options]
    score: Callable[[Stored, Known, Any, Any], Tensor]
    fit: Callable[[Known, Any], Any] = lambda known, options: None

    @property
    def defaults(self) -> dict[str, Any]:
        """The options as they are when nothing is set."""
        return self.options().model_dump()


def _features(stored: Stored) -> Tensor:
    if stored.features is None:
        raise TypeError("this detector needs features; ask `missing` first")
    return stored.features


def _head(known: Known) -> tuple[Tensor, Tensor]:
    if known.head is None:
        raise TypeError("this detector needs an affine head; ask `missing` first")
    return known.head


def _gradient(stored: Stored, known: Known) -> tuple[nn.Module, Callable[[], Iterable[Tensor]], Tensor]:
    if known.model is None or known.std is None or stored.batches is None:
        raise TypeError("this detector needs the network, images and std; ask `missing` first")
    return known.model, stored.batches, known.std


def _fit_odin(known: Known, options: OdinOptions) -> Step:
    if options.epsilon != "validation":
        return Step(float(options.epsilon))
    model, batches, std = _gradient(known.validation, known)
    return Step(odin.choose_epsilon(model, batches, std, options.temperature, options.grid))


def _score_odin(stored: Stored, known: Known, fitted: Step, options: OdinOptions) -> Tensor:
    model, batches, std = _gradient(stored, known)
    scores = stored.logits.new_empty(len(stored.logits)).double()
    start = 0
    for images in batches():
        scores[start : start + len(images)] = odin.odin(model, images, std, options.temperature, fitted.epsilon)
        start += len(images)
    return scores


def _fit_mahalanobis(known: Known, options: Options) -> mahalanobis.Gaussians:
    return mahalanobis.fit(_features(known.train), known.labels, known.train.logits.shape[1])


def _fit_vim(known: Known, options: VimOptions) -> vim.Residual:
    return vim.fit(_features(known.train), known.train.logits, *_head(known), options.dimension)


def _fit_react(known: Known, options: ReactOptions) -> Limit:
    return Limit(react.threshold(_features(known.validation), options.percentile))


_ROWS = (
    Detector("msp", "MSP", "logits", Options, lambda s, k, f, o: logits.msp(s.logits)),
    Detector("maxlogit", "MaxLogit", "logits", Options, lambda s, k, f, o: logits.maxlogit(s.logits)),
    Detector("energy", "Energy", "logits", EnergyOptions, lambda s, k, f, o: logits.energy(s.logits, o.temperature)),
    Detector(
        "oe_cross_entropy", "OE cross-entropy", "logits", Options, lambda s, k, f, o: logits.oe_cross_entropy(s.logits)
    ),
    Detector("odin", "ODIN", "gradient", OdinOptions, _score_odin, _fit_odin),
    Detector(
        "mahalanobis",
        "Mahalanobis",
        "features",
        Options,
        lambda s, k, f, o: mahalanobis.score(_features(s), f),
        _fit_mahalanobis,
    ),
    Detector("knn", "KNN", "features", KnnOptions, lambda s, k, f, o: knn.score(_features(s), _features(k.train), o.k)),
    Detector("vim", "ViM", "head", VimOptions, lambda s, k, f, o: vim.score(_features(s), s.logits, f), _fit_vim),
    Detector(
        "react",
        "ReAct",
        "head",
        ReactOptions,
        lambda s, k, f, o: react.score(_features(s), *_head(k), f.threshold),
        _fit_react,
    ),
)
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in _ROWS}


def parse_options(detectors: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Options]:
    """Validate detector names and options.

    Raises
    ------
    ReproodError
        One sentence that names the detector and the key.
    """
    parsed = {}
    for name, given in detectors.items():
        if name not in DETECTORS:
            raise ReproodError(f"There is no detector '{name}'; known: {', '.join(DETECTORS)}.")
        try:
            parsed[name] = DETECTORS[name].options.model_validate(dict(given or {}))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = ", ".join(DETECTORS[name].options.model_fields) or "none"
            raise ReproodError(f"detectors.{name}.{key}: {first['msg']}; options of this detector: {known}.") from error
    return parsed


def missing(detector: Detector, known: Known) -> str | None:
    """Why a model's outputs do not allow a detector; None when they do."""
    if detector.needs == "gradient" and (known.model is None or known.std is None or known.train.batches is None):
        return "it needs gradients with respect to the images, and only stored outputs are given"
    if detector.needs in ("features", "head") and known.train.features is None:
        return "it needs penultimate features, and the network gives none"
    if detector.needs == "head" and known.head is None:
        return "it needs an affine head, and the network's logits are no affine function of its features"
    return None


@dataclass(frozen=True)
class Scored:
    """Scores of every split, what was fitted (numbers only), and which detectors were skipped and why."""

    scores: dict[str, dict[str, Tensor]]
    fitted: dict[str, dict[str, float]]
    skipped: dict[str, str]


def _numbers(fitted: Any) -> dict[str, float]:
    if not is_dataclass(fitted):
        return {}
    values = {item.name: getattr(fitted, item.name) for item in fields(fitted)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def each_detector(
    detectors: Mapping[str, Mapping[str, Any] | None], known: Known, splits: Mapping[str, Stored]
) -> Iterator[tuple[str, dict[str, Tensor], dict[str, float], str | None]]:
    """Fit and run one detector after the other: (name, split -> scores, fitted numbers, reason when skipped)."""
    for name, options in parse_options(detectors).items():
        detector = DETECTORS[name]
        reason = missing(detector, known)
        if reason is not None:
            yield name, {}, {}, reason
            continue
        fitted = detector.fit(known, options)
        yield (
            name,
            {split: detector.score(stored, known, fitted, options) for split, stored in splits.items()},
            _numbers(fitted),
            None,
        )


def score_all(detectors: Mapping[str, Mapping[str, Any] | None], known: Known, splits: Mapping[str, Stored]) -> Scored:
    """Score every split with every detector that the outputs allow.

    Parameters
    ----------
    detectors : mapping
        Name -> options, as a benchmark has them.
    known : Known
        What is fitted on.
    splits : mapping
        Split name -> stored outputs.

    Returns
    -------
    Scored
        `scores[split][name]` is a float64 Tensor [N]; a detector that the model's outputs do not allow is in
        `skipped` with the reason instead.

    Raises
    ------
    ReproodError
        For an unknown detector or option, and for options that the data do not allow (k > training samples).
    """
    scores: dict[str, dict[str, Tensor]] = {split: {} for split in splits}
    fits: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    for name, found, numbers, reason in each_detector(detectors, known, splits):
        if reason is not None:
            skipped[name] = reason
        if numbers:
            fits[name] = numbers
        for split, values in found.items():
            scores[split][name] = values
    return Scored(scores, fits, skipped)
