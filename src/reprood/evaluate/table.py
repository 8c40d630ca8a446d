"""Stage `evaluate`: from stored predictions to tidy metrics, run by run, and all runs in one table. No torch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.config import Benchmark
from reprood.detectors.names import POST_HOC
from reprood.errors import ReproodError
from reprood.evaluate.classification import expected_calibration_error, top_k_error
from reprood.evaluate.metrics import METRICS, detection_metrics
from reprood.files import atomic_path, read_json, write_json

COLUMNS = ("benchmark", "method", "seed", "split", "score", "metric", "value", "n", "n_ood")
TYPES = {"seed": "int64", "value": "float64", "n": "int64", "n_ood": "int64"}
KEYS = ("split", "row", "label", "prediction", "label_rank")
NO_SCORE = "-"
GATE = "gate"
SUMMARY_SPLITS = ("mean_all", "mean_natural")
SUMMARY_METRICS = ("auroc", "fpr95_id_positive")


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


def classification_rows(test: pd.DataFrame) -> list[dict[str, Any]]:
    """top1_error and top5_error in percent, ece15 in [0, 1]; from the rows of the test split."""
    ranks = test["label_rank"].to_numpy()
    values = {"top1_error": top_k_error(ranks, 1), "top5_error": top_k_error(ranks, 5)}
    if "score_msp" in test:
        values["ece15"] = expected_calibration_error(test["score_msp"].to_numpy(), ranks == 0)
    return [_row("test", NO_SCORE, metric, value, len(test), 0) for metric, value in values.items()]


def detection_rows(predictions: Predictions, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Every metric of every score on every OOD set against the ID test set, and means over groups of sets."""
    test = predictions.split("test")
    outliers = {name: predictions.split(name) for name in benchmark.ood}
    rows = []
    for score in predictions.scores:
        column = f"score_{score}"
        found: dict[str, dict[str, float]] = {}
        for name, outlier in outliers.items():
            try:
                found[name] = detection_metrics(test[column].to_numpy(), outlier[column].to_numpy())
            except ReproodError as error:
                raise ReproodError(f"Score {score}, test against {name}: {error}") from error
            rows += [_row(name, score, metric, value, len(test), len(outlier)) for metric, value in found[name].items()]
        for group, members in groups(benchmark).items():
            size = sum(len(outliers[name]) for name in members)
            for metric in METRICS:
                mean = float(np.mean([found[name][metric] for name in members]))
                rows.append(_row(group, score, metric, mean, len(test), size))
    return rows


