"""The metrics of all runs in one table, and metrics that need several runs. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, write_json
from reprood.detectors.pytorch_ood import SCORE as ADAPTED
from reprood.detectors.registry import names as detector_names
from reprood.evaluate.table import COLUMNS, NO_SCORE, TYPES, read_metrics, row_of, write_csv

SUMMARY_SPLITS = ("mean_all", "mean_natural")
SUMMARY_METRICS = ("auroc", "fpr95_id_positive")
SUMMARY_CONDITIONS = ("corrupted", "occluded/center", "occluded/boundary", "between/mixup", "between/cutmix")


def relative_corruption_errors(table: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """Return the relative mean corruption error (mCE, in percent) of every run on a benchmark with a baseline.

    mCE = mean over corruptions of sum_s E(corruption, s) / sum_s E_baseline(corruption, s), in percent (Hendrycks &
    Dietterich 2019); the baseline's errors are means over its seeds.

    Parameters
    ----------
    table : DataFrame
        All metrics.
    baselines : mapping
        Benchmark -> the method by whose errors it is normalised.
    """
    rows = []
    depth = table["split"].str.count("/")
    chosen = table[table["split"].str.startswith("corrupted/") & (depth == 1) & (table["metric"] == "top1_error")]
    for benchmark, baseline in baselines.items():
        part = chosen[chosen["benchmark"] == benchmark]
        reference = part[part["method"] == baseline].groupby("split")["value"].mean()
        for (method, seed), own in part.groupby(["method", "seed"], sort=False):
            ratio = own.set_index("split")["value"] / reference
            if not np.isfinite(ratio).all():
                continue  # a baseline without errors has no relative error
            row = row_of("corrupted", NO_SCORE, "mce", 100 * float(ratio.mean()), int(own["n"].iloc[0]), 0)
            rows.append({"benchmark": benchmark, "method": method, "seed": seed, **row})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def collect(
    metrics: Sequence[Path], parquet: Path, csv: Path, summary: Path, baselines: Mapping[str, str] | None = None
) -> None:
    """Write the metrics of all runs into one table, and a small summary for `dvc metrics show`.

    Parameters
    ----------
    metrics : sequence of Path
        The runs' metrics.csv; the order does not matter.
    parquet, csv : Path
        The table, sorted by run; within a run in the order of its file.
    summary : Path
        JSON: benchmark -> method -> metric -> mean over seeds, for classification, for MSP and for the method's own
        scores.
    baselines : mapping, optional
        Benchmark -> the method by which the relative mean corruption error is normalised.

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
    relative = relative_corruption_errors(table, baselines or {})
    if not relative.empty:
        table = pd.concat([table, relative], ignore_index=True).astype(TYPES)
    table = table.sort_values(["benchmark", "method", "seed"], kind="stable", ignore_index=True)
    with atomic_path(parquet) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(), temporary)
    write_csv(table, csv)
    write_json(summary, summarise(table))


def write_summaries(summary: Path, outs: Sequence[Path]) -> None:
    """Split `summary.json` into one small file per benchmark and method, `<benchmark>.<method>.json`.

    `dvc metrics show` prints one row per file, which gives a table of methods.
    """
    numbers = read_json(summary)
    for out in outs:
        benchmark, method = out.stem.split(".")
        write_json(out, numbers[benchmark][method])


def baselines_of(suite: Suite) -> dict[str, str]:
    """Return benchmark -> the method whose errors on corrupted images those of the other methods are relative to."""
    corruptions = {name: suite.benchmarks[name].corruption for name, _, _ in suite.jobs()}
    return {name: options.baseline for name, options in corruptions.items() if options and options.baseline}


def _shown(means: Mapping[tuple[str, str, str], float]) -> Iterable[tuple[str, float]]:
    """Yield the few numbers of the summary, under short names, from means by (score, split, metric)."""
    plain = sorted(key for key in means if key[0] == NO_SCORE)
    yield from ((key[2], means[key]) for key in plain if key[1] == "test")
    for key in plain:
        _, split, metric = key
        if split != "test" and (split.split("/")[0] == "attacked" or split in SUMMARY_CONDITIONS):
            yield f"{metric}.{split}", means[key]
    # A method's own scores at every step size of a grid are for its diagnosis.
    others = (NO_SCORE, *detector_names())
    own = sorted({s for s, _, _ in means if s not in others and "_eps_" not in s and not s.startswith(ADAPTED)})
    for score in ("msp", *own):
        for split in SUMMARY_SPLITS:
            for metric in SUMMARY_METRICS:
                if (score, split, metric) in means:
                    yield f"{score}.{split}.{metric}", means[score, split, metric]


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Return means over seeds: benchmark -> method -> {seeds, name: value}; detection is `<score>.<split>.<metric>`."""
    summary: dict[str, Any] = {}
    for (benchmark, method), rows in table.groupby(["benchmark", "method"], sort=True):
        numbers: dict[str, Any] = {"seeds": int(rows["seed"].nunique())}
        values: dict[tuple[str, str, str], list[float]] = {}
        keys = rows[["score", "split", "metric"]].itertuples(index=False, name=None)
        for key, value in zip(keys, rows["value"], strict=True):
            values.setdefault(key, []).append(value)
        means = {key: float(np.mean(found)) for key, found in values.items()}
        numbers.update({name: round(value, 6) for name, value in _shown(means)})
        summary.setdefault(str(benchmark), {})[str(method)] = numbers
    return summary
