"""A run's stored predictions, joined with the scores of the detectors. No torch."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits

PREDICTIONS = "predictions.parquet"
SCORES = "scores.parquet"
KEYS = ("split", "row", "label", "prediction", "label_rank")
COLUMN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Predictions:
    """A run's predictions: a table with one row per sample, and the facts stored with it.

    Columns `score_<name>` are first the detectors' and then the method's own; raw outputs (logits) are not in the
    table, see `reprood.evaluate.outputs`.
    """

    table: pd.DataFrame
    facts: dict[str, Any]

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores, without the prefix of their columns."""
        return tuple(name.removeprefix("score_") for name in self.table.columns if name.startswith("score_"))

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of one split, in order.

        Raises
        ------
        ReproodError
            When there are none.
        """
        rows = self.table[self.table["split"] == name]
        if rows.empty:
            raise ReproodError(f"The predictions hold no split '{name}'; run the predict stage again.")
        return rows


def load_predictions(folder: Path, evaluated: Path | None = None) -> Predictions:
    """Read a run's `predictions.parquet` and the detectors' `scores.parquet` as one table.

    Parameters
    ----------
    folder : Path
        The run's folder.
    evaluated : Path, optional
        The folder of its scores, when it is another one.

    Raises
    ------
    ReproodError
        When a file is missing or damaged, or the two are not of the same run.
    """
    predictions, scores = Path(folder) / PREDICTIONS, Path(evaluated or folder) / SCORES
    facts, table = read_table(predictions, "predict", KEYS)
    score_facts, detectors = read_table(scores, "evaluate", KEYS[:2])
    _check_columns(table, KEYS[1:], predictions)
    _check_columns(detectors, KEYS[1:2], scores)
    frame, more = table.to_pandas(), detectors.to_pandas()
    rows = frame.iloc[: len(more)]
    if len(rows) != len(more) or not (
        rows["split"].equals(more["split"]) and rows["row"].astype("int64").equals(more["row"].astype("int64"))
    ):
        raise ReproodError(f"{scores} does not have the rows of {predictions}; run the evaluate stage again.")
    run, other = ([record[key] for key in ("benchmark", "method", "seed")] for record in (facts, score_facts))
    if run != other:
        raise ReproodError(f"{scores} holds the run {_name(other)}, not {_name(run)}; run the evaluate stage again.")
    own = [name for name in frame.columns if name.startswith("score_")]
    doubled = sorted(set(own) & set(more.columns))
    if doubled:
        raise ReproodError(f"{predictions}: the method names its score {doubled[0][6:]}, which is a detector's name.")
    columns = [name for name in more.columns if name.startswith("score_")]
    joined = pd.concat([frame[list(KEYS)], more[columns].reindex(frame.index), frame.drop(columns=list(KEYS))], axis=1)
    fitted = {
        name: record["fitted"]
        for name, record in score_facts.get("detectors", {}).items()
        if isinstance(record, dict) and record.get("fitted")
    }
    facts["fitted"] = {**fitted, **facts.get("fitted", {})}
    facts["skipped"] = score_facts.get("skipped", {})
    return Predictions(joined, facts)


def _name(run: list[Any]) -> str:
    return "/".join(map(str, run))


def raw_columns(schema: pa.Schema) -> list[str]:
    """Return the names of the columns with raw outputs: `logits` and `pass_<name>`."""
    return [name for name in schema.names if name == "logits" or name.startswith("pass_")]


def read_table(path: Path, stage: str, keys: tuple[str, ...]) -> tuple[dict[str, Any], pa.Table]:
    """Read a table of the predict or the evaluate stage, without the columns of raw outputs.

    Parameters
    ----------
    path : Path
        The file.
    stage : {"predict", "evaluate"}
        The stage that writes it, for messages.
    keys : tuple of str
        Columns that must be there.

    Returns
    -------
    dict, Table
        The metadata, and the table.

    Raises
    ------
    ReproodError
        When the file is missing, damaged, or of another kind.
    """
    if not path.is_file():
        raise ReproodError(f"{path} does not exist; run the {stage} stage first.")
    try:
        schema = pq.read_schema(path)
        left_out = set(raw_columns(schema))
        shape = pq.read_metadata(path)
        fits(8 * shape.num_rows * len(schema.names), f"{path}: {shape.num_rows:,} rows")
        table = pq.read_table(path, columns=[name for name in dict.fromkeys(schema.names) if name not in left_out])
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ReproodError(f"{path} cannot be read ({error}); delete it and run the {stage} stage again.") from error
    missing = [name for name in keys if name not in table.column_names]
    facts = (schema.metadata or {}).get(b"reprood")
    if missing or facts is None:
        raise ReproodError(
            f"{path} is not a file of the {stage} stage ({', '.join(missing) or 'its metadata'} missing)."
        )
    return _facts(facts, path), table


def _check_columns(table: pa.Table, integers: tuple[str, ...], path: Path) -> None:
    for name in integers:
        column = table[name]
        if not pa.types.is_integer(column.type) or column.null_count:
            raise ReproodError(f"{path}: the column {name} must hold a whole number in every row; predict again.")
    texts = table["split"].type
    if not (pa.types.is_string(texts) or pa.types.is_large_string(texts)) or table["split"].null_count:
        raise ReproodError(f"{path}: the column split must hold a name in every row; predict again.")
    for name in table.column_names:
        if not COLUMN.fullmatch(name):
            raise ReproodError(f"{path} has a column named {name[:40]!r}; expected letters, digits and ._-.")
        if name.startswith("score_") and not pa.types.is_floating(table[name].type):
            raise ReproodError(f"{path}: the column {name} must hold numbers; predict again.")


def _facts(text: bytes, path: Path) -> dict[str, Any]:
    """Return what is stored with a table, checked."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReproodError(f"{path}: its metadata are not JSON ({error}); create it again.") from error
    required: Mapping[str, type] = {"benchmark": str, "method": str, "seed": int}
    optional: Mapping[str, type] = {"fitted": dict, "native": list, "detectors": dict, "skipped": dict}
    for key, form in {**required, **optional}.items():
        if not isinstance(facts, dict) or not isinstance(facts.get(key, None if key in required else form()), form):
            raise ReproodError(f"{path}: in its metadata '{key}' is missing or of another kind; create it again.")
    return dict(facts)
