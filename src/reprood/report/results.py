"""What a report is made of: a benchmark's runs, their histories, predictions and metrics, and the suite's record."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import matching
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.maps import has_maps, replicate_segmentation, stored_maps
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors
from reprood.evaluate.table import GATE, Predictions, groups, load_predictions, read_metrics
from reprood.report.records import RunRecord, checked
from reprood.report.style import colour_of, line_of, places

REPLICATES = 200
HISTORY = ("phase", "epoch", "lr", "train_loss")


def read_history(path: Path) -> pd.DataFrame:
    """A run's history.csv.

    Raises
    ------
    ReproodError
        When it is missing, no table, lacks a column, or a measured column holds text.
    """
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; train the run again.") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table ({error}); train the run again.") from error
    lacking = [name for name in HISTORY if name not in table]
    if lacking:
        raise ReproodError(f"{path} lacks the columns {', '.join(lacking)}; train the run again.")
    for name in table.columns.difference(["phase"]):
        if len(table) == 0:  # nothing was trained
            table[name] = table[name].astype(float)
        if not pd.api.types.is_numeric_dtype(table[name]) or np.isinf(table[name]).any():
            raise ReproodError(f"{path}: the column {name} must hold finite numbers; train the run again.")
    return table


@dataclass(frozen=True)
class BenchmarkResults:
    """The stored results of one benchmark of a suite.

    Attributes
    ----------
    name : str
    suite : Suite
    runs : Path
        Folder of all runs.
    examples : Path or None
        File of augmented images, for the figure that shows them.
    """

    name: str
    suite: Suite
    runs: Path
    examples: Path | None = None

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark's record."""
        return self.suite.benchmarks[self.name]

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods that ran on it, in the suite's order."""
        ran = {method for benchmark, method, _ in self.suite.jobs() if benchmark == self.name}
        return tuple(method for method in self.suite.methods if method in ran)

    @property
    def detects(self) -> bool:
        """The benchmark has OOD sets and asks for detection."""
        return bool(self.benchmark.ood) and "detection" in self.benchmark.evaluations

    @property
    def natural(self) -> str:
        """The mean that is shown first: of the OOD sets without noise, of all when there are only noise sets."""
        return "mean_natural" if "mean_natural" in groups(self.benchmark) else "mean_all"

    @cached_property
    def detecting(self) -> list[str]:
        """Methods that passed the gate in every seed."""
        return [method for method in self.methods if self.passed(method)]

    def seeds(self, method: str) -> list[int]:
        """Seeds of a method."""
        return [s for b, m, s in self.suite.jobs() if (b, m) == (self.name, method)]

    def label(self, method: str) -> str:
        """A method's name for readers."""
        return self.suite.methods[method].label

    def file(self, method: str, seed: int, name: str) -> Path:
        """Return the path of a run's file."""
        return self.runs / self.suite.folders.file(self.name, method, seed, name)

    def data_path(self, data: Path, name: str) -> Path:
        """Return the path of a split or file of the benchmark's data, below the folder of all data."""
        return data / "benchmarks" / self.suite.folders.benchmark(self.name) / name

    def history(self, method: str) -> list[pd.DataFrame]:
        """history.csv of each seed."""
        return [read_history(self.file(method, seed, "history.csv")) for seed in self.seeds(method)]

    @cached_property
    def _loaded(self) -> dict[str, list[Predictions]]:
        return {}

    def predictions(self, method: str) -> list[Predictions]:
        """Predictions of each seed."""
        if method not in self._loaded:
            self._loaded[method] = [
                load_predictions(self.file(method, seed, "predictions.parquet").parent) for seed in self.seeds(method)
            ]
        return self._loaded[method]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The tidy metrics of all runs."""
        paths = [self.file(m, s, "metrics.csv") for m in self.methods for s in self.seeds(m)]
        return pd.concat([read_metrics(path) for path in paths], ignore_index=True)

    def values(self, method: str, metric: str, split: str = "test", score: str = "-") -> np.ndarray:
        """A metric of each seed; empty when there is none."""
        return np.array(self._values.get((method, metric, split, score), ()), dtype=np.float64)

    @cached_property
    def _values(self) -> dict[tuple[str, ...], list[float]]:
        found: dict[tuple[str, ...], list[float]] = {}
        keys = self.metrics[["method", "metric", "split", "score"]].itertuples(index=False, name=None)
        for key, value in zip(keys, self.metrics["value"], strict=True):
            found.setdefault(key, []).append(value)
        return found

    @cached_property
    def rows(self) -> dict[str, pd.DataFrame]:
        """The tidy metrics of each method."""
        return {str(method): table for method, table in self.metrics.groupby("method", sort=False)}

    def passed(self, method: str) -> bool:
        """No seed failed the accuracy gate."""
        gates = self.values(method, GATE)
        return bool((gates == 1).all())

    def scores(self, method: str) -> list[str]:
        """Scores of a method that are shown: detectors, then its own; not the step sizes of a grid."""
        rows = self.metrics
        names = rows.loc[rows["method"] == method, "score"].unique()
        return [name for name in names if name != "-" and "_eps_" not in name]

    def headline(self, method: str) -> str:
        """The first of a method's own scores when it has one, else the maximum softmax probability."""
        return next(iter(self.predictions(method)[0].facts["native"]), "msp")

    @cached_property
    def _places(self) -> dict[str, int]:
        groups: dict[str, set[str]] = {}
        for benchmark, method, _ in self.suite.jobs():
            groups.setdefault(benchmark, set()).add(method)
        return places(list(self.suite.methods), groups.values())

    def colour(self, method: str) -> str:
        """A method's colour, the same in all figures."""
        return colour_of(self._places[method])

    def line(self, method: str) -> dict[str, Any]:
        """A method's colour and dashes."""
        return line_of(self._places[method])

    @cached_property
    def _replicates(self) -> dict[tuple[str, ...], Replicates]:
        return {}

    def _kept(self, key: tuple[str, ...], make: Callable[[np.random.Generator], Replicates]) -> Replicates:
        """Replicates are made once; equal generators draw the same test samples for all methods."""
        if key not in self._replicates:
            self._replicates[key] = make(np.random.default_rng(0))
        return self._replicates[key]

    def detection_replicates(self, method: str, metric: str, split: str, score: str) -> Replicates:
        """Mean over the OOD sets that `split` means, of every seed, on the data and on resampled test samples."""
        members = (split,) if split in self.benchmark.ood else groups(self.benchmark)[split]

        def make(generator: np.random.Generator) -> Replicates:
            arm = [
                Scores(
                    p.split("test")[f"score_{score}"].to_numpy(),
                    {name: p.split(name)[f"score_{score}"].to_numpy() for name in members},
                )
                for p in self.predictions(method)
            ]
            return replicate_detection([arm], metric, generator, REPLICATES)

        return self._kept((method, metric, score, *members), make)

    def error_replicates(self, method: str, split: str = "test") -> Replicates:
        """Top-1 error in percent of every seed, mean over the conditions that `split` means."""
        names = (split,) if split == "test" else matching(self.benchmark, split)

        def make(generator: np.random.Generator) -> Replicates:
            wrong = [
                np.mean([(p.split(name)["label_rank"] > 0).to_numpy() for name in names], axis=0)
                for p in self.predictions(method)
            ]
            return replicate_errors([100.0 * np.stack(wrong)], generator, REPLICATES)

        return self._kept((method, "top1_error", "-", *names), make)

    def localisation_replicates(self, method: str, metric: str) -> Replicates:
        """A localisation error in percent of every seed."""

        def make(generator: np.random.Generator) -> Replicates:
            wrong = [100.0 * localisation_outcomes(p.split("test"))[metric] for p in self.predictions(method)]
            return replicate_errors([np.stack(wrong)], generator, REPLICATES)

        return self._kept((method, metric), make)

    def segmentation_replicates(self, method: str, metric: str) -> Replicates:
        """A metric of the anomaly maps of every seed."""

        def make(generator: np.random.Generator) -> Replicates:
            maps = [stored_maps(p, ("test", *self.benchmark.ood)) for p in self.predictions(method)]
            return replicate_segmentation([maps], metric, generator, REPLICATES)

        return self._kept((method, metric), make)

    def detection_interval(self, method: str, metric: str, split: str, score: str) -> Interval:
        """Mean over seeds and OOD sets with its bootstrap interval."""
        return interval_of(self.detection_replicates(method, metric, split, score))

    def error_interval(self, method: str, split: str = "test") -> Interval:
        """Top-1 error in percent, mean over seeds (and over the conditions that `split` means), with its interval."""
        return interval_of(self.error_replicates(method, split))

    def localisation_interval(self, method: str, metric: str) -> Interval:
        """A localisation error in percent, mean over seeds, with its interval."""
        return interval_of(self.localisation_replicates(method, metric))

    def segmentation_interval(self, method: str, metric: str) -> Interval:
        """A metric of the anomaly maps, mean over seeds, with its interval."""
        return interval_of(self.segmentation_replicates(method, metric))

    def mapping(self) -> list[str]:
        """Methods whose runs have anomaly maps."""
        return [method for method in self.methods if has_maps(self.predictions(method)[0])]

    def best_error(self, method: str) -> float:
        """Mean over seeds of the lowest recorded test error: the best-epoch convention, for comparison only."""
        best = [h["test_error"].min() for h in self.history(method) if "test_error" in h]
        return float(np.mean(best)) if best else float("nan")

    def facts(self, method: str, seed: int) -> dict[str, Any]:
        """run.json of a run."""
        return checked(self.file(method, seed, "run.json"), RunRecord)


def interval_of(found: Replicates) -> Interval:
    """The interval of one method's mean over seeds."""
    return contrast(found, [1.0], np.random.default_rng(0))
