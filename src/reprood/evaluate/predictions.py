"""A run's stored predictions. No torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.errors import ReproodError

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
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ReproodError(f"{path} cannot be read ({error}); delete it and run the predict stage again.") from error
    lacking = [name for name in KEYS if name not in table.column_names]
    facts = (table.schema.metadata or {}).get(b"reprood")
    if lacking or facts is None:
        raise ReproodError(f"{path} is not a file of predictions (it lacks {', '.join(lacking) or 'its metadata'}).")
    return Predictions(table.to_pandas(), json.loads(facts))
