"""A run's stored predictions. No torch."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits

KEYS = ("split", "row", "label", "prediction", "label_rank")


@dataclass(frozen=True)
class Predictions:
    """A run's predictions: the table (one row a sample) and the facts stored with it."""

    table: pd.DataFrame
    facts: dict[str, Any]

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores, without the prefix of their columns."""
        return tuple(name.removeprefix("score_") for name in self.table.columns if name.startswith("score_"))

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in order.

        Raises
        ------
        ReproodError
            When there are none.
        """
        rows = self.table[self.table["split"] == name]
        if rows.empty:
            raise ReproodError(f"The predictions hold no split '{name}'; run the predict stage again.")
        return rows


def load_predictions(path: Path) -> Predictions:
    """Read `predictions.parquet`.

    Raises
    ------
    ReproodError
        When the file is missing, damaged, or not a file of predictions.
    """
    path = Path(path)
    if not path.is_file():
        raise ReproodError(f"{path} does not exist; run the predict stage first.")
    try:
        shape = pq.read_metadata(path)
        fits(8 * shape.num_rows * shape.num_columns, f"{path}: {shape.num_rows:,} rows")
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ReproodError(f"{path} cannot be read ({error}); delete it and run the predict stage again.") from error
    lacking = [name for name in KEYS if name not in table.column_names]
    facts = (table.schema.metadata or {}).get(b"reprood")
    if lacking or facts is None:
        raise ReproodError(f"{path} is not a file of predictions (it lacks {', '.join(lacking) or 'its metadata'}).")
    for name in KEYS[1:]:
        column = table[name]
        if not pa.types.is_integer(column.type) or column.null_count:
            raise ReproodError(
                f"{path}: the column {name} must hold a whole number in every row; predict the run again."
            )
    texts = table["split"].type
    if not (pa.types.is_string(texts) or pa.types.is_large_string(texts)) or table["split"].null_count:
        raise ReproodError(f"{path}: the column split must hold a name in every row; predict the run again.")
    for name in table.column_names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ReproodError(f"{path} has a column named {name[:40]!r}; expected letters, digits and ._-.")
        if name.startswith("score_") and not pa.types.is_floating(table[name].type):
            raise ReproodError(f"{path}: the column {name} must hold numbers; predict the run again.")
    return Predictions(table.to_pandas(), _facts(facts, path))


def _facts(text: bytes, path: Path) -> dict[str, Any]:
    """What is stored with the table."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReproodError(f"{path}: its metadata are no JSON ({error}); predict the run again.") from error
    forms = {"benchmark": str, "method": str, "seed": int, "fitted": dict, "native": list}
    for key, form in forms.items():
        needed = key not in ("fitted", "native")
        if not isinstance(facts, dict) or ((key in facts or needed) and not isinstance(facts.get(key), form)):
            raise ReproodError(f"{path}: its metadata lack '{key}', or it is of another kind; predict the run again.")
    return dict(facts)
