"""The evidence behind verdicts: what a claim can be judged on, and the stored results of a benchmark."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from reprood.audit.claims import CALIBRATION, ERROR, LOCALISATION, OPEN_SET, PLAIN, SEGMENTATION, Claim
from reprood.audit.papers import Paper
from reprood.audit.parts import Part, claim_differences, number_differences
from reprood.audit.regime import Regime
from reprood.audit.settings import Difference, Measurement
from reprood.config.benchmark import Benchmark, Gate
from reprood.config.conditions import matching
from reprood.config.folders import Folders
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, read_json
from reprood.detectors.registry import ALWAYS
from reprood.detectors.registry import names as detector_names
from reprood.evaluate.calibration import Confidence, confidence_of, replicate_calibration
from reprood.evaluate.classification import top_k_error
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.maps import has_maps, replicate_segmentation, stored_maps
from reprood.evaluate.metrics import METRICS, auroc, rank
from reprood.evaluate.misclassification import ERRORS, answered, errs, replicate_misclassification
from reprood.evaluate.open_set import replicate_open_set
from reprood.evaluate.outputs import has_logits, load_outputs
from reprood.evaluate.predictions import PREDICTIONS
from reprood.evaluate.resample import Replicates, ensemble, replicate_detection, replicate_errors
from reprood.evaluate.results import StoredRuns, scores_of
from reprood.evaluate.table import (
    GATE,
    Predictions,
    base_rate,
    stored_answers,
    threshold_of,
)

REPLICATES = 200  # resamplings of the test samples: their variance is known to a tenth


class Evidence(Protocol):
    """Results that a claim can be judged on: a benchmark, a family of benchmarks or a study."""

    @property
    def name(self) -> str:
        """Name of the benchmark, the family or the study."""
        ...

    @property
    def seeds(self) -> Mapping[str, Sequence[int]]:
        """Replicates of each method."""
        ...

    def measures(self, claim: Claim) -> bool:
        """Return whether the metric and the splits of a claim were measured here."""
        ...

    def obstacle(self, claim: Claim, parts: Sequence[Part], seeds: Sequence[int], label: Callable[[str], str]) -> str:
        """Return why a claim cannot be judged although its metric was measured; empty if it can.

        `label` returns the name of a method for readers.
        """
        ...

    def pairing(self, claim: Claim, part: Part) -> str:
        """Return a name; sides with equal names are paired by replicate. It depends on metric and design alone."""
        ...

    def regime(self, claim: Claim, part: Part, seeds: Sequence[int]) -> Regime | None:
        """Return what tells whether a baseline is representative; None if nothing does."""
        ...

    def steps(self, method: str) -> int | None:
        """Return the number of updates in the last training of a method; None if there is no such number."""
        ...

    def on_split(self, claim: Claim) -> Claim:
        """Return the claim with the split on which it is judged here."""
        ...

    def differences(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences from the most similar of the settings for which the claim is published."""
        ...

    def from_numbers(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences from the settings of the claim's published numbers."""
        ...

    def replicates(
        self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator, seeds: Sequence[int]
    ) -> Replicates:
        """Compute the claim's metric for every side and replicate, on the data and on resampled test samples."""
        ...


class BenchmarkEvidence(StoredRuns):
    """The stored results of one benchmark's runs, as evidence for claims.

    Parameters
    ----------
    root, name, benchmark, seeds, folders
        As for stored runs.
    substitutes : mapping
        Data set -> title of other data that were used in its place.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        benchmark: Benchmark,
        seeds: Mapping[str, Sequence[int]],
        folders: Folders,
        substitutes: Mapping[str, str],
    ) -> None:
        super().__init__(root, name, benchmark, seeds, folders)
        self.substitutes = substitutes

    def _failed(self, method: str, seeds: Sequence[int]) -> str:
        """Return "classifies ... %" of a method's trainings below the accuracy gate; empty if there are none."""
        pairs = zip(self.seeds[method], self.metrics(method), strict=True)
        closed = [
            seed for seed, table in pairs if seed in seeds and (table.loc[table["metric"] == GATE, "value"] == 0).any()
        ]
        if not closed or self.benchmark.gate is None:
            return ""
        errors = [top_k_error(each.split("test")["label_rank"].to_numpy(), 1) for each in self.only(method, closed)]
        shares = ", ".join(f"{100 - error:.1f} % (seed {seed})" for error, seed in zip(errors, closed, strict=True))
        gate = 100 * self.benchmark.gate.accuracy
        return f"classifies {shares} of the test images correctly, below the accuracy gate of {gate:g} %"

    def _model(self, method: str) -> dict[str, Any]:
        path = self.file(method, self.seeds[method][0], "model.json")
        model = read_json(path)
        for key in ("settings", "backbone"):
            if not isinstance(model, dict) or not isinstance(model.get(key), dict):
                raise ReproodError(f"{path} has no '{key}'; train the run again.")
        training = model["settings"].get("training") or {}
        if not isinstance(training, dict) or not isinstance(training.get("batch_size", 1), int):
            raise ReproodError(f"{path}: settings.training.batch_size is not an integer; train the run again.")
        return dict(model)

    def _run(self, method: str) -> dict[str, Any]:
        path = self.file(method, self.seeds[method][0], "run.json")
        facts = read_json(path)
        if not isinstance(facts, dict) or not isinstance(facts.get("precision"), str):
            raise ReproodError(f"{path} has no 'precision'; train the run again.")
        return dict(facts)

    def data(self) -> str:
        """Return the checksums of the images and labels that its first method was trained on; "" if none are stored."""
        return canonical_json(self._run(next(iter(self.seeds))).get("data") or "").strip('"')

    def steps(self, method: str) -> int | None:
        """Return the number of updates: images of the phase "train" by the batch size; None without such a phase."""
        size = (self._model(method)["settings"].get("training") or {}).get("batch_size")
        images = [phase["images"] for phase in self._run(method).get("phases", ()) if phase["phase"] == "train"]
        return round(sum(images) / size) if size and images else None

    def on_split(self, claim: Claim) -> Claim:
        """Return the claim with the split on which it is judged here."""
        return claim.on(self.benchmark)

    def measurement(self, method: str) -> Measurement:
        """Return the setting of a method's runs."""
        return Measurement(
            self.benchmark,
            self._model(method)["backbone"],
            self._run(method)["precision"],
            substitutes=self.substitutes,
        )

    def differences(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences from the most similar of the settings for which the claim is published."""
        return claim_differences(claim, paper, [(part, self.measurement(part.method)) for part in parts])

    def from_numbers(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences from the settings of the claim's published numbers."""
        return number_differences(claim, paper, [(part, self.measurement(part.method)) for part in parts])

    def scores(self, part: Part) -> list[str]:
        """Return the stored scores that a side names; empty if there are none."""
        known = self.only(part.method, self.seeds[part.method][:1])[0].scores
        if part.score.endswith("*"):
            return [name for name in known if name.startswith(part.score[:-1])]
        return [part.score] if part.score in known else []

    def measures(self, claim: Claim) -> bool:
        """Return whether the metric and the splits of a claim were measured here."""
        if claim.study or not self._labels_fit(claim) or claim.test not in ("", self.benchmark.test.dataset):
            return False
        evaluations = self.benchmark.evaluations
        if claim.metric in LOCALISATION:
            return "localisation" in evaluations
        if claim.metric in SEGMENTATION:
            return "segmentation" in evaluations
        splits = [claim.split_of(side) for side in claim.sides]
        if not all(self._stores(side.score) for side in claim.sides):
            return False
        if claim.metric in CALIBRATION or ERRORS in splits:
            return "classification" in evaluations and set(splits) <= {"test", ERRORS}
        if claim.metric in (*METRICS, *OPEN_SET):
            needed = "open_set" if claim.metric in OPEN_SET else "detection"
            if claim.metric in OPEN_SET and not all(split in self.benchmark.ood for split in splits):
                return False
            return needed in evaluations and all(self.members(split) for split in splits)
        if claim.split == "test":
            return "classification" in evaluations
        return all(matching(self.benchmark, split) for split in splits)

    def _stores(self, score: str) -> bool:
        """Return whether the benchmark asks for a score, if it is a detector's; methods have scores of their own."""
        return score not in detector_names() or score == ALWAYS or score in self.benchmark.detectors

    def _labels_fit(self, claim: Claim) -> bool:
        noise = self.benchmark.label_noise
        if claim.label_noise is None:
            return noise is None
        low, high = claim.label_noise
        return noise is not None and low <= noise.strength <= high

    def obstacle(self, claim: Claim, parts: Sequence[Part], seeds: Sequence[int], label: Callable[[str], str]) -> str:
        """Return the failed gates, or the scores, maps or logits that were not stored; empty without an obstacle."""
        if claim.metric in SEGMENTATION:
            missing = [part.label for part in parts if not all(map(has_maps, self.only(part.method, seeds)))]
            return f"the runs stored no anomaly maps: {', '.join(missing)}" if missing else ""
        if claim.metric in CALIBRATION:
            folders = {p.label: [self.file(p.method, seed, PREDICTIONS).parent for seed in seeds] for p in parts}
            missing = [label for label, runs in folders.items() if not all(map(has_logits, runs))]
            return f"the runs stored no logits: {', '.join(missing)}" if missing else ""
        if claim.metric not in (*METRICS, *OPEN_SET):
            return ""
        methods = dict.fromkeys(part.method for part in parts)
        if failed := [f"{label(method)} {text}" for method in methods if (text := self._failed(method, seeds))]:
            return f"{' and '.join(failed)}, so detection is not judged"
        missing = [part.label for part in parts if not self.scores(part)]
        if missing:
            return f"the runs did not store the score of {', '.join(missing)}"
        if any(part.ensemble for part in parts) and len(seeds) < 2:
            return "an ensemble needs two seeds or more, and here is one"
        if claim.split == ERRORS:
            runs = [predictions for part in parts for predictions in self.only(part.method, seeds)]
            if not all(errs(predictions) for predictions in runs):
                return "some runs classify all test images correctly, or none, so that errors cannot be detected"
        return ""

    def pairing(self, claim: Claim, part: Part) -> str:
        """Return the benchmark, so that all sides are paired, or the method, for errors.

        Arms of a replicate share initialisation, order and augmentation draws. Their AUROCs correlate, their errors do
        not reliably, and a paired interval has half the degrees of freedom.
        """
        return part.method if claim.metric in (ERROR, *LOCALISATION) else self.name

    def regime(self, claim: Claim, part: Part, seeds: Sequence[int]) -> Regime:
        """Return AUROC or error of a baseline, and its final training losses if they have a bound."""
        gate = self.benchmark.gate or Gate()
        losses = () if gate.loss is None else tuple(self.final_loss(part.method, seed) for seed in seeds)
        if claim.metric in CALIBRATION:
            claim = claim.model_copy(update={"metric": ERROR})
        if claim.metric in PLAIN:
            alone = self.replicates(claim, [part], np.random.default_rng(0), seeds).observed[0]
            labels = self.only(part.method, seeds[:1])[0].split("test")["label"]
            return Regime(tuple(map(float, alone)), losses, gate, int(labels.nunique()))
        if (part.split or claim.split) == ERRORS:
            runs = [answered(predictions, part.score).ranking() for predictions in self.only(part.method, seeds)]
            return Regime(tuple(float(auroc(ranking.counts())) for ranking in runs), losses, gate)
        name, sets = self.best(part, claim, seeds), self.members(part.split or claim.split)
        values = []
        for predictions in self.only(part.method, seeds):
            scores = scores_of(predictions, name, sets)
            ranked = [rank(scores.in_distribution, others).counts() for others in scores.outliers.values()]
            values.append(float(np.mean([auroc(counts) for counts in ranked])))
        return Regime(tuple(values), losses, gate)

    def final_loss(self, method: str, seed: int) -> float:
        """Return the training loss of a run's last epoch."""
        path = self.file(method, seed, "history.csv")
        try:
            losses = pd.read_csv(path, usecols=["train_loss"])["train_loss"].dropna().astype(float)
        except (OSError, ValueError) as error:
            raise ReproodError(f"{path} has no readable 'train_loss' ({error}); train the run again.") from error
        if losses.empty:
            raise ReproodError(f"{path} has no training loss; train the run again, or remove the bound gate.loss.")
        return float(losses.iloc[-1])

    def replicates(
        self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator, seeds: Sequence[int]
    ) -> Replicates:
        """Compute the claim's metric for every side and seed, on the data and on resampled test samples."""
        runs = [self.only(part.method, seeds) for part in parts]
        pairs = list(zip(parts, runs, strict=True))
        if claim.metric in SEGMENTATION:
            names = ("test", *self.benchmark.ood)
            maps = [[stored_maps(p, names) for p in some] for some in runs]
            return replicate_segmentation(maps, claim.metric, generator, REPLICATES)
        if claim.metric in PLAIN:
            errors = [
                np.stack([self._errors(p, claim.metric, s.split or claim.split) for p in some]) for s, some in pairs
            ]
            return replicate_errors(errors, generator, REPLICATES)
        if claim.metric in CALIBRATION:
            confidences = [
                [self._confidence(p, s, seed) for p, seed in zip(some, seeds, strict=True)] for s, some in pairs
            ]
            return replicate_calibration(confidences, claim.metric, generator, REPLICATES)
        if claim.split == ERRORS:
            detected = [[answered(p, s.score) for p in some] for s, some in pairs]
            return replicate_misclassification(detected, claim.metric, generator, REPLICATES)
        if claim.metric in OPEN_SET:
            answers = [[stored_answers(p, s.score, s.split or claim.split) for p in some] for s, some in pairs]
            threshold = threshold_of(answers[0][0].classes, self.benchmark)
            return replicate_open_set(answers, claim.metric, generator, REPLICATES, threshold)
        sets = [self.members(part.split or claim.split) for part in parts]
        every = tuple(dict.fromkeys(name for names in sets for name in names))
        arms = [[scores_of(p, self.best(s, claim, seeds), every) for p in some] for s, some in pairs]
        arms = [ensemble(runs) if part.ensemble else runs for part, runs in zip(parts, arms, strict=True)]
        rates = [base_rate(self.benchmark, part.split or claim.split) for part in parts]
        return replicate_detection(arms, claim.metric, generator, REPLICATES, sets, rates)

    def _confidence(self, predictions: Predictions, part: Part, seed: int) -> Confidence:
        """Return the confidence of a run, with the temperature that its score asks for."""
        folder = self.file(part.method, seed, PREDICTIONS).parent
        return confidence_of(predictions, load_outputs(folder, features=False), part.score)

    def _errors(self, predictions: Predictions, metric: str, split: str) -> np.ndarray:
        """Return the error of each test image in percent, mean over the conditions of `split`."""
        if metric in LOCALISATION:
            return np.asarray(100.0 * localisation_outcomes(predictions.split("test"))[metric])
        return self.errors(predictions, split)

    def best(self, part: Part, claim: Claim, seeds: Sequence[int]) -> str:
        """Return a side's score; of several, the best in hindsight by its mean over seeds and sets."""
        names = self.scores(part)
        if len(names) == 1:
            return names[0]
        split, sign = part.split or claim.split, 1 if claim.better == "higher" else -1
        members, rate = self.members(split), base_rate(self.benchmark, split)

        def value(name: str) -> float:
            arm = [scores_of(p, name, members) for p in self.only(part.method, seeds)]
            found = replicate_detection([arm], claim.metric, np.random.default_rng(0), 2, base_rates=[rate])
            return sign * float(found.observed[0].mean())

        return max(names, key=value)
