"""The evidence behind a verdict: the stored predictions and metrics of a benchmark, a family of them, or a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reprood.audit.papers import LOCALISATION, OPEN_SET, PLAIN, SEGMENTATION, Claim, Paper
from reprood.config.benchmark import Benchmark
from reprood.config.conditions import matching
from reprood.config.folders import Folders
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.maps import has_maps, replicate_segmentation, stored_maps
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.open_set import replicate_open_set
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors
from reprood.evaluate.table import (
    GATE,
    Predictions,
    groups,
    load_predictions,
    read_metrics,
    stored_answers,
    threshold_of,
)

REPLICATES = 1000


@dataclass(frozen=True)
class Part:
    """One side of a claim on one benchmark: a method that ran there and a score.

    Attributes
    ----------
    method, score : str
        The score is "-" for classification metrics; a trailing "*" means the best of several in hindsight.
    split : str
        Where it is measured, when that differs between the sides.
    """

    method: str
    score: str
    split: str = ""

    @property
    def label(self) -> str:
        """Method, score and split as one text."""
        inner = ", ".join(part for part in (self.score.replace("-", ""), self.split) if part)
        return f"{self.method} ({inner})" if inner else self.method


def parts_of(claim: Claim, paper: Paper, ran: Mapping[str, object]) -> list[Part] | None:
    """The claim's sides as methods of a benchmark; None when an arm did not run there."""
    if claim.study:
        return [Part(side.method, "-") for side in claim.sides] if all(s.method in ran for s in claim.sides) else None
    found = [(paper.method_of(side.method, ran), side) for side in claim.sides]
    parts = [Part(method, side.score, side.split) for method, side in found if method is not None]
    return parts if len(parts) == len(found) else None


class Evidence(Protocol):
    """What a claim can be judged on."""

    @property
    def name(self) -> str:
        """Of the benchmark, the family or the study."""
        ...

    @property
    def seeds(self) -> Mapping[str, Sequence[object]]:
        """Method -> its replicates."""
        ...

    def measures(self, claim: Claim) -> bool:
        """The claim speaks of something that was measured here."""
        ...

    def obstacle(self, claim: Claim, parts: Sequence[Part]) -> str:
        """Why a claim cannot be judged all the same, in words; empty when it can."""
        ...

    def training(self, part: Part) -> str:
        """Parts with equal names have paired replicates."""
        ...

    def epochs(self, method: str) -> int | None:
        """Epochs of the method's training; None when there is no such number."""
        ...

    def elsewhere(self, claim: Claim, parts: Sequence[Part]) -> str:
        """Why this is none of the settings for which the claim is published, in words; empty when it is one."""
        ...

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """The claim's metric of every side and replicate, on the data and on resampled test samples."""
        ...


