"""Scores of detectors, computed from a run's raw outputs. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json
from reprood.detectors import registry
from reprood.detectors.record import INPUTS, Detector, Options, Outputs, Reference
from reprood.evaluate.outputs import Raw


@dataclass(frozen=True)
class Computed:
    """What a detector says of a run.

    Attributes
    ----------
    values : float64 array [N] or None
        Scores of all samples, in the order of the rows; None when the detector was skipped.
    fitted : dict
        Numbers that were fitted.
    skipped : str
        Why the network does not allow the detector; "" when it does.
    """

    values: NDArray[np.float64] | None
    fitted: Mapping[str, float]
    skipped: str = ""


def requested(detectors: Mapping[str, Mapping[str, Any]], classes: int) -> dict[str, Options]:
    """Return the detectors of a benchmark with their options, in the order of the results' columns.

    The maximum softmax probability is always computed, except for a network of one class.
    """
    always = [registry.ALWAYS] if classes > 1 else []
    order = dict.fromkeys([*always, *sorted(detectors)])
    return registry.parse_options({name: detectors.get(name) for name in order})


def compute(name: str, options: Options, raw: Raw) -> Computed:
    """Fit a detector on in-distribution outputs and score every sample of every split.

    Raises
    ------
    ReproodError
        When an input is not stored, the data do not allow the options (k > training samples), or a score is not finite.
    """
    detector = registry.detector(name)
    reason = detector.missing(raw.reference)
    if reason is not None:
        return Computed(None, {}, reason)
    absent = [item for item in detector.inputs if not _available(item, detector, options, raw)]
    if absent:
        raise ReproodError(
            f"The detector {name} needs {INPUTS[absent[0]]}, which are not stored; run the predict stage again, "
            "or give them where you pass outputs of your own."
        )
    return fit_and_score(detector, options, raw.reference, raw.splits)


def fit_and_score(
    detector: Detector, options: Options, reference: Reference, splits: Mapping[str, Outputs]
) -> Computed:
    """Fit a detector on outputs that hold its inputs, and score every sample of every split.

    Raises
    ------
    ReproodError
        When the data do not allow the options, or a score is not one finite number per sample.
    """
    name = detector.name
    fitted = detector.fit(reference, options) if detector.fit is not None else None
    parts = [np.asarray(detector.score(outputs, fitted, options), np.float64) for outputs in splits.values()]
    for split, part, outputs in zip(splits, parts, splits.values(), strict=True):
        if part.shape != (len(outputs.logits),):
            raise ReproodError(f"The score {name} of {split} has shape {part.shape}; expected one number per sample.")
    values = np.concatenate(parts)
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise ReproodError(
            f"The score {name} is not finite for {wrong} of {len(values)} samples; check its inputs for "
            "very large or constant values (has the training diverged?), or leave the detector out."
        )
    return Computed(values, _numbers(fitted))


def _available(item: str, detector: Detector, options: Options, raw: Raw) -> bool:
    """Whether stored outputs hold an input of a detector."""
    outputs = [*raw.splits.values(), raw.reference.validation]
    if item == "features":
        return all(stored.features is not None for stored in outputs)
    if item in registry.TRAIN:
        return raw.reference.train is not None
    if item == "pass" and detector.passes is not None:
        return all(set(detector.passes(options)) <= set(stored.passes) for stored in outputs)
    return True  # logits are always stored, and without an affine layer the detector is skipped


def _numbers(fitted: Any) -> dict[str, float]:
    if not is_dataclass(fitted):
        return {}
    values = {item.name: getattr(fitted, item.name) for item in fields(fitted)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def write_scores(
    path: Path, rows: Mapping[str, int], scores: Mapping[str, NDArray[np.float64]], facts: Mapping[str, Any]
) -> None:
    """Write `scores.parquet`: split, row, and `score_<name>` (float64) of each detector; same input, same bytes.

    Parameters
    ----------
    path : Path
        The file.
    rows : mapping
        Split -> number of its samples, in the order of the predictions.
    scores : mapping
        Detector -> scores of all samples.
    facts : mapping
        benchmark, method, seed, and what else is known; JSON in the metadata under `reprood`.
    """
    columns: dict[str, pa.Array] = {
        "split": pa.array([split for split, count in rows.items() for _ in range(count)], pa.string()),
        "row": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in rows.values()])),
    }
    columns.update(
        {f"score_{registry.score_name(name)}": pa.array(values, pa.float64()) for name, values in scores.items()}
    )
    table = pa.table(columns).replace_schema_metadata({"reprood": canonical_json(facts)})
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=["split"],
            use_byte_stream_split=[name for name in columns if name.startswith("score_")],
        )
