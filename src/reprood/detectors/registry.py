"""Find a detector by its name: the file `reprood/detectors/<name>.py` that ends with `DETECTOR = Detector(...)`.

A name that ends in `.py` is a file of the user with such a record, relative to the working directory; its score has the
name of the file. `pytorch_ood.<class>` is a detector of that library (`reprood.detectors.pytorch_ood`).

Modules are imported dynamically, so that a job's static fingerprint holds no detector but those that its benchmark
uses: `reprood.pipeline.plan` names their modules as entries of the fingerprint.
"""

import importlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.core.errors import ReproodError
from reprood.core.messages import closest
from reprood.core.registry import is_path, load
from reprood.detectors.record import Detector, Options

ALWAYS = "msp"  # the calibration error is computed from it
ADAPTER = "pytorch_ood"  # the module of detectors of another library
FEATURES = {"features", "train_logits", "train_features", "head"}  # inputs in features.safetensors
NAME = re.compile(r"[a-z][a-z0-9_]*")
TRAIN = {"train_logits", "train_features"}  # inputs from the training split


@cache
def names() -> tuple[str, ...]:
    """Return the names of all detectors, sorted."""
    marker = re.compile(r"^DETECTOR = ", re.MULTILINE)
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(path.stem for path in files if marker.search(path.read_text(encoding="utf-8")))


def is_adapted(name: str) -> bool:
    """Return whether a name is that of a detector of pytorch-ood."""
    return name.startswith(f"{ADAPTER}.") and not is_path(name)


def module_name(name: str) -> str:
    """Return the full name of a detector's module; the path of a user's file."""
    if is_adapted(name):
        return f"reprood.detectors.{ADAPTER}"
    return name if is_path(name) else f"reprood.detectors.{name}"


def score_name(name: str) -> str:
    """Return the name of a detector's score, which is `score_<name>` in the results.

    Examples
    --------
    >>> score_name("knn"), score_name("./mine/margin.py")
    ('knn', 'margin')
    """
    if is_adapted(name):
        return str(importlib.import_module(module_name(name)).score_name(name))
    return Path(name).stem if is_path(name) else name


@cache
def detector(name: str) -> Detector:
    """Return a detector.

    Raises
    ------
    ReproodError
        When there is no such detector; the known ones are listed.

    Examples
    --------
    >>> detector("knn").label
    'KNN'
    """
    if is_adapted(name):
        found: Detector = importlib.import_module(module_name(name)).adapted(name)
        return found
    if is_path(name):
        if score_name(name) in names() or not NAME.fullmatch(score_name(name)):
            raise ReproodError(
                f"A detector cannot have the file name {Path(name).name}: scores are named after it, and the name must "
                "consist of lower-case letters, digits and _ and differ from the package's detectors; rename it."
            )
    elif name not in (known := names()):
        raise ReproodError(f"There is no detector '{name}'; {closest(name, known)}; or pytorch_ood.<class>.")
    own = is_path(name)
    record = load("detectors", name, "DETECTOR") if own else importlib.import_module(module_name(name)).DETECTOR
    if not isinstance(record, Detector):
        raise ReproodError(f"DETECTOR in {module_name(name)} is a {type(record).__name__}; expected a Detector.")
    if record.name != score_name(name):
        raise ReproodError(f"{module_name(name)} registers '{record.name}'; give file and record one name.")
    return record


def parse_options(detectors: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Options]:
    """Validate the detectors of a benchmark with their options.

    Parameters
    ----------
    detectors : mapping
        Name -> options; None or {} for the defaults.

    Raises
    ------
    ReproodError
        One sentence that names the detector and the key.

    Examples
    --------
    >>> parse_options({"knn": {"k": 5}, "msp": {}})
    {'knn': KnnOptions(k=5), 'msp': Options()}
    """
    parsed = {}
    of_score: dict[str, str] = {}
    for name, given in detectors.items():
        other = of_score.setdefault(score_name(name), name)
        if other != name:
            raise ReproodError(f"The detectors {other} and {name} have one name, {score_name(name)}; rename a file.")
        form = detector(name).options
        try:
            parsed[name] = form.model_validate(dict(given or {}))
        except ValidationError as error:
            first = error.errors()[0]
            key, known = ".".join(map(str, first["loc"])), ", ".join(form.model_fields) or "none"
            raise ReproodError(f"detectors.{name}.{key}: {first['msg']}; options of this detector: {known}.") from error
    return parsed


def inputs_of(detectors: Iterable[str]) -> set[str]:
    """Return the inputs that some detectors need.

    Examples
    --------
    >>> sorted(inputs_of(["knn", "msp"]))
    ['features', 'logits', 'train_features']
    """
    return {item for name in detectors for item in detector(name).inputs}


def passes_of(detectors: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Mapping[str, Any]]:
    """Return the forward passes on perturbed images that some detectors need.

    Examples
    --------
    >>> passes_of({"odin": {"epsilon": 0.01}, "msp": {}})
    {'odin_t1000_e0.01': {'kind': 'odin', 'temperature': 1000.0, 'epsilon': 0.01}}
    """
    requested: dict[str, Mapping[str, Any]] = {}
    for name, options in parse_options(detectors).items():
        make = detector(name).passes
        requested.update(make(options) if make is not None else {})
    return requested
