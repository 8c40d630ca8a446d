"""From per-sample predictions to a verdict on each claim, with effect, interval, n and a reason in words.

The effect is a difference of means over seeds. Its interval covers the test samples (bootstrap, paired across methods)
and the training seeds (see `reprood.evaluate.bootstrap.contrast`). A verdict at a reduced scale is never called a
reproduction, and numbers are compared with published ones at the paper's scale only.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.audit.papers import SOURCE_WORDS, Claim, Paper, Side
from reprood.config import Benchmark, Suite
from reprood.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors
from reprood.evaluate.table import GATE, Predictions, groups, load_predictions, read_metrics
from reprood.files import atomic_path, read_json

LEVEL = 0.95
REPLICATES = 1000
REDUCED = "reduced"
NOT_JUDGED = "not judged at this scale"
COLUMNS = (
    "paper", "claim", "statement", "kind", "benchmark", "metric", "split", "first", "second", "value_first",
    "value_second", "effect", "low", "high", "level", "margin", "better", "n_seeds", "n", "n_ood", "scale", "verdict",
    "reason", "published_effect", "published_source",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What a claim's data say.

    Attributes
    ----------
    holds : bool or None
        True: the interval lies where the claim says; False: it lies where the claim denies it; None: neither.
    interval : Interval
        Of first minus second (of the value itself for `equals`).
    sides : (str, str)
        Labels of the two sides.
    values : (float, float)
        Means over seeds of the two sides.
    """

    holds: bool | None
    interval: Interval
    sides: tuple[str, str]
    values: tuple[float, float]


class Evidence:
    """The stored predictions and metrics of one benchmark's runs, read when they are asked for."""

    def __init__(self, runs: Path, name: str, benchmark: Benchmark, seeds: Mapping[str, Sequence[int]]) -> None:
        self.runs, self.name, self.benchmark = runs, name, benchmark
        self.seeds = {method: tuple(values) for method, values in seeds.items()}
        self._loaded: dict[tuple[str, int], Predictions] = {}

    def predictions(self, method: str) -> list[Predictions]:
        """One a seed."""
        for seed in self.seeds[method]:
            if (method, seed) not in self._loaded:
                path = self.runs / self.name / method / str(seed) / "predictions.parquet"
                self._loaded[method, seed] = load_predictions(path)
        return [self._loaded[method, seed] for seed in self.seeds[method]]

    def closed_gates(self, method: str) -> list[int]:
        """Seeds whose accuracy is below the gate."""
        closed = []
        for seed in self.seeds[method]:
            table = read_metrics(self.runs / self.name / method / str(seed) / "metrics.csv")
            if (table.loc[table["metric"] == GATE, "value"] == 0).any():
                closed.append(seed)
        return closed

    def epochs(self, method: str) -> int:
        """Epochs of the method's training."""
        folder = self.runs / self.name / method / str(self.seeds[method][0])
        return int(read_json(folder / "model.json")["settings"]["training"]["epochs"])

    def scores(self, side: Side) -> list[str]:
        """The score names that a side means."""
        known = self.predictions(side.method)[0].scores
        if side.score.endswith("*"):
            found = [name for name in known if name.startswith(side.score[:-1])]
        else:
            found = [side.score] if side.score in known else []
        if not found:
            raise ReproodError(
                f"{self.name}/{side.method} has no score '{side.score}'; it has: {', '.join(known)}. Correct the claim."
            )
        return found

    def replicates(self, claim: Claim, sides: Sequence[Side], generator: np.random.Generator) -> Replicates:
        """The claim's metric of every side and seed, on the data and on resampled test samples."""
        if claim.metric == "top1_error":
            errors = [
                100.0 * np.stack([(p.split("test")["label_rank"] > 0).to_numpy() for p in self.predictions(s.method)])
                for s in sides
            ]
            return replicate_errors(errors, generator, REPLICATES)
        if claim.metric not in METRICS:
            raise ReproodError(
                f"Claim {claim.id}: metric '{claim.metric}' cannot be judged; known: top1_error, {', '.join(METRICS)}."
            )
        members = self.members(claim.split)
        arms = [[self._side_scores(p, self.best(s, claim), members) for p in self.predictions(s.method)] for s in sides]
        return replicate_detection(arms, claim.metric, generator, REPLICATES)

    def members(self, split: str) -> tuple[str, ...]:
        """OOD sets of a split's name: one set, or the members of a mean."""
        if split in self.benchmark.ood:
            return (split,)
        return groups(self.benchmark).get(split, ())

    def best(self, side: Side, claim: Claim) -> str:
        """A side's score; of several the best in hindsight, on the mean over seeds and sets."""
        names = self.scores(side)
        if len(names) == 1:
            return names[0]
        members, sign = self.members(claim.split), 1 if claim.better == "higher" else -1

        def value(name: str) -> float:
            arm = [self._side_scores(p, name, members) for p in self.predictions(side.method)]
            found = replicate_detection([arm], claim.metric, np.random.default_rng(0), 2)
            return sign * float(found.observed[0].mean())

        return max(names, key=value)

    def _side_scores(self, predictions: Predictions, score: str, members: Sequence[str]) -> Scores:
        column = f"score_{score}"
        return Scores(
            predictions.split("test")[column].to_numpy(),
            {name: predictions.split(name)[column].to_numpy() for name in members},
        )


