"""`reprood.score`: detectors and metrics of any network, from one forward pass over each set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reprood.api.detectors import Chosen, check_inputs, choose
from reprood.api.extremes import Sizes, extreme, slack
from reprood.api.sources import Loaded, Reading, Source, as_array, load_stored
from reprood.core.errors import ReproodError
from reprood.detectors.record import Floats, Outputs, Reference
from reprood.evaluate.bootstrap import contrast
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.resample import Replicates, Scores, replicate_metrics
from reprood.evaluate.scores import fit_and_score

if TYPE_CHECKING:
    from torch import nn

DETECTORS = ("msp", "maxlogit", "energy")
REPLICATES = 200  # resamplings of the test samples: their standard error is known to 5 %
MEAN = "mean"  # the row of the mean over OOD sets


@dataclass(frozen=True)
class Sets:
    """The sets that a network, or stored outputs, are scored on."""

    id: Source
    ood: Mapping[str, Source]
    train: Source = None
    validation: Source = None
    head: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        """Reject OOD sets without names.

        Raises
        ------
        ReproodError
            Says what is expected.
        """
        if not isinstance(self.ood, Mapping) or not self.ood or "logits" in self.ood:
            raise ReproodError(
                "ood must be a mapping of name -> OOD set with at least one, e.g. {'svhn': 'data/svhn'}."
            )
        if MEAN in self.ood:
            raise ReproodError("An OOD set cannot be named 'mean', which is the row of the mean over sets; rename it.")

    def named(self) -> dict[str, Source]:
        """Return all sources by the name that messages use."""
        more = {"train": self.train, "validation": self.validation}
        ood = {f"ood['{name}']": source for name, source in self.ood.items()}
        return {"id": self.id, **ood, **{name: source for name, source in more.items() if source is not None}}


@dataclass(frozen=True)
class Scored:
    """Scores of every detector, and facts about the network: `layer` of the features, `accuracy` on ID samples."""

    scores: dict[str, Scores]
    facts: dict[str, Any]


def compute_scores(model: "nn.Module | None", sets: Sets, chosen: Mapping[str, Chosen], reading: Reading) -> Scored:
    """Run a network once over each set, or take stored outputs, and compute all detectors.

    Raises
    ------
    ReproodError
        When a source cannot be read, sizes differ, or a detector's input is missing.
    """
    sources = sets.named()
    if not any(one.fitted for one in chosen.values()):
        sources = {name: source for name, source in sources.items() if name not in ("train", "validation")}
    loaded, layer, head = _load(model, sources, chosen, reading)
    widths = {name: one.outputs.logits.shape[1] for name, one in loaded.items()}
    if len(set(widths.values())) > 1:
        raise ReproodError(f"The sets have different numbers of classes ({widths}); use the outputs of one network.")
    features = loaded["id"].outputs.features
    if sets.head is not None:
        head = (as_array(sets.head[0]), as_array(sets.head[1]))
        expected = (widths["id"], head[0].shape[-1] if features is None else features.shape[1])
        if head[0].shape != expected or head[1].shape != expected[:1]:
            raise ReproodError(
                f"head has shapes {head[0].shape} and {head[1].shape}; expected a weight {expected} and a bias."
            )
    train, validation = loaded.pop("train", None), loaded.pop("validation", None)
    labels = None if train is None else train.labels
    if labels is not None and not _in_range(labels, widths["id"]):
        raise ReproodError(
            f"The labels of train are {labels.min()} to {labels.max()}; expected 0 to {widths['id'] - 1}."
        )
    known = train if validation is None else validation
    reference = None
    if known is not None:
        own = known.labels if known.labels is not None and _in_range(known.labels, widths["id"]) else None
        reference = Reference(known.outputs, train.outputs if train is not None else None, labels, head, own)
    outputs = {name: one.outputs for name, one in loaded.items()}
    check_inputs(chosen, outputs["id"], reference)
    reference = reference or Reference(Outputs(np.empty((0, widths["id"]), np.float32)), head=head)
    scores = {name: _score(name, one, reference, outputs, list(sets.ood)) for name, one in chosen.items()}
    facts: dict[str, Any] = {"layer": layer} if layer else {}
    right = loaded["id"].labels
    if right is not None and _in_range(right, widths["id"]):
        facts["accuracy"] = float((outputs["id"].logits.argmax(axis=1) == right).mean())
    return Scored(scores, facts)


def _in_range(labels: Any, classes: int) -> bool:
    return len(labels) > 0 and labels.min() >= 0 and labels.max() < classes


def _load(
    model: "nn.Module | None", sources: Mapping[str, Source], chosen: Mapping[str, Chosen], reading: Reading
) -> tuple[dict[str, Loaded], str, tuple[Floats, Floats] | None]:
    """Return the outputs on each set, the name of the layer of the features, and the last layer if it is affine."""
    loaded = {name: load_stored(source, name, bare=model is None) for name, source in sources.items()}
    missing = [name for name, one in loaded.items() if one is None]
    if not missing:
        return {name: one for name, one in loaded.items() if one is not None}, "", None
    if model is None:
        raise ReproodError(
            f"{missing[0]} holds no stored outputs (a mapping, .npz or .parquet with logits); give a model."
        )
    import torch
    from torch import nn

    from reprood.api.forward import Penultimate, batches, evaluating, forward

    if not isinstance(model, nn.Module):
        raise ReproodError(
            f"The model is a {type(model).__name__}; expected a torch.nn.Module, or None for stored outputs."
        )
    with ExitStack() as stack:
        place = stack.enter_context(evaluating(model, reading.device))
        tap = Penultimate(model, reading.layer) if any(one.features for one in chosen.values()) else None
        if tap is not None:
            stack.callback(tap.remove)
        tested = {name: request for one in chosen.values() for name, request in one.passes.items()}
        chosen_on = {name: request for one in chosen.values() if one.fitted for name, request in one.passes.items()}
        std = torch.tensor(list(reading.std) if reading.std is not None else [1.0])
        for name in missing:
            inputs = batches(sources[name], name, reading, ordered=name != "train")
            passes = chosen_on if name in ("train", "validation") else tested
            loaded[name] = forward(model, place, inputs, name, tap, passes, std)
    found = {name: one for name, one in loaded.items() if one is not None}
    return found, tap.layer if tap is not None else "", tap.head if tap is not None else None


def _score(name: str, one: Chosen, reference: Reference, outputs: Mapping[str, Outputs], ood: Sequence[str]) -> Scores:
    """Return a detector's scores of each set."""
    reason = one.detector.missing(reference)
    if reason is not None:
        give = "head=(weight, bias)" if "layer" in reason else "train or validation with labels"
        raise ReproodError(f"The detector {name}: {reason}; leave it out, or give {give}.")
    try:
        computed = fit_and_score(replace(one.detector, name=name), one.options, reference, outputs)
    except TypeError as error:
        if not one.train or reference.labels is not None:
            raise
        raise ReproodError(
            f"The detector {name} needs labels of the training samples; give train with labels."
        ) from error
    assert computed.values is not None
    ends = np.cumsum([len(part.logits) for part in outputs.values()])
    in_distribution, *outliers = np.split(computed.values, ends[:-1])
    return Scores(in_distribution, dict(zip(ood, outliers, strict=True)))