class BenchmarkEvidence:
    """The stored predictions and metrics of one benchmark's runs, read when they are asked for.

    Parameters
    ----------
    runs : Path
        Folder of all runs.
    name : str
        The benchmark.
    benchmark : Benchmark
    seeds : mapping
        Method -> its seeds.
    folders : Folders
        Where the suite's runs are.
    """

    def __init__(
        self,
        runs: Path,
        name: str,
        benchmark: Benchmark,
        seeds: Mapping[str, Sequence[int]],
        folders: Folders,
    ) -> None:
        self.runs, self.name, self.benchmark, self.folders = runs, name, benchmark, folders
        self.seeds = {method: tuple(values) for method, values in seeds.items()}
        self._loaded: dict[tuple[str, int], Predictions] = {}

    def file(self, method: str, seed: int, name: str) -> Path:
        """Return the path of a run's file."""
        return self.runs / self.folders.file(self.name, method, seed, name)

    def predictions(self, method: str) -> list[Predictions]:
        """One a seed."""
        for seed in self.seeds[method]:
            if (method, seed) not in self._loaded:
                self._loaded[method, seed] = load_predictions(self.file(method, seed, "predictions.parquet").parent)
        return [self._loaded[method, seed] for seed in self.seeds[method]]

    def closed_gates(self, method: str) -> list[int]:
        """Seeds whose accuracy is below the gate."""
        closed = []
        for seed in self.seeds[method]:
            table = read_metrics(self.file(method, seed, "metrics.csv"))
            if (table.loc[table["metric"] == GATE, "value"] == 0).any():
                closed.append(seed)
        return closed

    def _model(self, method: str) -> dict[str, Any]:
        path = self.file(method, self.seeds[method][0], "model.json")
        model = read_json(path)
        for key in ("settings", "backbone"):
            if not isinstance(model, dict) or not isinstance(model.get(key), dict):
                raise ReproodError(f"{path} lacks '{key}'; train the run again.")
        training = model["settings"].get("training") or {}
        if not isinstance(training, dict) or not isinstance(training.get("epochs", 1), int):
            raise ReproodError(f"{path}: settings.training.epochs is no whole number; train the run again.")
        return dict(model)

    def epochs(self, method: str) -> int | None:
        """Epochs of the method's training."""
        training = self._model(method)["settings"].get("training")
        return int(training["epochs"]) if training else None

    def elsewhere(self, claim: Claim, parts: Sequence[Part]) -> str:
        """Why this is none of the settings for which the claim is published, in words; empty when it is one."""
        backbone = self._model(parts[0].method)["backbone"]
        lacking = [setting.lacks(self.benchmark, backbone) for setting in claim.where]
        return "" if not all(lacking) else lacking[0] if lacking else ""

    def scores(self, part: Part) -> list[str]:
        """The stored scores that a side means; none when nothing of the name was stored."""
        known = self.predictions(part.method)[0].scores
        if part.score.endswith("*"):
            return [name for name in known if name.startswith(part.score[:-1])]
        return [part.score] if part.score in known else []

    def measures(self, claim: Claim) -> bool:
        """The claim speaks of something that was measured here."""
        if claim.study or not self._labels_fit(claim):
            return False
        asked = self.benchmark.evaluations
        if claim.metric in LOCALISATION:
            return "localisation" in asked
        if claim.metric in SEGMENTATION:
            return "segmentation" in asked
        splits = [claim.split_of(side) for side in claim.sides]
        if claim.metric in (*METRICS, *OPEN_SET):
            needed = "open_set" if claim.metric in OPEN_SET else "detection"
            if claim.metric in OPEN_SET and not all(split in self.benchmark.ood for split in splits):
                return False
            return needed in asked and all(self.members(split) for split in splits)
        if claim.split == "test":
            return "classification" in asked
        return all(matching(self.benchmark, split) for split in splits)

    def _labels_fit(self, claim: Claim) -> bool:
        noise = self.benchmark.label_noise
        if claim.label_noise is None:
            return noise is None
        low, high = claim.label_noise
        return noise is not None and low <= noise.strength <= high

    def obstacle(self, claim: Claim, parts: Sequence[Part]) -> str:
        """A failed gate, or a score or maps that were not stored."""
        if claim.metric in SEGMENTATION:
            lacking = [part.label for part in parts if not has_maps(self.predictions(part.method)[0])]
            return f"the runs stored no anomaly maps: {', '.join(lacking)}" if lacking else ""
        if claim.metric not in (*METRICS, *OPEN_SET):
            return ""
        closed = {method: self.closed_gates(method) for method in dict.fromkeys(part.method for part in parts)}
        failed = "; ".join(f"{m} in seed {', '.join(map(str, s))}" for m, s in closed.items() if s)
        if failed:
            return f"the accuracy gate failed: {failed}"
        lacking = [part.label for part in parts if not self.scores(part)]
        return f"the runs stored no such score: {', '.join(lacking)}" if lacking else ""

    def training(self, part: Part) -> str:
        """Two scores of the same trained models share their seeds."""
        return part.method

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """The claim's metric of every side and seed, on the data and on resampled test samples."""
        if claim.metric in SEGMENTATION:
            names = ("test", *self.benchmark.ood)
            maps = [[stored_maps(p, names) for p in self.predictions(part.method)] for part in parts]
            return replicate_segmentation(maps, claim.metric, generator, REPLICATES)
        if claim.metric in PLAIN:
            errors = [
                np.stack([self._errors(p, claim.metric, s.split or claim.split) for p in self.predictions(s.method)])
                for s in parts
            ]
            return replicate_errors(errors, generator, REPLICATES)
        if claim.metric in OPEN_SET:
            return self._open_set(claim, parts, generator)
        sets = [self.members(part.split or claim.split) for part in parts]
        every = tuple(dict.fromkeys(name for names in sets for name in names))
        arms = [[_scores(p, self.best(s, claim), every) for p in self.predictions(s.method)] for s in parts]
        return replicate_detection(arms, claim.metric, generator, REPLICATES, sets)

    def _open_set(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """On one set of unknown classes."""
        arms = [
            [stored_answers(p, part.score, part.split or claim.split) for p in self.predictions(part.method)]
            for part in parts
        ]
        threshold = threshold_of(arms[0][0].classes, self.benchmark)
        return replicate_open_set(arms, claim.metric, generator, REPLICATES, threshold)

    def _errors(self, predictions: Predictions, metric: str, split: str) -> np.ndarray:
        """What counts as error of each test image, in percent; its mean over the conditions that `split` means."""
        if metric in LOCALISATION:
            return np.asarray(100.0 * localisation_outcomes(predictions.split("test"))[metric])
        names = (split,) if split == "test" else matching(self.benchmark, split)
        wrong = [(predictions.split(name)["label_rank"] > 0).to_numpy() for name in names]
        return np.asarray(100.0 * np.mean(wrong, axis=0))

    def members(self, split: str) -> tuple[str, ...]:
        """OOD sets of a split's name: one set, or the members of a mean."""
        if split in self.benchmark.ood:
            return (split,)
        return groups(self.benchmark).get(split, ())

    def best(self, part: Part, claim: Claim) -> str:
        """A side's score; of several the best in hindsight, on the mean over seeds and sets."""
        names = self.scores(part)
        if len(names) == 1:
            return names[0]
        members, sign = self.members(part.split or claim.split), 1 if claim.better == "higher" else -1

        def value(name: str) -> float:
            arm = [_scores(p, name, members) for p in self.predictions(part.method)]
            found = replicate_detection([arm], claim.metric, np.random.default_rng(0), 2)
            return sign * float(found.observed[0].mean())

        return max(names, key=value)


def _scores(predictions: Predictions, score: str, members: Sequence[str]) -> Scores:
    column = f"score_{score}"
    return Scores(
        predictions.split("test")[column].to_numpy(),
        {name: predictions.split(name)[column].to_numpy() for name in members},
    )
