"""Tidy metrics of one run, from its stored predictions and scores. No torch."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import conditions, matching, summaries
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path
from reprood.evaluate import calibration
from reprood.evaluate.classification import expected_calibration_error, top_k_error
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.maps import METRICS as MAP_METRICS
from reprood.evaluate.maps import has_maps, stored_maps
from reprood.evaluate.metrics import METRICS, PRECISION_METRICS, Counts, metric_at, rank
from reprood.evaluate.misclassification import ERRORS, answered, misclassification_metrics
from reprood.evaluate.open_set import Answers, acceptance_threshold, answers_of, macro_f, oscr
from reprood.evaluate.outputs import Raw, load_outputs
from reprood.evaluate.predictions import Predictions as Predictions
from reprood.evaluate.predictions import load_predictions as load_predictions

COLUMNS = ("benchmark", "method", "seed", "split", "score", "metric", "value", "n", "n_ood")
TYPES = {"seed": "int64", "value": "float64", "n": "int64", "n_ood": "int64"}
NO_SCORE = "-"
METRICS_FILE = "metrics.csv"
GATE = "gate"
CELL = r"-|[A-Za-z0-9][A-Za-z0-9_./-]*"  # a name in a table of metrics; a beginning with = + @ would be a formula


def classification_rows(test: pd.DataFrame) -> list[dict[str, Any]]:
    """Return top1_error and top5_error in percent, ece15 in [0, 1], from the rows of the test split."""
    ranks = test["label_rank"].to_numpy()
    values = {"top1_error": top_k_error(ranks, 1), "top5_error": top_k_error(ranks, 5)}
    if "score_msp" in test:
        values["ece15"] = expected_calibration_error(test["score_msp"].to_numpy(), ranks == 0)
    return [row_of("test", NO_SCORE, metric, value, len(test), 0) for metric, value in values.items()]


def calibration_rows(predictions: Predictions, raw: Raw) -> list[dict[str, Any]]:
    """Return the calibration errors of the plain and of the temperature-scaled softmax, and the temperature.

    The errors are in [0, 1]; ece15 of the plain softmax is among the rows of the classification.
    """
    scaled = calibration.temperature_of(predictions, raw)
    rows = [row_of("test", calibration.SCALED, "temperature", scaled, len(predictions.split("validation")), 0)]
    for score in (calibration.PLAIN, calibration.SCALED):
        found = calibration.confidence_of(predictions, raw, score)
        for metric, function in calibration.METRICS.items():
            rows.append(row_of("test", score, metric, function(found.values, found.right), len(found.values), 0))
    return rows


def misclassification_rows(predictions: Predictions) -> list[dict[str, Any]]:
    """Return every detection metric of every score for right against wrong predictions on the test set."""
    rows = []
    for score in predictions.scores:
        run = answered(predictions, score)
        sizes = int(run.right.sum()), int((~run.right).sum())
        rows += [row_of(ERRORS, score, name, value, *sizes) for name, value in misclassification_metrics(run).items()]
    return rows


def detection_rows(predictions: Predictions, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return every metric of every score on every OOD set against the ID test set, and means over groups of sets."""
    test = predictions.split("test")
    outliers = {name: predictions.split(name) for name in benchmark.ood}
    rows = []
    for score in predictions.scores:
        column = f"score_{score}"
        counts: dict[str, Counts] = {}
        metrics: dict[str, dict[str, float]] = {}
        for name, outlier in outliers.items():
            try:
                counts[name] = rank(test[column].to_numpy(), outlier[column].to_numpy()).counts()
            except ReproodError as error:
                raise ReproodError(f"Score {score}, test against {name}: {error}") from error
            metrics[name] = {metric: float(metric_at(metric, counts[name])) for metric in METRICS}
            rows += [
                row_of(name, score, metric, value, len(test), len(outlier)) for metric, value in metrics[name].items()
            ]
        for group, members in groups(benchmark).items():
            size, rate = sum(len(outliers[name]) for name in members), base_rate(benchmark, group)
            for metric in METRICS:
                if rate is not None and metric in PRECISION_METRICS:
                    values = [float(metric_at(metric, counts[name], rate)) for name in members]
                else:
                    values = [metrics[name][metric] for name in members]
                rows.append(row_of(group, score, metric, float(np.mean(values)), len(test), size))
    return rows