def _mean(several: Sequence[Replicates]) -> Replicates:
    """Return the mean over OOD sets of a metric, with the sum of their samples."""
    return replace(
        several[0],
        observed=[np.mean(values, axis=0) for values in zip(*(part.observed for part in several), strict=True)],
        resampled=[np.mean(tables, axis=0) for tables in zip(*(part.resampled for part in several), strict=True)],
        n_ood=sum(part.n_ood for part in several),
    )


def with_mean(found: dict[str, dict[str, Replicates]]) -> dict[str, dict[str, Replicates]]:
    """Return replicates of each OOD set and metric, with the mean over sets if there are several."""
    if len(found) == 1:
        return found
    metrics = list(next(iter(found.values())))
    return {**found, MEAN: {metric: _mean([of[metric] for of in found.values()]) for metric in metrics}}


def sizes_of(found: Mapping[str, Mapping[str, Replicates]], group: str) -> list[Sizes]:
    """Return the numbers of samples of an OOD set, or of each set of the mean."""
    groups = [name for name in found if name != MEAN] if group == MEAN else [group]
    return [(first.n_id, first.n_ood) for name in groups for first in [next(iter(found[name].values()))]]


def _cells(replicated: Replicates, place: int, metric: str, level: float, sets: Sequence[Sizes]) -> dict[str, float]:
    """Return a metric of one detector with its interval."""
    if len(replicated.resampled[place]) == 0:
        return {metric: float(replicated.observed[place][0])}
    single = replace(replicated, observed=[replicated.observed[place]], resampled=[replicated.resampled[place]])
    interval = contrast(single, [1.0], level).within(0.0, 1.0)
    end = extreme([interval.estimate])
    if interval.standard_error == 0 and end is not None:
        other = abs(end - slack(metric, sets, (1 - level) / 2))
        low, high = (other, end) if end == 1 else (end, other)
        return {metric: end, f"{metric}_low": low, f"{metric}_high": high}
    return {metric: interval.estimate, f"{metric}_low": interval.low, f"{metric}_high": interval.high}


def check_resampling(replicates: int, level: float) -> None:
    """Reject numbers of replicates and levels that give no interval.

    Raises
    ------
    ReproodError
        Names the value.
    """
    if replicates < 0 or replicates == 1:
        raise ReproodError(f"replicates is {replicates}; expected at least 2, or 0 for no intervals.")
    if not 0 < level < 1:
        raise ReproodError(f"level is {level}; expected a number between 0 and 1, such as 0.95.")


