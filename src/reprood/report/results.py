"""The stored results of a benchmark or family: runs with histories, predictions, metrics and resampled metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.audit.settings import Measurement
from reprood.config.benchmark import Benchmark
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.calibration import METRICS as CALIBRATION
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.maps import has_maps, replicate_segmentation, stored_maps
from reprood.evaluate.predictions import PREDICTIONS, SCORES
from reprood.evaluate.resample import Replicates, replicate_detection, replicate_errors
from reprood.evaluate.results import StoredRuns, scores_of, stored_scores
from reprood.evaluate.table import GATE, NO_SCORE, Predictions, base_rate, groups
from reprood.report import labels
from reprood.report.palette import palette_of
from reprood.report.records import ModelRecord, RunRecord, checked
from reprood.report.style import OTHER, colour_of, line_of

REPLICATES = 200
HIGHLIGHTED = 5  # lines with a colour in one plot
Resample = Callable[[Sequence[Predictions], np.random.Generator], Replicates]
HISTORY = ("phase", "epoch", "lr", "train_loss")


def read_history(path: Path) -> pd.DataFrame:
    """Read a run's history.csv.

    Raises
    ------
    ReproodError
        If the file is missing or not a table, a column is missing, or a measured column is not numeric.
    """
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; train the run again.") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table ({error}); train the run again.") from error
    missing = [name for name in HISTORY if name not in table]
    if missing:
        raise ReproodError(f"{path} has no columns {', '.join(missing)}; train the run again.")
    for name in table.columns.difference(["phase"]):
        if len(table) == 0:  # nothing was trained
            table[name] = table[name].astype(float)
        if not pd.api.types.is_numeric_dtype(table[name]) or np.isinf(table[name]).any():
            raise ReproodError(f"{path}: the column {name} must hold finite numbers; train the run again.")
    return table


@dataclass(frozen=True)
class BenchmarkResults:
    """The stored results of one benchmark of a suite, or of a family, whose replicates run on its members.

    Attributes
    ----------
    name : str
        The benchmark, the family, or one member of it.
    suite : Suite
    root : Path
        The checkout, or the release.
    examples : Path or None
        File of augmented images, for the figure that shows them.
    """

    name: str
    suite: Suite
    root: Path
    examples: Path | None = None

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark's record; that of the first member of a family, for what all members have in common."""
        return self.suite.record(self.name)

    @cached_property
    def _seeds(self) -> dict[str, dict[int, str]]:
        """Method -> seed -> benchmark on which this replicate runs."""
        found: dict[str, dict[int, str]] = {}
        names = self.suite.places().get(self.name, (self.name,))
        for benchmark, method, seed in self.suite.jobs():
            if benchmark in names:
                found.setdefault(method, {})[seed] = benchmark
        return found

    @cached_property
    def places(self) -> dict[int, str]:
        """Seed -> benchmark on which this replicate runs, ascending."""
        return dict(sorted({seed: name for seeds in self._seeds.values() for seed, name in seeds.items()}.items()))

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The benchmarks that run, in the order of the first replicates: members of a family, or the benchmark."""
        return tuple(dict.fromkeys(self.places.values()))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods that ran on the benchmark, in the suite's order."""
        return tuple(method for method in self.suite.methods if method in self._seeds)

    @property
    def detects(self) -> bool:
        """Whether the benchmark has OOD sets and evaluates detection."""
        return bool(self.benchmark.ood) and "detection" in self.benchmark.evaluations

    @property
    def natural(self) -> str:
        """Name of the main mean: over the OOD sets without noise, or over all if there are only noise sets."""
        return "mean_natural" if "mean_natural" in groups(self.benchmark) else "mean_all"

    def where(self, split: str) -> str:
        """Return a split's name for readers; a mean is not called one without noise if there is no noise."""
        if split != "mean_natural" or any(outlier.shift == "noise" for outlier in self.benchmark.ood.values()):
            return labels.split(split)
        sets = groups(self.benchmark)[split]
        return labels.split(sets[0]) if len(sets) == 1 else labels.split("mean_all")

    @cached_property
    def detecting(self) -> list[str]:
        """Methods that passed the gate in every seed, and have a score that every replicate stores."""
        return [method for method in self.methods if self.passed(method) and self.headline(method)]

    def seeds(self, method: str) -> list[int]:
        """Return the seeds of a method, one for each replicate, ascending."""
        return sorted(self._seeds[method])

    def shown(self, method: str) -> list[Predictions]:
        """Return the predictions on the first member (of a single benchmark: all), for figures of single images."""
        seeds = [seed for seed in self.seeds(method) if self.places[seed] == self.members[0]]
        return self.stored.only(method, seeds)

    @property
    def paired(self) -> bool:
        """Whether methods are compared replicate by replicate, because members differ far more than seeds do."""
        return self.benchmark.family == self.name

    def label(self, method: str) -> str:
        """Return a method's name for readers."""
        return self.suite.methods[method].label

    @cached_property
    def stored(self) -> StoredRuns:
        """The stored predictions and metrics of the runs."""
        seeds = {method: self.seeds(method) for method in self.methods}
        return StoredRuns(self.root, self.name, self.benchmark, seeds, self.suite.folders, self.places)

    def file(self, method: str, seed: int, name: str) -> Path:
        """Return the path of a run's file."""
        return self.stored.file(method, seed, name)

    def data_path(self, data: Path, name: str) -> Path:
        """Return the path of a split or file of the benchmark's (first member's) data, below the folder of all data."""
        return data / "benchmarks" / self.suite.folders.benchmark(self.members[0]) / name

    def history(self, method: str) -> list[pd.DataFrame]:
        """Return the training history of each seed."""
        return [read_history(self.file(method, seed, "history.csv")) for seed in self.seeds(method)]

    def predictions(self, method: str) -> list[Predictions]:
        """Return the predictions of each seed."""
        return self.stored.predictions(method)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The tidy metrics of all runs."""
        return pd.concat([table for method in self.methods for table in self.stored.metrics(method)], ignore_index=True)

    def values(self, method: str, metric: str, split: str = "test", score: str = "-") -> np.ndarray:
        """Return a metric for each seed, of a score for those that store it; empty if it was not measured."""
        return np.array(self._values.get((method, metric, split, score), ()), dtype=np.float64)

    @cached_property
    def _values(self) -> dict[tuple[str, ...], list[float]]:
        found: dict[tuple[str, ...], list[float]] = {}
        columns = ["method", "metric", "split", "score", "seed", "value"]
        for *key, seed, value in self.metrics[columns].itertuples(index=False, name=None):
            of_samples = key[1] not in (*CALIBRATION, "temperature")  # these are of logits, whichever scores are stored
            if key[3] == NO_SCORE or not of_samples or seed in self.sampled(key[0], key[3]):
                found.setdefault(tuple(key), []).append(value)
        return found

    @cached_property
    def rows(self) -> dict[str, pd.DataFrame]:
        """The tidy metrics of each method."""
        return {str(method): table for method, table in self.metrics.groupby("method", sort=False)}

    def passed(self, method: str) -> bool:
        """Return whether no seed failed the accuracy gate."""
        gates = self.values(method, GATE)
        return bool((gates == 1).all())

    def scores(self, method: str) -> list[str]:
        """Return the scores of a method to show: detectors, then its own; without those of a grid of step sizes.

        Each is stored for one replicate at least; its metrics may be known for more.
        """
        rows = self.metrics
        names = rows.loc[rows["method"] == method, "score"].unique()
        return [name for name in names if name != "-" and "_eps_" not in name and self.sampled(method, name)]

    def sampled(self, method: str, score: str) -> list[int]:
        """Return the seeds whose runs store a score of each sample: runs from a compact release store some scores."""
        return self._sampled.get((method, score), [])

    @cached_property
    def _sampled(self) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = {}
        for method, seed in ((name, seed) for name in self.methods for seed in self.seeds(name)):
            for score in stored_scores(*(self.file(method, seed, name) for name in (SCORES, PREDICTIONS))):
                found.setdefault((method, score), []).append(seed)
        return found

    def headline(self, method: str) -> str:
        """Return the first score that every replicate stores: of the method's own, MSP, others; "" if there is none."""
        native = [name for one in self.predictions(method) for name in one.facts["native"]]
        known = [score for name, score in self._sampled if name == method]
        everywhere = [name for name in known if self.sampled(method, name) == self.seeds(method)]
        return next((name for name in [*native, "msp", *known] if name in everywhere), "")

    @cached_property
    def _palette(self) -> dict[str, int]:
        return self.suite.palette or palette_of(self.suite)

    def colour(self, method: str) -> str:
        """Return a method's colour, the same in all figures."""
        return colour_of(self._palette[method])

    @cached_property
    def highlighted(self) -> tuple[str, ...]:
        """The methods whose lines have a colour: the first one of the suite and the best, at most five.

        Best by the main metric: AUROC of a method's own score, else top-1 error.
        """
        if len(self.methods) <= HIGHLIGHTED:
            return self.methods
        measured = {method: self._main(method) for method in self.methods}
        best = sorted(self.methods[1:], key=lambda method: -measured[method])[: HIGHLIGHTED - 1]
        return tuple(method for method in self.methods if method == self.methods[0] or method in best)

    def _main(self, method: str) -> float:
        """Return the main metric of a method, mean over replicates, higher is better; -inf if it was not measured."""
        if self.detects:
            values = (
                self.values(method, "auroc", self.natural, self.headline(method))
                if self.passed(method)
                else np.array([])
            )
        else:
            values = -self.values(method, "top1_error")
        return float(values.mean()) if len(values) else -np.inf

    def line(self, method: str) -> dict[str, Any]:
        """Return a method's colour and line style; grey and thin if it is not highlighted."""
        return line_of(self._palette[method]) if method in self.highlighted else dict(OTHER)

    def best_detector(self, method: str) -> str:
        """Return the post-hoc detector with the highest AUROC on the test sets of a method; "" if it has none."""
        post_hoc = [name for name in self.scores(method) if name not in self.predictions(method)[0].facts["native"]]
        means = {name: self.values(method, "auroc", self.natural, name) for name in post_hoc}
        means = {name: values for name, values in means.items() if len(values)}
        return max(means, key=lambda name: float(means[name].mean()), default="")

    @cached_property
    def _replicates(self) -> dict[tuple[str, ...], Replicates]:
        return {}

    def _resampled(self, key: tuple[str, ...], method: str, make: Resample, score: str = NO_SCORE) -> Replicates:
        """Return a metric of each seed on resampled data; the test images of every member are resampled separately.

        The results are cached. Equal generators draw the same test images for all methods.

        Parameters
        ----------
        key : tuple of str
            Identity of the result.
        method : str
            The method.
        make : callable
            Computes it from the predictions of some replicates on one member.
        score : str
            The score that it reads: only replicates that store it enter.
        """
        if key in self._replicates:
            return self._replicates[key]
        seeds = self.seeds(method) if score == NO_SCORE else self.sampled(method, score)
        found = []
        for place, member in enumerate(self.members):
            here = [seed for seed in seeds if self.places[seed] == member]
            if here:
                generator = np.random.default_rng([0, place] if self.benchmark.family else 0)
                found.append((here, make(self.stored.only(method, here), generator)))
        order = np.argsort([seed for here, _ in found for seed in here])
        joined = Replicates(
            [np.concatenate([one.observed[0] for _, one in found])[order]],
            [np.concatenate([one.resampled[0] for _, one in found], axis=1)[:, order]],
            sum(one.n_id for _, one in found),
            sum(one.n_ood for _, one in found),
            tuple(self.members.index(self.places[seed]) for seed in seeds) if self.benchmark.family else (),
            pooled=len(found) > 1,
        )
        self._replicates[key] = joined
        return joined

    def detection_replicates(self, method: str, metric: str, split: str, score: str) -> Replicates:
        """Return a metric of each seed, mean over the OOD sets of `split`, on the data and on resampled data."""
        members = self.stored.members(split)
        rate = base_rate(self.benchmark, split)

        def make(found: Sequence[Predictions], generator: np.random.Generator) -> Replicates:
            arm = [scores_of(p, score, members) for p in found]
            return replicate_detection([arm], metric, generator, REPLICATES, base_rates=[rate])

        return self._resampled((method, metric, score, str(rate), *members), method, make, score)

    def error_replicates(self, method: str, split: str = "test") -> Replicates:
        """Return the top-1 error in percent of every seed, mean over the conditions of `split`."""

        def make(found: Sequence[Predictions], generator: np.random.Generator) -> Replicates:
            return replicate_errors([np.stack([self.stored.errors(p, split) for p in found])], generator, REPLICATES)

        return self._resampled((method, "top1_error", split), method, make)

    def localisation_replicates(self, method: str, metric: str) -> Replicates:
        """Return a localisation error in percent for every seed."""

        def make(found: Sequence[Predictions], generator: np.random.Generator) -> Replicates:
            wrong = [100.0 * localisation_outcomes(p.split("test"))[metric] for p in found]
            return replicate_errors([np.stack(wrong)], generator, REPLICATES)

        return self._resampled((method, metric), method, make)

    def segmentation_replicates(self, method: str, metric: str) -> Replicates:
        """Return a metric of the anomaly maps for every seed."""

        def make(found: Sequence[Predictions], generator: np.random.Generator) -> Replicates:
            maps = [stored_maps(p, ("test", *self.benchmark.ood)) for p in found]
            return replicate_segmentation([maps], metric, generator, REPLICATES)

        return self._resampled((method, metric), method, make)

    def detection_interval(self, method: str, metric: str, split: str, score: str) -> Interval:
        """Return the mean over seeds and OOD sets with its bootstrap interval."""
        return interval_of(self.detection_replicates(method, metric, split, score))

    def error_interval(self, method: str, split: str = "test") -> Interval:
        """Return the top-1 error in percent, mean over seeds and the conditions of `split`, with its interval."""
        return interval_of(self.error_replicates(method, split))

    def localisation_interval(self, method: str, metric: str) -> Interval:
        """Return a localisation error in percent, mean over seeds, with its interval."""
        return interval_of(self.localisation_replicates(method, metric))

    def segmentation_interval(self, method: str, metric: str) -> Interval:
        """Return a metric of the anomaly maps, mean over seeds, with its interval."""
        return interval_of(self.segmentation_replicates(method, metric))

    def mapping(self) -> list[str]:
        """Return the methods whose runs all have anomaly maps."""
        return [method for method in self.methods if all(map(has_maps, self.predictions(method)))]

    def recorded_error(self, method: str, column: str) -> tuple[float, float]:
        """Return the last and the lowest recorded value of an error in the histories, means over seeds; NaN if none.

        The lowest is the best-epoch convention of some papers: for comparison only.
        """
        recorded = [h[column].dropna() for h in self.history(method) if column in h]
        recorded = [values for values in recorded if len(values)]
        if not recorded:
            return float("nan"), float("nan")
        return float(np.mean([v.iloc[-1] for v in recorded])), float(np.mean([v.min() for v in recorded]))

    def measurement(self, method: str, auxiliary: tuple[str, ...]) -> Measurement:
        """Return the setting of a method's runs, to compare it with published ones."""
        seed = self.seeds(method)[0]
        model = checked(self.file(method, seed, "model.json"), ModelRecord)
        precision = self.facts(method, seed)["precision"]
        family = self.benchmark.family
        whole = family in ("", self.name) and len(self.members) >= self.suite.fixed_members(family)
        return Measurement(self.benchmark, model["backbone"], precision, auxiliary, whole, self.suite.substitutes)

    def facts(self, method: str, seed: int) -> dict[str, Any]:
        """Read run.json of a run."""
        return checked(self.file(method, seed, "run.json"), RunRecord)


def interval_of(found: Replicates) -> Interval:
    """Return the interval of one method's mean over seeds."""
    return contrast(found, [1.0])