def open_set_rows(predictions: Predictions, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return oscr of every score against every set of unknown classes, and macro_f of scores that are probabilities."""
    rows = []
    for score in predictions.scores:
        for name in benchmark.ood:
            answers = stored_answers(predictions, score, name)
            values = {"oscr": float(oscr(answers))}
            if score in benchmark.open_set.scores:
                values["macro_f"] = float(macro_f(answers, threshold_of(answers.classes, benchmark)))
            sizes = len(answers.known), len(answers.unknown)
            rows += [row_of(name, score, metric, value, *sizes) for metric, value in values.items()]
    return rows


def stored_answers(predictions: Predictions, score: str, name: str) -> Answers:
    """Return a run's answers on the test images and on one set of unknown classes."""
    test, unknown = predictions.split("test"), predictions.split(name)
    return answers_of(
        test[f"score_{score}"],
        test["label"],
        test["prediction"],
        unknown[f"score_{score}"],
        unknown["prediction"],
        int(predictions.facts["classes"]),
    )


def threshold_of(classes: int, benchmark: Benchmark) -> float:
    """Return the confidence above which a prediction is accepted."""
    return acceptance_threshold(classes, benchmark.open_set.target, benchmark.open_set.margin)


def groups(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """Return the groups of OOD sets over which means are taken (each set weighs the same), without empty groups.

    First the automatic means, then the groups that the benchmark names under `means`. Sets of the shift "style" answer
    a question of their own, and extra sets are not part of the protocol: both enter no automatic mean.
    """
    shifts = {
        n: outlier.shift for n, outlier in benchmark.ood.items() if outlier.shift != "style" and not outlier.extra
    }
    members = {
        "mean_all": tuple(shifts),
        "mean_natural": tuple(name for name, shift in shifts.items() if shift != "noise"),
        **{
            f"mean_{kind}": tuple(n for n, shift in shifts.items() if shift == kind)
            for kind in ("near", "far", "noise")
        },
        **{name: mean.sets for name, mean in benchmark.means.items()},
    }
    return {group: names for group, names in members.items() if names}


def members(benchmark: Benchmark, split: str) -> tuple[str, ...]:
    """Return the OOD sets of a split name: one set, or the members of a mean; empty for other names."""
    return (split,) if split in benchmark.ood else groups(benchmark).get(split, ())


def base_rate(benchmark: Benchmark, split: str) -> Fraction | None:
    """Return the share of OOD images at which the AUPR of a mean is computed; None: the share in the test sets."""
    return benchmark.means[split].rate if split in benchmark.means else None


def condition_rows(predictions: Predictions, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return top1_error in percent under every condition, and the means over conditions of a kind."""
    errors = {name: top_k_error(predictions.split(name)["label_rank"].to_numpy(), 1) for name in conditions(benchmark)}
    sizes = {name: len(predictions.split(name)) for name in errors}
    rows = [row_of(name, NO_SCORE, "top1_error", error, sizes[name], 0) for name, error in errors.items()]
    for name in summaries(benchmark):
        members = matching(benchmark, name)
        mean = float(np.mean([errors[member] for member in members]))
        rows.append(row_of(name, NO_SCORE, "top1_error", mean, sizes[members[0]], 0))
    return rows


def localisation_rows(test: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the localisation errors in percent, by both rules for boxes, and mean_iou in [0, 1].

    The number of images is that of those with a true box.
    """
    return [
        row_of("test", NO_SCORE, metric, float(values.mean()) * (1 if metric == "mean_iou" else 100), len(values), 0)
        for metric, values in localisation_outcomes(test).items()
    ]


def segmentation_rows(predictions: Predictions, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return pixel_auroc and au_pro in [0, 1] of the anomaly maps of all test images, with and without defects."""
    if not has_maps(predictions):
        return []
    maps = stored_maps(predictions, ("test", *benchmark.ood))
    sizes = len(predictions.split("test")), sum(len(predictions.split(name)) for name in benchmark.ood)
    values = {metric: float(function(maps.levels, maps.masks)) for metric, function in MAP_METRICS.items()}
    return [row_of("test", NO_SCORE, metric, value, *sizes) for metric, value in values.items()]


def row_of(split: str, score: str, metric: str, value: float, n: int, n_ood: int) -> dict[str, Any]:
    """Return one metric of a run, without the columns that name the run."""
    return {"split": split, "score": score, "metric": metric, "value": value, "n": n, "n_ood": n_ood}


def metrics_of(predictions: Predictions, benchmark: Benchmark, raw: Raw | None = None) -> pd.DataFrame:
    """Compute the tidy metrics of one run, without the columns that name it; calibration needs its logits.

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
        rows.append(row_of("test", NO_SCORE, GATE, float(passed), len(test), 0))
    if "detection" in benchmark.evaluations and passed:
        rows += detection_rows(predictions, benchmark)
    if "calibration" in benchmark.evaluations and raw is not None:
        rows += calibration_rows(predictions, raw)
    if "misclassification" in benchmark.evaluations and passed:
        rows += misclassification_rows(predictions)
    if "open_set" in benchmark.evaluations and passed:
        rows += open_set_rows(predictions, benchmark)
    if "segmentation" in benchmark.evaluations:
        rows += segmentation_rows(predictions, benchmark)
    rows += condition_rows(predictions, benchmark)
    if "localisation" in benchmark.evaluations:
        rows += localisation_rows(test)
    return pd.DataFrame(rows)


def evaluate_run(
    folder: Path,
    benchmark: Benchmark | Mapping[str, Any],
    benchmark_name: str,
    method: str,
    seed: int,
    out: Path,
    evaluated: Path | None = None,
) -> None:
    """Compute a run's metrics from its stored predictions and scores and write them as CSV.

    Parameters
    ----------
    folder : Path
        The run's folder, with predictions.parquet.
    benchmark : Benchmark or mapping
        The benchmark's record.
    benchmark_name, method, seed
        Name of the run.
    out : Path
        The CSV file: one row per (split, score, metric).
    evaluated : Path, optional
        The folder of scores.parquet, when it is not the run's folder.

    Raises
    ------
    ReproodError
        When the predictions are missing, of another run, without a split, or hold scores that are not finite.
    """
    record = benchmark if isinstance(benchmark, Benchmark) else Benchmark.model_validate(dict(benchmark))
    predictions = load_predictions(folder, evaluated)
    stored = tuple(str(predictions.facts.get(key)) for key in ("benchmark", "method", "seed"))
    if stored != (benchmark_name, method, str(seed)):
        raise ReproodError(
            f"{folder} holds the run {'/'.join(stored)}, not {benchmark_name}/{method}/{seed}; predict it again."
        )
    try:
        raw = load_outputs(folder, features=False) if "calibration" in record.evaluations else None
        table = metrics_of(predictions, record, raw)
    except ReproodError as error:
        raise ReproodError(f"{folder}: {error}") from error
    for column, value in reversed((("benchmark", benchmark_name), ("method", method), ("seed", seed))):
        table.insert(0, column, value)
    write_csv(table, out)


def write_csv(table: pd.DataFrame, out: Path) -> None:
    """Write a table of metrics."""
    with atomic_path(out) as temporary:
        table[list(COLUMNS)].to_csv(temporary, index=False, lineterminator="\n")


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a `metrics.csv`; the numbers are those that were written, to the last bit.

    Raises
    ------
    ReproodError
        When the file is missing or is not a table of metrics.
    """
    try:
        # As text first: pandas' own reading of decimal numbers may differ from the written ones in the last bit.
        table = pd.read_csv(path, keep_default_na=False, dtype=str)[list(COLUMNS)].astype(TYPES)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; run the evaluate stage first.") from error
    except (KeyError, ValueError, TypeError, OverflowError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table of metrics ({error}); run the evaluate stage again.") from error
    for name in ("benchmark", "method", "split", "score", "metric"):
        odd = table.loc[~table[name].str.fullmatch(CELL), name]
        if len(odd):
            raise ReproodError(
                f"{path}, line {odd.index[0] + 2}: {name} is {odd.iloc[0][:40]!r}; expected letters, digits and ._/-, "
                "beginning with a letter or digit; run the evaluate stage again."
            )
    if np.isinf(table["value"]).any() or (table[["seed", "n", "n_ood"]] < 0).any(axis=None):
        raise ReproodError(f"{path} holds an infinite value or a negative count; run the evaluate stage again.")
    return table