def groups(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """The groups of OOD sets over which means are taken (each set weighs the same); empty groups are left out."""
    shifts = {name: outlier.shift for name, outlier in benchmark.ood.items()}
    members = {
        "mean_all": tuple(shifts),
        "mean_natural": tuple(name for name, shift in shifts.items() if shift != "noise"),
        **{
            f"mean_{kind}": tuple(n for n, shift in shifts.items() if shift == kind)
            for kind in ("near", "far", "noise")
        },
    }
    return {group: names for group, names in members.items() if names}


def _row(split: str, score: str, metric: str, value: float, n: int, n_ood: int) -> dict[str, Any]:
    return {"split": split, "score": score, "metric": metric, "value": value, "n": n, "n_ood": n_ood}


def metrics_of(predictions: Predictions, benchmark: Benchmark) -> pd.DataFrame:
    """Tidy metrics of one run, without the columns that name it.

    A run whose ID accuracy is below the benchmark's gate gets a `gate` row with value 0 and no detection rows: numbers
    of a broken classifier would be noise that looks like a result. Without a gate there is no `gate` row.
    """
    test = predictions.split("test")
    accuracy = 1 - top_k_error(test["label_rank"].to_numpy(), 1) / 100
    passed = benchmark.gate is None or accuracy >= benchmark.gate.accuracy
    rows = []
    if "classification" in benchmark.evaluations:
        rows += classification_rows(test)
    if benchmark.gate is not None:
        rows.append(_row("test", NO_SCORE, GATE, float(passed), len(test), 0))
    if "detection" in benchmark.evaluations and passed:
        rows += detection_rows(predictions, benchmark)
    return pd.DataFrame(rows)


def evaluate_run(
    predictions: Path,
    benchmark: Benchmark | Mapping[str, Any],
    benchmark_name: str,
    method: str,
    seed: int,
    out: Path,
) -> None:
    """Compute a run's metrics from its predictions and write `metrics.csv`.

    Parameters
    ----------
    predictions : Path
        predictions.parquet.
    benchmark : Benchmark or mapping
        The benchmark's record.
    benchmark_name, method, seed
        What names the run.
    out : Path
        The CSV file: one row a (split, score, metric).

    Raises
    ------
    ReproodError
        When the predictions are missing, of another run, lack a split, or hold scores that are not finite.
    """
    record = benchmark if isinstance(benchmark, Benchmark) else Benchmark.model_validate(dict(benchmark))
    found = load_predictions(predictions)
    told = tuple(str(found.facts.get(key)) for key in ("benchmark", "method", "seed"))
    if told != (benchmark_name, method, str(seed)):
        raise ReproodError(
            f"{predictions} holds the run {'/'.join(told)}, not {benchmark_name}/{method}/{seed}; predict it again."
        )
    try:
        table = metrics_of(found, record)
    except ReproodError as error:
        raise ReproodError(f"{predictions}: {error}") from error
    for column, value in reversed((("benchmark", benchmark_name), ("method", method), ("seed", seed))):
        table.insert(0, column, value)
    _write_csv(table, out)


def _write_csv(table: pd.DataFrame, out: Path) -> None:
    with atomic_path(out) as temporary:
        table[list(COLUMNS)].to_csv(temporary, index=False, lineterminator="\n")


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a `metrics.csv`; numbers as they were written, to the last bit.

    Raises
    ------
    ReproodError
        When the file is missing or is not a table of metrics.
    """
    try:
        # As text first: pandas' own reading of decimal numbers may differ from the written ones in the last bit.
        return pd.read_csv(path, keep_default_na=False, dtype=str)[list(COLUMNS)].astype(TYPES)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; run the evaluate stage first.") from error
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table of metrics ({error}); run the evaluate stage again.") from error


def collect(metrics: Sequence[Path], parquet: Path, csv: Path, summary: Path) -> None:
    """Put all runs' metrics into one table, and a small summary for `dvc metrics show` beside it.

    Parameters
    ----------
    metrics : sequence of Path
        The runs' metrics.csv; the order does not matter.
    parquet, csv : Path
        The table, sorted by run; within a run in the order of its file.
    summary : Path
        JSON: benchmark -> method -> metric -> mean over seeds, for classification, for MSP and for the method's own
        scores.

    Raises
    ------
    ReproodError
        When there is no file, one is not a table of metrics, or a run is given twice.
    """
    if not metrics:
        raise ReproodError("There are no metrics to collect; give at least one metrics.csv.")
    table = pd.concat([read_metrics(path) for path in metrics], ignore_index=True)
    key = [name for name in COLUMNS if name not in ("value", "n", "n_ood")]
    doubled = table.duplicated(key)
    if doubled.any():
        first = table[doubled].iloc[0]
        raise ReproodError(f"The run {first['benchmark']}/{first['method']}/{first['seed']} is given twice.")
    table = table.sort_values(["benchmark", "method", "seed"], kind="stable", ignore_index=True)
    with atomic_path(parquet) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(), temporary)
    _write_csv(table, csv)
    write_json(summary, summarise(table))


def write_summaries(summary: Path, outs: Sequence[Path]) -> None:
    """Split `summary.json` into one small file a benchmark and method, `<benchmark>.<method>.json`.

    `dvc metrics show` prints a row a file, so a table of methods comes out.
    """
    found = read_json(summary)
    for out in outs:
        benchmark, method = out.stem.split(".")
        write_json(out, found[benchmark][method])


def _shown(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """The few numbers of the summary, under short names."""
    for metric, part in rows[rows["score"] == NO_SCORE].groupby("metric", sort=True):
        yield str(metric), part
    # A method's own scores at every step size of a grid are for its diagnosis.
    own = sorted({score for score in rows["score"] if score not in (NO_SCORE, *POST_HOC) and "_eps_" not in score})
    for score in ("msp", *own):
        for split in SUMMARY_SPLITS:
            for metric in SUMMARY_METRICS:
                part = rows[(rows["score"] == score) & (rows["split"] == split) & (rows["metric"] == metric)]
                if not part.empty:
                    yield f"{score}.{split}.{metric}", part


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Means over seeds, benchmark -> method -> {seeds, name: value}; `<score>.<split>.<metric>` names detection."""
    found: dict[str, Any] = {}
    for (benchmark, method), rows in table.groupby(["benchmark", "method"], sort=True):
        numbers: dict[str, Any] = {"seeds": int(rows["seed"].nunique())}
        numbers.update({name: round(float(part["value"].mean()), 6) for name, part in _shown(rows)})
        found.setdefault(str(benchmark), {})[str(method)] = numbers
    return found
