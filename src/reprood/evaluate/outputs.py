"""A run's raw outputs as the predict stage stored them: logits, features, the last layer. No torch.

These are what detectors work on. Features are stored in half precision and returned as float32.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reprood.config.conditions import is_condition
from reprood.core.errors import ReproodError
from reprood.data.bounds import fits
from reprood.detectors.record import Floats, Outputs, Reference
from reprood.evaluate.predictions import PREDICTIONS, raw_columns, read_table

FEATURES = "features.safetensors"
AGAIN = "run the predict stage again"


@dataclass(frozen=True)
class Raw:
    """The raw outputs of a run.

    Attributes
    ----------
    facts : dict
        The metadata of the predictions.
    splits : dict
        Split -> its outputs, without conditions; in the order of the rows.
    reference : Reference
        What detectors may be fitted on.
    """

    facts: dict[str, Any]
    splits: dict[str, Outputs]
    reference: Reference


def has_logits(folder: Path) -> bool:
    """Return whether a run's predictions hold logits; those taken over from a compact release do not."""
    return "logits" in raw_columns(pq.read_schema(folder / PREDICTIONS))


def load_outputs(folder: Path, *, features: bool) -> Raw:
    """Read the raw outputs of a run.

    Parameters
    ----------
    folder : Path
        The run's folder, with predictions.parquet.
    features : bool
        Read features.safetensors too: features, last layer, outputs on the training split.

    Raises
    ------
    ReproodError
        When a file is missing or damaged, outputs are missing or not finite, or sizes do not agree.
    """
    path = Path(folder) / PREDICTIONS
    facts, table = read_table(path, "predict", ("split", "row", "label"))
    names = [str(name) for name in table["split"].to_pylist()]
    counts: dict[str, int] = {}
    for name in names:
        if not is_condition(name):
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    if any(is_condition(name) for name in names[:total]) or names[:total] != [
        n for n in counts for _ in range(counts[n])
    ]:
        raise ReproodError(f"{path}: the rows of a split must be together, before all conditions; {AGAIN}.")
    for name in ("validation", "test"):
        if name not in counts:
            raise ReproodError(f"{path} holds no split '{name}'; {AGAIN}.")
    if not pa.types.is_integer(table["label"].type):
        raise ReproodError(f"{path}: the column label must hold whole numbers; {AGAIN}.")
    arrays = _raw_arrays(path, total)
    starts = dict(zip(counts, np.cumsum([0, *counts.values()]), strict=False))
    places = {name: slice(starts[name], starts[name] + size) for name, size in counts.items()}
    extra = _Features(Path(folder) / FEATURES, counts) if features else None
    splits = {
        name: Outputs(
            arrays["logits"][rows],
            extra.features(name, counts[name]) if extra else None,
            {key.removeprefix("pass_"): values[rows] for key, values in arrays.items() if key.startswith("pass_")},
        )
        for name, rows in places.items()
    }
    train, labels = extra.train(arrays["logits"].shape[1]) if extra else (None, None)
    head = extra.head(arrays["logits"].shape[1]) if extra else None
    known = table["label"].to_numpy()[places["validation"]]
    classes = arrays["logits"].shape[1]
    of_validation = known if len(known) and known.min() >= 0 and known.max() < classes else None
    return Raw(facts, splits, Reference(splits["validation"], train, labels, head, of_validation))


def _raw_arrays(path: Path, total: int) -> dict[str, Floats]:
    """Return logits and passes of the first `total` rows, float32 [total, C] each."""
    schema = pq.read_schema(path)
    names = raw_columns(schema)
    if "logits" not in names:
        raise ReproodError(
            f"{path} holds no logits, as after continuing from a compact release; delete it and {AGAIN}, or start from "
            "the archive of the release."
        )
    arrays = {}
    for name in names:
        kind = schema.field(name).type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            raise ReproodError(f"{path}: the column {name} must hold lists of float32 of one size; {AGAIN}.")
        width = kind.list_size
        fits(4 * pq.read_metadata(path).num_rows * width, f"{path}: {name} of {width} classes")
        try:
            column = pq.read_table(path, columns=[name])[name].slice(0, total).combine_chunks()
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise ReproodError(f"{path} cannot be read ({error}); delete it and {AGAIN}.") from error
        values = column.flatten()
        if column.null_count or values.null_count or len(values) != total * width or width == 0:
            raise ReproodError(f"{path}: the column {name} must hold {width} numbers in every row; {AGAIN}.")
        array = values.to_numpy(zero_copy_only=False).reshape(total, width)
        if not np.isfinite(array).all():
            raise ReproodError(f"{path}: some {name} are not finite; train the run again.")
        arrays[name] = array
    return arrays


class _Features:
    """Reader of features.safetensors."""

    def __init__(self, path: Path, splits: Sequence[str] | dict[str, int]) -> None:
        from safetensors import SafetensorError, safe_open  # not needed to check a release, which has no features

        self.path = path
        if not path.is_file():
            raise ReproodError(f"{path} does not exist; {AGAIN}.")
        try:
            with safe_open(path, framework="numpy") as file:
                record = json.loads((file.metadata() or {}).get("reprood", "null"))
                self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError, ValueError, RecursionError, TypeError) as error:
            raise ReproodError(f"{path} cannot be read ({error}); delete it and {AGAIN}.") from error
        exponent = record.get("exponent") if isinstance(record, dict) else None
        if not isinstance(exponent, int) or abs(exponent) > 200:
            raise ReproodError(f"{path}: the exponent of the features is {exponent!r}; expected an integer; {AGAIN}.")
        self.exponent = exponent

    def _get(self, name: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array, checked against a type and a shape (None: any size)."""
        array = self.tensors.get(name)
        if array is None:
            raise ReproodError(f"{self.path} holds no {name}; {AGAIN}.")
        fitting = len(array.shape) == len(shape) and all(
            w is None or w == n for w, n in zip(shape, array.shape, strict=True)
        )
        if array.dtype != np.dtype(kind) or not fitting:
            raise ReproodError(f"{self.path}: {name} is {array.dtype} of shape {array.shape}; {AGAIN}.")
        if not np.isfinite(array).all():
            raise ReproodError(f"{self.path}: {name} is not finite; train the run again.")
        return np.asarray(array)

    def features(self, split: str, count: int | None) -> Floats:
        """Return the features of a split, float32 [N, d]."""
        half = self._get(f"features/{split}", "float16", (count, None))
        return np.asarray(np.ldexp(half.astype(np.float32), self.exponent))

    def head(self, classes: int) -> tuple[Floats, Floats] | None:
        """Return weight [C, d] and bias [C] of the last layer; None when it is not affine."""
        if "head/weight" not in self.tensors:
            return None
        return self._get("head/weight", "float32", (classes, None)), self._get("head/bias", "float32", (classes,))

    def train(self, classes: int) -> tuple[Outputs, NDArray[Any]] | tuple[None, None]:
        """Return the outputs on the training split and its labels; None when they were not requested."""
        if "train/labels" not in self.tensors:
            return None, None
        labels = self._get("train/labels", "int32", (None,))
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
            raise ReproodError(f"{self.path}: train/labels must be 0 to {classes - 1}; {AGAIN}.")
        logits = self._get("train/logits", "float32", (len(labels), classes))
        return Outputs(logits, self.features("train", len(labels))), labels