def generator_of(*names: str) -> np.random.Generator:
    """A generator that depends on the names only, so that a verdict does not depend on what else is judged."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))


def compare(claim: Claim, found: Replicates, pair: tuple[int, int], generator: np.random.Generator) -> Interval:
    """Interval of the difference of two sides."""
    weights = [0.0] * len(found.observed)
    weights[pair[0]], weights[pair[1]] = 1.0, -1.0
    # two scores of the same trained models share their seeds
    return contrast(found, weights, generator, LEVEL, trainings=[side.method for side in claim.sides])


def judge(kind: str, interval: Interval, better: str, margin: float) -> bool | None:
    """Does an interval of first minus second lie where the claim says?

    Returns
    -------
    bool or None
        True: wholly inside what the claim allows; False: wholly outside; None: partly.
    """
    low, high = interval.low, interval.high
    if kind == "equivalent":
        return True if -margin < low and high < margin else False if high < -margin or low > margin else None
    if better == "lower":  # turn it over, so that more is better
        low, high = -high, -low
    threshold = margin if kind in ("difference", "ordering") else -margin
    return True if low > threshold else False if high < threshold else None


def find(claim: Claim, paper: Paper, evidence: Evidence) -> Finding:
    """Compute a claim's effect and interval on one benchmark."""
    generator = generator_of(paper.id, claim.id, evidence.name)
    found = evidence.replicates(claim, claim.sides, generator)
    means = [float(values.mean()) for values in found.observed]
    if claim.kind == "equals":
        interval = contrast(found, [1.0], generator, LEVEL)
        published = paper.number(claim.published[0]).value
        inside = published - claim.margin < interval.low and interval.high < published + claim.margin
        outside = interval.high < published - claim.margin or interval.low > published + claim.margin
        holds = True if inside else False if outside else None
        return Finding(holds, interval, (claim.sides[0].label, "published"), (means[0], published))
    steps = []
    for i in range(len(claim.sides) - 1):
        interval = compare(claim, found, (i, i + 1), generator)
        steps.append((judge(claim.kind, interval, claim.better, claim.margin), interval, i))
    # an ordering holds when every step holds, and is denied when one step is; the weakest step is shown
    verdicts = [step[0] for step in steps]
    holds = True if all(v is True for v in verdicts) else False if False in verdicts else None
    _, interval, i = min(steps, key=lambda step: {False: 0, None: 1, True: 2}[step[0]])
    labels = (claim.sides[i].label, claim.sides[i + 1].label)
    return Finding(holds, interval, labels, (means[i], means[i + 1]))


def published_effect(claim: Claim, paper: Paper) -> tuple[float, str]:
    """The published difference of the claim's first two numbers (or the number itself), and where it was read."""
    if not claim.published:
        return math.nan, ""
    numbers = [paper.number(name) for name in claim.published]
    worst = "recalled" if any(n.source == "recalled" for n in numbers) else numbers[0].source
    value = numbers[0].value - numbers[1].value if len(numbers) > 1 else numbers[0].value
    return round(value, 6), f"{numbers[0].where}, {SOURCE_WORDS[worst]}"


