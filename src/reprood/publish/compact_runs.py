"""The files of one run in the compact form of a release: the scores that main claims use, no logits. No torch.

Logits stay where a main claim on calibration needs them.

A run's files depend on nothing but the run and what main claims use of it: later releases of the same runs share them.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.audit.claims import CALIBRATION, SEGMENTATION
from reprood.audit.needs import Use
from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, sha256_file
from reprood.detectors import registry
from reprood.evaluate.maps import METRICS as MAP_METRICS
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.predictions import KEYS, PREDICTIONS, SCORES, load_predictions, read_table
from reprood.evaluate.table import metrics_of
from reprood.publish.ranks import decode, encode

RECORDS = ("model.json", "run.json")
COPIED = (*RECORDS, "history.csv")
PLAIN = (*COPIED, PREDICTIONS, SCORES)
NOT_STORED = "not stored in the compact release"
MAPS = ("map", "mask")
LOGITS = "logits"
RANKED = "ranked"  # in the metadata of a table: what the ranks of its columns stand for
VALUED = ("ece15", "macro_f")  # metrics of values; all others depend on the order of the scores alone
TOLERANCE = 1e-4  # of metrics of values, where ranks are stored


@dataclass(frozen=True)
class Ranks:
    """Which scores are stored as ranks, and with how many of their values (see `reprood.publish.ranks`).

    Attributes
    ----------
    valued : frozenset of str
        Scores of which a metric needs the values.
    knots : int or None
        Stored values of these; None: these scores are stored as they are.
    others : int or None
        The same of all other scores.
    exact : frozenset of str
        Scores that are stored unchanged.
    """

    valued: frozenset[str] = frozenset()
    knots: int | None = None
    others: int | None = None
    exact: frozenset[str] = frozenset()

    def of(self, column: str) -> int | None:
        """Return how many values of a score are stored; None for the unchanged score."""
        if column.removeprefix("score_") in self.exact:
            return None
        return self.knots if column.removeprefix("score_") in self.valued else self.others


AS_THEY_ARE = Ranks()


def valued_scores(benchmark: Benchmark) -> frozenset[str]:
    """Return the scores of which a metric needs the values."""
    return frozenset({registry.ALWAYS, *(benchmark.open_set.scores if benchmark.open_set else ())})


def write_run(source: Path, out: Path, use: Use, ranks: Ranks) -> None:
    """Write the compact files of a run.

    Parameters
    ----------
    source : Path
        The run in the full release.
    out : Path
        Its folder in the compact form.
    use : Use
        What main claims use of it; without metrics, only its records are written.
    ranks : Ranks
        Which scores are stored as ranks.
    """
    ranks = replace(ranks, exact=frozenset(use.exact))
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED if use.metrics else RECORDS:
        shutil.copyfile(source / name, out / name)
    if not use.metrics:
        return
    facts, table = read_table(source / PREDICTIONS, "predict", KEYS)
    columns = [name for name in table.column_names if _kept(name, use)]
    facts["native"] = [name for name in facts.get("native", []) if f"score_{name}" in columns]
    if not use.metrics & {*SEGMENTATION}:
        facts.pop("maps", None)
    kept = table.select(columns)
    if use.metrics & {*CALIBRATION}:
        kept = _with_logits(kept, source / PREDICTIONS)
    _write(kept, facts, out / PREDICTIONS, ranks)
    facts, table = read_table(source / SCORES, "evaluate", KEYS[:2])
    facts.pop(PREDICTIONS, None)  # the checksum of those with logits
    columns = [name for name in table.column_names if _kept(name, use)]
    stored, skipped = facts.get("detectors", {}), facts.get("skipped", {})
    facts["detectors"] = {k: v for k, v in stored.items() if f"score_{registry.score_name(k)}" in columns}
    facts["skipped"] = skipped | {name: NOT_STORED for name in stored if name not in facts["detectors"]}
    _write(table.select(columns), facts, out / SCORES, ranks)


def restore_run(stored: Path, out: Path) -> None:
    """Write the files of a run as the stages of the pipeline write them, from its compact form.

    Raises
    ------
    ReproodError
        When a file is missing or damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (stored / name).is_file():
            shutil.copyfile(stored / name, out / name)
    if not (stored / PREDICTIONS).is_file():
        return
    facts, table = _read(stored / PREDICTIONS, "predict", KEYS)
    _write_restored(_with_logits(table, stored / PREDICTIONS), facts, out / PREDICTIONS)
    facts, table = _read(stored / SCORES, "evaluate", KEYS[:2])
    _write_restored(table, {**facts, PREDICTIONS: sha256_file(out / PREDICTIONS)}, out / SCORES)


def stored_metrics(run: Path, benchmark: Benchmark) -> pd.DataFrame:
    """Compute the metrics that follow from the restored files of a run, without the columns that name it."""
    raw = load_outputs(run, features=False) if _holds_logits(run / PREDICTIONS) else None
    return metrics_of(load_predictions(run), benchmark, raw)


