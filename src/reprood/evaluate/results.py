"""The stored results of one benchmark's runs, as the audit and the report read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import matching
from reprood.config.folders import Folders
from reprood.core.errors import ReproodError
from reprood.evaluate.predictions import PREDICTIONS, SCORES, Predictions, load_predictions
from reprood.evaluate.resample import Scores
from reprood.evaluate.table import METRICS_FILE, members, read_metrics


class StoredRuns:
    """Predictions and metrics of the runs of a benchmark or family, read once when they are first requested.

    Parameters
    ----------
    root : Path
        The checkout, or the release.
    name : str
        Name of the benchmark or family.
    benchmark : Benchmark
        Its record; of a family, that of its first member, for what all members have in common.
    seeds : mapping
        Seeds of each method.
    folders : Folders
        Where the suite's files are, relative to `root`.
    places : mapping
        Seed -> member of the family on which this replicate runs; empty for a single benchmark.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        benchmark: Benchmark,
        seeds: Mapping[str, Sequence[int]],
        folders: Folders,
        places: Mapping[int, str] | None = None,
    ) -> None:
        self.places = dict(places or {})
        self.root, self.name, self.benchmark, self.folders = root, name, benchmark, folders
        self.seeds = {method: tuple(values) for method, values in seeds.items()}
        self._predictions: dict[tuple[str, int], Predictions] = {}
        self._metrics: dict[tuple[str, int], pd.DataFrame] = {}

    def path(self, method: str, seed: int, name: str) -> str:
        """Return the path of a run's file, relative to the checkout or the release."""
        return self.folders.file(self.places.get(seed, self.name), method, seed, name)

    def file(self, method: str, seed: int, name: str) -> Path:
        """Return the path of a run's file."""
        return self.root / self.path(method, seed, name)

    def predictions(self, method: str) -> list[Predictions]:
        """Return the predictions of each seed."""
        return self.only(method, self.seeds[method])

    def only(self, method: str, seeds: Sequence[int]) -> list[Predictions]:
        """Return the predictions of some seeds."""
        for seed in seeds:
            if (method, seed) not in self._predictions:
                folder, evaluated = (self.file(method, seed, name).parent for name in (PREDICTIONS, SCORES))
                self._predictions[method, seed] = load_predictions(folder, evaluated)
        return [self._predictions[method, seed] for seed in seeds]

    def metrics(self, method: str) -> list[pd.DataFrame]:
        """Return the metrics of each seed."""
        for seed in self.seeds[method]:
            if (method, seed) not in self._metrics:
                self._metrics[method, seed] = read_metrics(self.file(method, seed, METRICS_FILE))
        return [self._metrics[method, seed] for seed in self.seeds[method]]

    def members(self, split: str) -> tuple[str, ...]:
        """Return the OOD sets of a split name: one set, or the members of a mean; empty for other names."""
        return members(self.benchmark, split)

    def errors(self, predictions: Predictions, split: str) -> np.ndarray:
        """Return the top-1 error of each test image in percent, mean over the conditions of `split`."""
        names = (split,) if split == "test" else matching(self.benchmark, split)
        wrong = [(predictions.split(name)["label_rank"] > 0).to_numpy() for name in names]
        return np.asarray(100.0 * np.mean(wrong, axis=0))


def scores_of(predictions: Predictions, score: str, members: Sequence[str]) -> Scores:
    """Return a score on the ID test images and on some OOD sets."""
    values, splits = predictions.table[f"score_{score}"].to_numpy(), predictions.table["split"]

    def of(split: str) -> np.ndarray:
        """Return the values of one split."""
        here = (splits == split).to_numpy(bool)
        if not here.any():
            predictions.split(split)  # raises an error that names the split
        return np.asarray(values[here])

    return Scores(of("test"), {name: of(name) for name in members})


def stored_scores(*files: Path) -> list[str]:
    """Return the names of the scores that tables of predictions and of detectors hold, from their schemas alone.

    Raises
    ------
    ReproodError
        When a file is missing or damaged.
    """
    names: list[str] = []
    for path in files:
        try:
            names += pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise ReproodError(f"{path} cannot be read ({error}); delete it and run the workflow again.") from error
    return [name.removeprefix("score_") for name in names if name.startswith("score_")]
