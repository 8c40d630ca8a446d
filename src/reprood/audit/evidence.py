"""The evidence behind a verdict: the stored predictions and metrics of one benchmark's runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprood.audit.papers import ERROR, Claim, Paper
from reprood.config import Benchmark
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors
from reprood.evaluate.table import GATE, Predictions, groups, load_predictions, read_metrics
from reprood.files import read_json

REPLICATES = 1000


@dataclass(frozen=True)
class Part:
    """One side of a claim on one benchmark: a method that ran there and a score.

    Attributes
    ----------
    method, score : str
        The score is "-" for classification metrics; a trailing "*" means the best of several in hindsight.
    """

    method: str
    score: str

    @property
    def label(self) -> str:
        """Method and score as one text."""
        return self.method if self.score == "-" else f"{self.method} ({self.score})"


def parts_of(claim: Claim, paper: Paper, ran: Mapping[str, object]) -> list[Part] | None:
    """The claim's sides as methods of a benchmark; None when an arm did not run there."""
    found = [(paper.method_of(side.method, ran), side.score) for side in claim.sides]
    parts = [Part(method, score) for method, score in found if method is not None]
    return parts if len(parts) == len(found) else None


class Evidence:
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
    """

    def __init__(self, runs: Path, name: str, benchmark: Benchmark, seeds: Mapping[str, Sequence[int]]) -> None:
        self.runs, self.name, self.benchmark = runs, name, benchmark
        self.seeds = {method: tuple(values) for method, values in seeds.items()}
        self._loaded: dict[tuple[str, int], Predictions] = {}

    def folder(self, method: str, seed: int) -> Path:
        """A run's folder."""
        return self.runs / self.name / method / str(seed)

    def predictions(self, method: str) -> list[Predictions]:
        """One a seed."""
        for seed in self.seeds[method]:
            if (method, seed) not in self._loaded:
                self._loaded[method, seed] = load_predictions(self.folder(method, seed) / "predictions.parquet")
        return [self._loaded[method, seed] for seed in self.seeds[method]]

    def closed_gates(self, method: str) -> list[int]:
        """Seeds whose accuracy is below the gate."""
        closed = []
        for seed in self.seeds[method]:
            table = read_metrics(self.folder(method, seed) / "metrics.csv")
            if (table.loc[table["metric"] == GATE, "value"] == 0).any():
                closed.append(seed)
        return closed

    def _model(self, method: str) -> dict[str, Any]:
        return dict(read_json(self.folder(method, self.seeds[method][0]) / "model.json"))

    def epochs(self, method: str) -> int:
        """Epochs of the method's training."""
        return int(self._model(method)["settings"]["training"]["epochs"])

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

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """The claim's metric of every side and seed, on the data and on resampled test samples."""
        if claim.metric == ERROR:
            errors = [
                100.0 * np.stack([(p.split("test")["label_rank"] > 0).to_numpy() for p in self.predictions(s.method)])
                for s in parts
            ]
            return replicate_errors(errors, generator, REPLICATES)
        members = self.members(claim.split)
        arms = [[_scores(p, self.best(s, claim), members) for p in self.predictions(s.method)] for s in parts]
        return replicate_detection(arms, claim.metric, generator, REPLICATES)

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
        members, sign = self.members(claim.split), 1 if claim.better == "higher" else -1

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