def verdict(claim: Claim, paper: Paper, evidence: Evidence, scale: str) -> dict[str, Any]:
    """One row of the verdicts."""
    row: dict[str, Any] = {
        "paper": paper.id,
        "claim": claim.id,
        "statement": claim.statement,
        "kind": claim.kind,
        "benchmark": evidence.name,
        "metric": claim.metric,
        "split": claim.split,
        "margin": claim.margin,
        "better": claim.better,
        "level": LEVEL,
        "scale": scale,
    }
    row["published_effect"], row["published_source"] = published_effect(claim, paper)
    methods = list(dict.fromkeys(side.method for side in claim.sides))
    row |= {"first": claim.sides[0].label, "second": claim.sides[1].label if len(claim.sides) > 1 else "published"}
    row["n_seeds"] = min(len(evidence.seeds[method]) for method in methods)
    closed = {method: evidence.closed_gates(method) for method in methods}
    failed = "; ".join(f"{m} in seed {', '.join(map(str, s))}" for m, s in closed.items() if s)
    if claim.metric in METRICS and not evidence.members(claim.split):
        return row | {"verdict": "inconclusive", "reason": f"the benchmark has no OOD sets for {claim.split}"}
    if claim.metric in METRICS and failed:
        return row | {"verdict": "inconclusive", "reason": f"the accuracy gate failed: {failed}"}
    if claim.kind == "equals" and scale == REDUCED:
        return row | {"verdict": NOT_JUDGED, "reason": "a published value is compared at the paper's scale only"}
    finding = find(claim, paper, evidence)
    row |= {
        "first": finding.sides[0],
        "second": finding.sides[1],
        "value_first": finding.values[0],
        "value_second": finding.values[1],
        "effect": finding.interval.estimate,
        "low": finding.interval.low,
        "high": finding.interval.high,
        "n": finding.interval.n_id,
        "n_ood": finding.interval.n_ood,
    }
    if row["n_seeds"] < claim.min_seeds:
        reason = f"too few seeds: {row['n_seeds']}, and {claim.min_seeds} are needed"
        return row | {"verdict": "inconclusive", "reason": reason}
    short = min(evidence.epochs(method) for method in methods)
    if short < claim.min_epochs and finding.holds is not True:
        reason = f"not testable on this schedule: {short} epochs, and the effect is expected from {claim.min_epochs} on"
        return row | {"verdict": "inconclusive", "reason": reason}
    return row | _words(claim, finding, scale)


def _words(claim: Claim, finding: Finding, scale: str) -> dict[str, str]:
    scale_to_points = 100 if claim.metric in METRICS else 1
    low, high = scale_to_points * finding.interval.low, scale_to_points * finding.interval.high
    where = f"the 95 % interval, {low:.2f} to {high:.2f} points,".replace("-", "\N{MINUS SIGN}")
    bound = {"difference": "the claimed side of", "ordering": "the claimed side of"}.get(claim.kind, "within")
    limit = f"{scale_to_points * claim.margin:g}" if claim.margin else "zero"
    if finding.holds is None:
        return {"verdict": "inconclusive", "reason": f"{where} reaches over {limit}: more seeds or samples are needed"}
    if finding.holds:
        name = "supported at reduced scale" if scale == REDUCED else "reproduced"
        return {"verdict": name, "reason": f"{where} lies on {bound} {limit}".replace("on within", "within")}
    name = "contradicted at reduced scale" if scale == REDUCED else "contradicted"
    return {"verdict": name, "reason": f"{where} lies beyond {limit}, against the claim"}


def audit(
    suite: Suite,
    papers: Sequence[Paper],
    runs: Path,
    out: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Judge every claim on every benchmark that ran its methods, and write `verdicts.csv`.

    Parameters
    ----------
    suite : Suite
        What ran, at which scale.
    papers : sequence of Paper
    runs : Path
        Folder of the runs.
    out : Path
        The CSV file.
    progress : callable
        Told one line a verdict.

    Returns
    -------
    DataFrame
        The rows as written. The same predictions give the same bytes.
    """
    rows = []
    evidence: dict[str, Evidence] = {}
    for name in dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()):
        seeds: dict[str, list[int]] = {}
        for _, method, seed in (job for job in suite.jobs() if job[0] == name):
            seeds.setdefault(method, []).append(seed)
        evidence[name] = Evidence(runs, name, suite.benchmarks[name], seeds)
    for paper in papers:
        for claim in paper.claims:
            methods = {side.method for side in claim.sides}
            fitting = [e for e in evidence.values() if methods <= set(e.seeds)]
            for one in fitting:
                rows.append(verdict(claim, paper, one, suite.scale))
                progress(f"{paper.id}/{claim.id} on {one.name}: {rows[-1]['verdict']}")
            if not fitting:
                rows.append(_not_run(claim, paper, suite, methods))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")
    return table


def _not_run(claim: Claim, paper: Paper, suite: Suite, methods: set[str]) -> dict[str, Any]:
    ran = {method for _, method, _ in suite.jobs()}
    lacking = ", ".join(sorted(methods - ran)) or "these methods on one benchmark"
    effect, source = published_effect(claim, paper)
    return {
        "paper": paper.id, "claim": claim.id, "statement": claim.statement, "kind": claim.kind, "benchmark": "",
        "metric": claim.metric, "split": claim.split, "first": claim.sides[0].label,
        "second": claim.sides[1].label if len(claim.sides) > 1 else "published", "margin": claim.margin,
        "better": claim.better, "level": LEVEL, "n_seeds": 0, "scale": suite.scale, "verdict": "inconclusive",
        "reason": f"not run in this suite: {lacking}", "published_effect": effect, "published_source": source,
    }  # fmt: skip
