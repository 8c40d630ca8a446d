"""The file of one run in the compact form of a release: the scores that main claims use, no logits. No torch.

Logits stay where a main claim on calibration needs them.

A run's file depends on nothing but the run and what main claims use of it: later releases of the same runs share it.
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Set
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
from reprood.core.files import canonical_json, read_json, sha256_file
from reprood.detectors import registry
from reprood.evaluate.maps import METRICS as MAP_METRICS
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.predictions import KEYS, PREDICTIONS, SCORES, load_predictions, read_table
from reprood.evaluate.table import NO_SCORE, metrics_of, threshold_of
from reprood.publish.archive import write_zip
from reprood.publish.contents import Paths
from reprood.publish.ranks import decode, encode
from reprood.publish.unpack import DAMAGED, unpack

RECORD = "run.json"
RECORDS = ("model.json", RECORD)
COPIED = (*RECORDS, "history.csv")
FILES = (*COPIED, PREDICTIONS, SCORES)
NOT_STORED = "not stored in the compact release"
MAPS = ("map", "mask")
LOGITS = "logits"
Name = tuple[str, str, str]  # split, score and metric
RANKED = "ranked"  # in the metadata of a table: what the ranks of its columns stand for


def write_run(source: Path, out: Path, use: Use, benchmark: Benchmark, *, ranked: bool = True) -> None:
    """Write the compact file of a run, a zip archive.

    Parameters
    ----------
    source : Path
        The run in the full release.
    out : Path
        The file.
    use : Use
        What main claims use of the run; without metrics, only its records are written.
    benchmark : Benchmark
        Its thresholds on probabilities are kept.
    ranked : bool
        Store scores as ranks (see `reprood.publish.ranks`), unless a claim reads their values.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COPIED if use.metrics else RECORDS:
            shutil.copyfile(source / name, folder / name)
        if use.metrics:
            _write_tables(source, folder, use, benchmark, ranked)
        write_zip(out, folder, level=9)


def _write_tables(source: Path, out: Path, use: Use, benchmark: Benchmark, ranked: bool) -> None:
    calibrated = bool(use.metrics & {*CALIBRATION})
    exact = {*use.exact, *((registry.ALWAYS,) if calibrated else ())} if ranked else None
    facts, table = read_table(source / PREDICTIONS, "predict", KEYS)
    threshold = threshold_of(int(facts.get("classes") or 1), benchmark)
    accepted = dict.fromkeys(benchmark.open_set.scores, (threshold,))
    columns = [name for name in table.column_names if _kept(name, use)]
    facts["native"] = [name for name in facts.get("native", []) if f"score_{name}" in columns]
    if not use.metrics & {*SEGMENTATION}:
        facts.pop("maps", None)
    kept = table.select(columns)
    if calibrated:
        kept = _with_logits(kept, source / PREDICTIONS)
    _write(kept, facts, out / PREDICTIONS, exact, accepted)
    facts, table = read_table(source / SCORES, "evaluate", KEYS[:2])
    facts.pop(PREDICTIONS, None)  # the checksum of those with logits
    columns = [name for name in table.column_names if _kept(name, use)]
    stored, skipped = facts.get("detectors", {}), facts.get("skipped", {})
    facts["detectors"] = {k: v for k, v in stored.items() if f"score_{registry.score_name(k)}" in columns}
    facts["skipped"] = skipped | {name: NOT_STORED for name in stored if name not in facts["detectors"]}
    _write(table.select(columns), facts, out / SCORES, exact, accepted)