def compare_metrics(computed: pd.DataFrame, stated: pd.DataFrame, run: Path) -> tuple[float, list[str]]:
    """Compare the metrics of a restored run with those of the full release.

    Returns
    -------
    float
        The largest change of a metric of values (see `VALUED`).
    list of str
        What differs: a metric of values by 1e-4 or more, another one by a relative 1e-9; a row of too much or too few.
    """
    facts, _ = read_table(run / SCORES, "evaluate", KEYS[:2])
    own, _ = read_table(run / PREDICTIONS, "predict", KEYS)
    scores = {*map(registry.score_name, facts.get("detectors", {})), *own.get("native", [])}
    key = ["split", "score", "metric"]
    both = stated.merge(computed, on=key, how="outer", suffixes=("", "_computed"), indicator=True)
    absent = (~both["score"].isin({*scores, "-"})) | both["metric"].isin(list(MAP_METRICS))
    absent |= (both["metric"] == "ece15") & ("msp" not in scores)
    if not _holds_logits(run / PREDICTIONS):
        absent |= both["metric"].isin([*CALIBRATION]) & (both["score"] != "-")
    missing = both[(both["_merge"] == "right_only") | ((both["_merge"] == "left_only") & ~absent)]
    wrong = [f"{row.metric} of {row.score} on {row.split} is only on one side" for row in missing.itertuples()]
    found = both[both["_merge"] == "both"]
    valued = found["metric"].isin(VALUED)
    gap = (found["value"] - found["value_computed"]).abs().fillna(0.0)
    exact = np.isclose(found["value"], found["value_computed"], rtol=1e-9, atol=1e-12, equal_nan=True)
    differing = found[np.where(valued, gap >= TOLERANCE, ~exact) | (found["n"] != found["n_computed"])]
    wrong += [
        f"{row.metric} of {row.score} on {row.split} is stated as {row.value:.6g} and computed as "
        f"{row.value_computed:.6g}"
        for row in differing.itertuples()
    ]
    return float(gap[valued].max()) if valued.any() else 0.0, wrong


def _holds_logits(path: Path) -> bool:
    return LOGITS in pq.read_schema(path).names


def _with_logits(table: pa.Table, path: Path) -> pa.Table:
    """Append the logits of a file of predictions to its other columns, if it holds any."""
    if not _holds_logits(path):
        return table
    return table.append_column(LOGITS, pq.read_table(path, columns=[LOGITS])[LOGITS])


def _kept(name: str, use: Use) -> bool:
    """Return whether a column is stored."""
    if name.startswith("score_"):
        score = name.removeprefix("score_")
        return any(score.startswith(one[:-1]) if one.endswith("*") else score == one for one in use.scores)
    return name not in MAPS or bool(use.metrics & {*SEGMENTATION})


def _write(table: pa.Table, facts: Mapping[str, Any], path: Path, ranks: Ranks) -> None:
    """Write a table, with ranks for scores as far as their values allow it; the same input gives the same bytes."""
    ranked: dict[str, Any] = {}
    for place, name in enumerate(table.column_names):
        knots = ranks.of(name)
        if not name.startswith("score_") or knots is None:
            continue
        values = table[name].to_numpy(zero_copy_only=False)
        encoded = encode(values, knots) if pa.types.is_floating(table[name].type) else None
        if encoded is not None:
            codes, ranked[name] = encoded
            table = table.set_column(place, name, pa.array(codes, pa.int32()))
    split = [name for name in table.column_names if name.startswith("score_")]
    floats = [name for name in split if pa.types.is_floating(table[name].type) or name in ranked]
    delta = {"row": "DELTA_BINARY_PACKED", **dict.fromkeys(floats, "BYTE_STREAM_SPLIT")}
    others = [name for name in table.column_names if name not in delta]
    record = canonical_json({**facts, **({RANKED: ranked} if ranked else {})})
    # Arrow's copy of schema and metadata is a quarter of such a small file; only lists of one size need it.
    lists = any(pa.types.is_nested(field.type) for field in table.schema)
    table = table.replace_schema_metadata({"reprood": record} if lists else None)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            table.schema,
            compression="zstd",
            compression_level=19,
            use_dictionary=others,
            column_encoding=delta,
            write_statistics=False,
            store_schema=lists,
        ) as writer,
    ):
        writer.write_table(table)
        if not lists:
            writer.add_key_value_metadata({"reprood": record})


def _write_restored(table: pa.Table, facts: Mapping[str, Any], path: Path) -> None:
    """Write a table that is read soon: quickly."""
    with atomic_path(path) as temporary:
        record = canonical_json(facts)
        pq.write_table(table.replace_schema_metadata({"reprood": record}), temporary, compression="lz4")


def _read(path: Path, stage: str, keys: tuple[str, ...]) -> tuple[dict[str, Any], pa.Table]:
    """Read a table with the values of its ranks."""
    facts, table = read_table(path, stage, keys)
    ranked = facts.pop(RANKED, {})
    if not isinstance(ranked, dict) or not set(ranked) <= set(table.column_names):
        raise ReproodError(f"{path}: the record of ranks does not fit the columns; get the release again.")
    for name, record in ranked.items():
        if not pa.types.is_integer(table[name].type) or table[name].null_count:
            raise ReproodError(f"{path}: the column {name} does not hold ranks; get the release again.")
        values = decode(table[name].to_numpy(), record)
        table = table.set_column(table.column_names.index(name), name, pa.array(values, from_pandas=True))
    return facts, table
