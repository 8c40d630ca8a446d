"""Adapter: detectors of pytorch-ood that work on logits, features or the last layer, as `pytorch_ood.<class>`.

K. Kirchheim, M. Filax, F. Ortmeier: PyTorch-OOD: A Library for Out-of-Distribution Detection based on PyTorch, CVPR
Workshops 2022. The optional extra `pytorch-ood` installs it. Its outlier scores are negated. Detectors that read
feature maps get pooled features as maps of one pixel; those that need the network, several layers or text are not here.
The library, and torch, are imported when a detector is fitted or scores, not when a suite is read.
"""

import inspect
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import computed_field, create_model

from reprood.core.errors import ReproodError
from reprood.core.messages import closest
from reprood.detectors.arrays import blocks
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, need
from reprood.detectors.record import last_layer as layer_of

PREFIX, SCORE = "pytorch_ood.", "pytorch_ood_"  # of the name in a suite, and of the score
PAPER = Paper(
    title="PyTorch-OOD: A Library for Out-of-Distribution Detection based on PyTorch",
    authors="Kirchheim, Filax, Ortmeier",
    venue="CVPR Workshops",
    year=2022,
    url="https://github.com/kkirchheim/pytorch-ood",
)
ROWS = 4096  # scored at once
Kind = Literal["logits", "features", "feature_maps"]


