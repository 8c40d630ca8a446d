"""What `reprood.score` reads: how images become a network's inputs, and stored outputs. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reprood.core.errors import ReproodError
from reprood.data.arrays import read_npz
from reprood.data.bounds import whole_numbers
from reprood.detectors.record import Outputs

Source = Any  # images, folder, Dataset, DataLoader or stored outputs; `reprood.score` lists them
STORED = ("logits", "features", "labels")
FORMATS = (
    "expected images (array or tensor), a pair (images, labels), an image folder, a Dataset, a DataLoader, or stored "
    "outputs (a mapping, .npz or .parquet with logits)"
)


@dataclass(frozen=True)
class Reading:
    """How a network reads its inputs; `reprood.score` describes each field."""

    layer: str | None = None
    batch_size: int = 256
    device: str | None = None
    workers: int = 0
    size: int | None = None
    channels: int = 3
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    transform: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        """Reject impossible values.

        Raises
        ------
        ReproodError
            Names the value.
        """
        if self.batch_size < 1:
            raise ReproodError(f"batch_size is {self.batch_size}; expected at least 1.")
        if self.channels not in (1, 3):
            raise ReproodError(f"channels is {self.channels}; images of files have 1 (grey) or 3 (RGB).")
        if self.transform is not None and (self.size is not None or self.mean is not None):
            raise ReproodError("transform replaces size and mean; give either transform or the others.")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ReproodError(f"std is {list(self.std)}; every standard deviation must be above 0.")

    def describe(self) -> str:
        """Return what is done to image files and uint8 images, in words."""
        if self.transform is not None:
            return f"transform {getattr(self.transform, '__name__', type(self.transform).__name__)}"
        resized = f"shorter side resized to {self.size}, centre crop" if self.size else "size unchanged"
        mean = ", ".join(f"{value:g}" for value in self.mean) if self.mean is not None else "0"
        std = ", ".join(f"{value:g}" for value in self.std) if self.std is not None else "1"
        return f"{'RGB' if self.channels == 3 else 'grey'} in [0, 1], {resized}, mean {mean}, std {std}"


@dataclass(frozen=True)
class Loaded:
    """Outputs on one set, with labels [N] if there are any."""

    outputs: Outputs
    labels: NDArray[np.int64] | None = None


def as_array(values: Any) -> NDArray[Any]:
    """Return an array, or a tensor on any device, as a numpy array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def load_stored(source: Source, what: str, *, bare: bool) -> Loaded | None:
    """Return stored outputs, or None when the source is something else.

    Parameters
    ----------
    source : mapping, path of .npz or .parquet, or array
        With `logits` [N, C] and optionally `features` [N, d] and `labels` [N].
    what : str
        The argument's name, for messages.
    bare : bool
        Whether an array [N, C] means logits: when there is no network.

    Raises
    ------
    ReproodError
        When logits are missing, or an array has a wrong shape or is not finite.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix not in (".npz", ".parquet") or path.is_dir():
            return None
        if not path.is_file():
            raise ReproodError(f"{what}: there is no file {path}; check the path.")
        what = f"{what}: {path}"
        source = read_npz(path) if path.suffix == ".npz" else _read_parquet(path)
    elif bare and (isinstance(source, np.ndarray) or hasattr(source, "detach")) and source.ndim == 2:
        source = {"logits": source}
    if not isinstance(source, Mapping):
        return None
    unknown = [str(name) for name in source if name not in STORED]
    if "logits" not in source or unknown:
        names = ", ".join(map(str, source)) or "nothing"
        raise ReproodError(f"{what} holds {names}; expected logits, and optionally features and labels.")
    logits = _matrix(source["logits"], f"{what}: logits")
    features = _matrix(source["features"], f"{what}: features") if "features" in source else None
    labels = whole_numbers(as_array(source["labels"]), what) if "labels" in source else None
    for name, array in (("features", features), ("labels", labels)):
        if array is not None and len(array) != len(logits):
            raise ReproodError(f"{what}: there are {len(logits)} rows of logits and {len(array)} of {name}.")
    return Loaded(Outputs(logits, features), labels)


def _matrix(values: Any, where: str) -> NDArray[np.floating[Any]]:
    array = as_array(values)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise ReproodError(f"{where} are {array.dtype} of shape {array.shape}; expected numbers [samples, values].")
    if not np.isfinite(array).all():
        raise ReproodError(f"{where} are not finite everywhere; store them again.")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a table as arrays; lists become rows."""
    try:
        table = pq.read_table(path)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        return {name: np.stack(column) if column.dtype == object else column for name, column in columns.items()}
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        raise ReproodError(f"{path} cannot be read as a table of numbers and lists of one length ({error}).") from error
