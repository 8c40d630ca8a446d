"""The files that the predict stage writes: `predictions.parquet` and `features.safetensors`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json

LARGEST = 2.0**15  # stored features are scaled to below this; half precision ends at 65504


def write_predictions(out: Path, splits: Mapping[str, Mapping[str, np.ndarray]], facts: Mapping[str, Any]) -> None:
    """Write one table of all splits; null where a column does not apply; no date and no path in it.

    Parameters
    ----------
    out : Path
        predictions.parquet.
    splits : mapping
        Split or condition -> column -> array [N], or [N, C] for logits.
    facts : mapping
        What else is known of the run; JSON in the table's metadata under `reprood`.
    """
    names = [split for split, columns in splits.items() for _ in range(len(columns["row"]))]
    columns: dict[str, pa.Array] = {"split": pa.array(names, pa.string())}
    for column in dict.fromkeys(name for values in splits.values() for name in values):
        first = next(values[column] for values in splits.values() if column in values)
        kind = _column_type(first)
        parts = [
            _column(values[column], kind) if column in values else pa.nulls(len(values["row"]), kind)
            for values in splits.values()
        ]
        columns[column] = pa.concat_arrays(parts)
    table = pa.table(columns).replace_schema_metadata({"reprood": canonical_json(facts)})
    floats = [name for name, array in columns.items() if pa.types.is_floating(array.type)]
    lists = [f"{name}.list.element" for name, array in columns.items() if pa.types.is_fixed_size_list(array.type)]
    with atomic_path(out) as temporary:
        pq.write_table(
            table, temporary, compression="zstd", use_dictionary=["split"], use_byte_stream_split=[*floats, *lists]
        )


def _column_type(values: np.ndarray) -> pa.DataType:
    if values.dtype == object:
        return pa.binary()
    element = pa.from_numpy_dtype(values.dtype)
    return pa.list_(element, values.shape[1]) if values.ndim == 2 else element


def _column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values, kind)


def half_precision(features: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Round features to half precision after scaling all of them by one power of two.

    The scaling is exact and keeps the largest value within the range of half precision and small ones out of its
    subnormal range: the relative error of a value is at most 2^-11 unless it is below 2^-29 of the largest one.

    Parameters
    ----------
    features : mapping
        Split -> float32 array [N, d].

    Returns
    -------
    dict, int
        Split -> float16 array [N, d], and the exponent e: a feature is the stored value times 2^e.

    Raises
    ------
    ReproodError
        When a feature is not finite.

    Examples
    --------
    >>> half, exponent = half_precision({"test": np.array([[0.1, 100000.0]], np.float32)})
    >>> half["test"].astype(np.float32) * 2.0**exponent
    array([[1.0000610e-01, 9.9968000e+04]], dtype=float32)
    """
    largest = 0.0
    for split, values in features.items():
        if not np.isfinite(values).all():
            raise ReproodError(f"Some features of the split {split} are not finite; train the run again.")
        largest = max(largest, float(np.abs(values).max(initial=0.0)))
    exponent = math.frexp(largest / LARGEST)[1] if largest else 0
    return {split: np.ldexp(values, -exponent).astype(np.float16) for split, values in features.items()}, exponent


def write_features(
    out: Path, tensors: Mapping[str, np.ndarray], features: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    """Write features in half precision, and other arrays as they are; numpy reads the file without torch and pickle.

    Parameters
    ----------
    out : Path
        features.safetensors.
    tensors : mapping
        Name -> array: `head/weight`, `head/bias`, `train/logits`, `train/labels`; any may be missing.
    features : mapping
        Split -> float32 array [N, d], stored as `features/<split>`; empty when features are not requested.
    facts : mapping
        Which run this is; JSON in the file's metadata under `reprood`, together with the `exponent` of the features.
    """
    half, exponent = half_precision(features)
    stored = {**tensors, **{f"features/{split}": values for split, values in half.items()}}
    stored = {name: np.ascontiguousarray(values) for name, values in stored.items()}
    metadata = {"reprood": canonical_json({**facts, "exponent": exponent})}  # one key: the order of several varies
    with atomic_path(out) as temporary:
        save_file(stored, temporary, metadata)