class TheirOptions(Options):
    """Options of a detector of pytorch-ood: the parameters of its class. The version is part of its fingerprint."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def version(self) -> str:
        """Version of pytorch-ood."""
        return version("pytorch-ood")


@dataclass(frozen=True)
class Theirs:
    """What a class of pytorch-ood reads, what it is fitted on, and its options with their defaults."""

    kind: Kind
    fit: Literal["", "train", "validation"] = ""
    head: bool = False
    options: dict[str, tuple[Any, Any]] = field(default_factory=dict)


KNOWN: dict[str, Theirs] = {
    "EnergyBased": Theirs("logits", options={"t": (float, 1.0)}),
    "Entropy": Theirs("logits"),
    "GEN": Theirs("logits", options={"gamma": (float, 0.1), "M": (int | None, None)}),
    "KLMatching": Theirs("logits", "validation"),
    "MaxLogit": Theirs("logits"),
    "MaxSoftmax": Theirs("logits", options={"t": (float, 1.0)}),
    "OpenMax": Theirs(
        "logits", "train", options={"tailsize": (int, 25), "alpha": (int, 10), "euclid_weight": (float, 1.0)}
    ),
    "TemperatureScaling": Theirs("logits", "validation"),
    "WeightedEBO": Theirs("logits", options={"weights": (tuple[float, ...], ...)}),
    "DICE": Theirs("features", "train", True, {"p": (float, 0.9)}),
    "fDBD": Theirs("features", "train", True),
    "GMM": Theirs("features", "train", options={"reg": (float, 1e-6)}),
    "KNN": Theirs("features", "train", options={"k": (int, 50), "normalize": (bool, True)}),
    "LTS": Theirs("features", head=True, options={"p": (float, 0.05)}),
    "Mahalanobis": Theirs("features", "train"),
    "NCI": Theirs("features", "train", True, {"alpha": (float, 0.0)}),
    "NNGuide": Theirs("features", "train", True, {"k": (int, 10)}),
    "PNML": Theirs("features", "train", True, {"eps": (float, 1e-12)}),
    "RMD": Theirs("features", "train"),
    "SHE": Theirs("features", "train", True),
    "ViM": Theirs("features", "train", True, {"d": (int, ...)}),
    "ASH": Theirs(
        "feature_maps",
        "",
        True,
        {"variant": (Literal["ash-s", "ash-p", "ash-b"], "ash-s"), "percentile": (float, 0.65)},
    ),
    "ReAct": Theirs("feature_maps", "train", True, {"percentile": (float, 0.9)}),
    "SCALE": Theirs("feature_maps", head=True, options={"percentile": (float, 0.65)}),
    "VRA": Theirs(
        "feature_maps", "train", True, {"lower_percentile": (float, 0.01), "upper_percentile": (float, 0.99)}
    ),
}


def score_name(name: str) -> str:
    """Return the name of the score of `pytorch_ood.<class>`.

    Examples
    --------
    >>> score_name("pytorch_ood.ViM")
    'pytorch_ood_vim'
    """
    return SCORE + name.removeprefix(PREFIX).lower()


def label(score: str) -> str:
    """Return the label of a score of this adapter; "" for any other.

    Examples
    --------
    >>> label("pytorch_ood_vim"), label("vim")
    ('ViM (pytorch-ood)', '')
    """
    return next((f"{name} (pytorch-ood)" for name in KNOWN if score_name(name) == score), "")


@cache
def adapted(name: str) -> Detector:
    """Return the record of `pytorch_ood.<class>`.

    Raises
    ------
    ReproodError
        For a class that is not in `KNOWN`, or when pytorch-ood is not installed.
    """
    own = name.removeprefix(PREFIX)
    if own not in KNOWN:
        raise ReproodError(
            f"{name} is no detector of pytorch-ood that works on stored logits or features; {closest(own, KNOWN)}."
        )
    if find_spec("pytorch_ood") is None:
        raise ReproodError(f"{name} needs pytorch-ood, which is not installed: pip install 'reprood[pytorch-ood]'.")
    theirs = KNOWN[own]
    stored = "logits" if theirs.kind == "logits" else "features"
    inputs = [stored]
    inputs += [f"train_{stored}"] if theirs.fit == "train" else []
    inputs += ["validation_labels"] if own == "TemperatureScaling" else []
    inputs += ["head"] if theirs.head else []

    def fit(reference: Reference, options: TheirOptions) -> Any:
        made = _made(own, options, layer_of(reference) if theirs.head else None)
        if theirs.fit == "train":
            if reference.train is None or reference.labels is None:
                raise TypeError("this detector needs the training split and its labels")
            fit_with(made, theirs.kind, reference.train, reference.labels)
        elif theirs.fit:
            labels = reference.validation_labels
            count = len(reference.validation.logits)
            fit_with(made, theirs.kind, reference.validation, np.zeros(count, np.int64) if labels is None else labels)
        return made

    return Detector(
        name=score_name(own),
        label=label(score_name(own)),
        paper=PAPER,
        formula=f"-pytorch_ood.detector.{own}",
        inputs=tuple(inputs),
        score=lambda outputs, made, options: scores_with(made, theirs.kind, outputs),
        fit=fit,
        options=create_model(f"{own}Options", __base__=TheirOptions, **theirs.options),  # type: ignore[call-overload]
        fit_on_samples=bool(theirs.fit),
    )


def _made(own: str, options: TheirOptions, head: tuple[Floats, Floats] | None) -> Any:
    """Return an instance of a class of pytorch-ood, without a network."""
    import torch
    from pytorch_ood import detector

    kind = getattr(detector, own)
    given: dict[str, Any] = {"model": None, "encoder": None, "backbone": None}
    if head is not None:
        weight, bias = (torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in head)
        linear = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
        linear.requires_grad_(False)
        linear.load_state_dict({"weight": weight, "bias": bias})
        flat = torch.nn.Sequential(torch.nn.Flatten(), linear)
        given |= {"w": weight, "b": bias, "head": flat if KNOWN[own].kind == "feature_maps" else linear}
    chosen = {name: getattr(options, name) for name in KNOWN[own].options}
    if "weights" in chosen:
        chosen["weights"] = torch.tensor(chosen["weights"])
    taken = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in taken}, **chosen)


def _tensor(outputs: Outputs, kind: Kind, rows: slice = slice(None)) -> Any:
    import torch

    values = outputs.logits if kind == "logits" else need(outputs.features, "features")
    tensor = torch.from_numpy(np.ascontiguousarray(values[rows], np.float32))
    return tensor[:, :, None, None] if kind == "feature_maps" else tensor


def fit_with(theirs: Any, kind: Kind, outputs: Outputs, labels: NDArray[np.integer[Any]]) -> None:
    """Fit a detector of pytorch-ood in place."""
    import torch

    getattr(theirs, f"fit_{kind}")(_tensor(outputs, kind), torch.from_numpy(np.asarray(labels, np.int64)))


def scores_with(theirs: Any, kind: Kind, outputs: Outputs) -> Scores:
    """Return the negated outlier scores of a detector of pytorch-ood; float64 [N]."""
    predict, result = getattr(theirs, f"predict_{kind}"), np.empty(len(outputs.logits), np.float64)
    for rows in blocks(len(result), ROWS):
        result[rows] = -predict(_tensor(outputs, kind, rows)).detach().cpu().numpy().reshape(-1)
    return result