def restore_run(stored: Path, out: Path) -> None:
    """Write the files of a run as the stages of the pipeline write them, from its compact file.

    Raises
    ------
    ReproodError
        When the file is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        unpack(stored, folder)
        others = sorted({path.name for path in folder.rglob("*")} - {*FILES})
        if others:
            raise ReproodError(f"{stored} holds {others[0]}, which is no file of a run; get the release again.")
        out.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)
        if not (folder / PREDICTIONS).is_file():
            return
        try:
            facts, table = _read(folder / PREDICTIONS, "predict", KEYS)
            _write_restored(_with_logits(table, folder / PREDICTIONS), facts, out / PREDICTIONS)
            facts, table = _read(folder / SCORES, "evaluate", KEYS[:2])
        except ReproodError as error:
            raise ReproodError(str(error).replace(str(folder), str(stored))) from error
        _write_restored(table, {**facts, PREDICTIONS: sha256_file(out / PREDICTIONS)}, out / SCORES)


def read_record(paths: Paths, benchmark: str, method: str, seed: int | str) -> dict[str, Any] | None:
    """Read `run.json` of a run in a full or compact release; return None if the release does not contain the run.

    Raises
    ------
    ReproodError
        When the file is damaged.
    """
    plain, packed = paths.run(benchmark, method, seed) / RECORD, paths.packed_run(benchmark, method, seed)
    if not packed.is_file():
        return dict(read_json(plain)) if plain.is_file() else None
    try:
        with zipfile.ZipFile(packed) as archive:
            return dict(json.loads(archive.read(RECORD)))
    except DAMAGED as error:
        raise ReproodError(f"{packed} is damaged ({error}); download the release again.") from error


def stored_metrics(run: Path, benchmark: Benchmark) -> pd.DataFrame:
    """Compute the metrics that follow from the restored files of a run, without the columns that name it."""
    raw = load_outputs(run, features=False) if _holds_logits(run / PREDICTIONS) else None
    return metrics_of(load_predictions(run), benchmark, raw)


def compare_metrics(computed: pd.DataFrame, stated: pd.DataFrame, run: Path) -> list[str]:
    """Compare the metrics of a restored run with those of the full release, as far as its files give them.

    Returns
    -------
    list of str
        Differences of more than a relative 1e-9, and missing or unexpected rows.
    """
    facts, _ = read_table(run / SCORES, "evaluate", KEYS[:2])
    own, _ = read_table(run / PREDICTIONS, "predict", KEYS)
    scores = {*map(registry.score_name, facts.get("detectors", {})), *own.get("native", [])}
    given, found = _by_name(stated), _by_name(computed)
    logits = _holds_logits(run / PREDICTIONS)

    def follows(name: Name) -> bool:
        """Return whether a metric follows from what is stored."""
        _, score, metric = name
        if metric in MAP_METRICS or (metric == "ece15" and registry.ALWAYS not in scores):
            return False
        return score in scores or score == NO_SCORE

    wrong = []
    for name in dict.fromkeys([*given, *found]):
        split, score, metric = name
        if metric in CALIBRATION and not logits:
            continue
        if name not in found or name not in given:
            if name in found or follows(name):
                wrong.append(f"{metric} of {score} on {split} is only on one side")
            continue
        (value, n), (again, number) = given[name], found[name]
        if n != number or not np.isclose(value, again, rtol=1e-9, atol=1e-12, equal_nan=True):
            wrong.append(f"{metric} of {score} on {split} is stated as {value:.6g} and computed as {again:.6g}")
    return wrong


def _by_name(table: pd.DataFrame) -> dict[Name, tuple[float, int]]:
    """Return (split, score, metric) -> value and number of samples."""
    names = zip(table["split"], table["score"], table["metric"], strict=True)
    return dict(zip(names, zip(table["value"], table["n"], strict=True), strict=True))


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


def _write(
    table: pa.Table,
    facts: Mapping[str, Any],
    path: Path,
    exact: Set[str] | None,
    accepted: Mapping[str, Iterable[float]],
) -> None:
    """Write a table, with ranks for all but the exact scores (None: all are), as far as their values allow it.

    The same input gives the same bytes.
    """
    ranked: dict[str, Any] = {}
    for place, name in enumerate(table.column_names):
        score = name.removeprefix("score_")
        if score == name or exact is None or score in exact or not pa.types.is_floating(table[name].type):
            continue
        encoded = encode(table[name].to_numpy(zero_copy_only=False), thresholds=accepted.get(score, ()))
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
    with pq.ParquetWriter(
        path,
        table.schema,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        column_encoding=delta,
        write_statistics=False,
        store_schema=lists,
    ) as writer:
        writer.write_table(table)
        if not lists:
            writer.add_key_value_metadata({"reprood": record})


def _write_restored(table: pa.Table, facts: Mapping[str, Any], path: Path) -> None:
    """Write a table that is read soon: quickly."""
    pq.write_table(table.replace_schema_metadata({"reprood": canonical_json(facts)}), path, compression="lz4")


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