def score(
    model: "nn.Module | None" = None,
    *,
    id: Source,
    ood: Mapping[str, Source],
    detectors: str | Iterable[Any] | Mapping[str, Any] = DETECTORS,
    train: Source = None,
    validation: Source = None,
    head: tuple[Any, Any] | None = None,
    layer: str | None = None,
    batch_size: int = 256,
    device: str | None = None,
    workers: int = 0,
    size: int | None = None,
    channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    transform: Callable[[Any], Any] | None = None,
    replicates: int = REPLICATES,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Score a network with OOD detectors: all detection metrics with intervals, from one forward pass over each set.

    Parameters
    ----------
    model : nn.Module or None
        From inputs to logits [samples, classes]. It runs in evaluation mode and gets its own mode and device back.
        None: all sets are stored outputs.
    id : source
        In-distribution test samples. A source is an array or tensor of images, a pair (images, labels), the path of an
        image folder, a Dataset, a DataLoader that does not shuffle, or stored outputs: a mapping, .npz or .parquet with
        `logits` [N, C] and optionally `features` [N, d] and `labels` [N]. Images as uint8 and image files become
        [0, 1], then (x - mean) / std; all other values reach the network as they are, in its precision.
    ood : mapping
        Name -> source of each OOD set.
    detectors : sequence or mapping
        Names of the package's detectors (`reprood list detectors`), functions of `logits`, `features` or both that
        return one score per sample (higher = more in-distribution), or detectors of pytorch-ood. A mapping gives
        options, {"knn": {"k": 10}}, or names, {"mine": function}.
    train : source, optional
        Training samples that detectors are fitted on (knn, vim; with labels: mahalanobis).
    validation : source, optional
        In-distribution samples for react's percentile and odin's choice of a step; default: `train`.
    head : (weight [C, d], bias [C]), optional
        The last layer, for stored outputs; with a model it is found.
    layer : str, optional
        Name of the layer of the features: the input of a linear layer, or the output of any other (maps are averaged
        over positions). Default: the last linear layer that runs.
    batch_size : int
        Also of Datasets and folders.
    device : str, optional
        Default: where the network is.
    workers : int
        Processes that read Datasets and folders.
    size, channels, mean, std, transform
        For image files: side after resizing the shorter one and cropping the centre (None: unchanged), 1 or 3 channels,
        normalisation (default: none). `transform` is a function of a PIL image and takes their place; `std` is also the
        scale of odin's step.
    replicates, level, seed : int, float, int
        Of the bootstrap over test samples; 0 replicates: no intervals. Equal seeds draw the same samples for all
        detectors and for all networks on the same sets.

    Returns
    -------
    DataFrame
        One row for each detector and OOD set, and for the mean over several sets: `detector`, `ood`, `n_id`, `n_ood`,
        and each metric of `reprood.metrics` with `_low` and `_high`, the interval over test samples (not over
        trainings). Where a metric is 0 or 1 and does not vary over resampled sets, the interval is the exact one of
        `reprood.api.extremes`, and NaN for AUPR and the detection error.
        `attrs` holds `preprocessing`, `covers`, `replicates`, `level`, `seed`, and if known `layer` and `accuracy`.

    Raises
    ------
    ReproodError
        When a source cannot be read or an input of a detector is missing; one sentence.

    Warns
    -----
    UserWarning
        When files of an image folder are left out; with their number and the first.

    Examples
    --------
    >>> id, far = np.array([[4.0, 0.0], [0.0, 3.0]]), np.array([[0.1, 0.0], [0.0, 0.2]])
    >>> table = score(id=id, ood={"far": far}, detectors=["msp", "energy"])
    >>> table[["detector", "ood", "n_id", "n_ood", "auroc", "fpr95_ood_positive"]]
      detector  ood  n_id  n_ood  auroc  fpr95_ood_positive
    0      msp  far     2      2    1.0                 0.0
    1   energy  far     2      2    1.0                 0.0
    """
    check_resampling(replicates, level)
    reading = Reading(layer, batch_size, device, workers, size, channels, mean, std, transform)
    chosen = choose(detectors)
    scored = compute_scores(model, Sets(id, ood, train, validation, head), chosen, reading)
    arms = [[scored.scores[name]] for name in chosen]
    found = with_mean(replicate_metrics(arms, tuple(METRICS), np.random.default_rng(seed), replicates))
    rows = []
    for place, name in enumerate(chosen):
        for group, of in found.items():
            first = next(iter(of.values()))
            row: dict[str, Any] = {"detector": name, "ood": group, "n_id": first.n_id, "n_ood": first.n_ood}
            for metric, replicated in of.items():
                row |= _cells(replicated, place, metric, level, sizes_of(found, group))
            rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs = {
        "preprocessing": reading.describe() if model is not None else "stored outputs",
        "covers": "test samples, not trainings",
        "replicates": replicates, "level": level, "seed": seed,
    }  # fmt: skip
    table.attrs.update(scored.facts)
    return table
