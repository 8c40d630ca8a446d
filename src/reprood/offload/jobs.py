"""A training or a prediction as something that can be done elsewhere, and how it is told from another one.

Only the standard library: both sides import this module.
"""

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reprood.core.files import canonical_json

FORMAT = 1
TRAINED = ("model.safetensors", "model.json", "history.csv", "run.json")
PREDICTED = ("predictions.parquet",)
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes
    ----------
    kind : {"train", "predict"}
    benchmark, method, seed : str, str, int
        The run.
    arguments : tuple of str
        The command line after `reprood`, as Snakemake would run it.
    settings : str
        The value of `--settings`.
    code : str
        Fingerprint of the code.
    data : dict
        Split -> content hash, of every split that the job reads.
    cost : float
        Expected work in floating-point operations; only for the order and for estimates of time.
    """

    kind: str
    benchmark: str
    method: str
    seed: int
    arguments: tuple[str, ...]
    settings: str
    code: str
    data: Mapping[str, str]
    cost: float = 0.0

    @property
    def run(self) -> str:
        """benchmark/method/seed."""
        return f"{self.benchmark}/{self.method}/{self.seed}"

    @property
    def name(self) -> str:
        """Kind and run, for messages."""
        return f"{self.kind} {self.run}"

    @property
    def files(self) -> tuple[str, ...]:
        """What the job writes, below the checkout."""
        return tuple(f"runs/{self.run}/{name}" for name in (TRAINED if self.kind == "train" else PREDICTED))

    @property
    def log(self) -> str:
        """Its log, below the checkout."""
        return f"logs/{self.kind}/{self.run}.log"

    @property
    def state(self) -> str:
        """Folder of a training's checkpoints, below the checkout (as `reprood train` names it)."""
        return f"state/train/{self.run}/{hashlib.sha256(f'{self.code} {self.settings}'.encode()).hexdigest()[:16]}"

    @property
    def identity(self) -> str:
        """What makes it this job: settings, code and data; neither its cost nor where it runs."""
        parts = [self.kind, self.run, self.settings, self.code, dict(self.data)]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def job_of(record: Mapping[str, Any]) -> Job:
    """The job of a record."""
    return Job(**{**record, "arguments": tuple(record["arguments"])})


def difference(there: Job, here: Job) -> str:
    """In words, why two jobs of one name are not the same; "" when they are."""
    if there.code != here.code:
        return f"its code has changed (fingerprint {there.code} there, {here.code} here)"
    if there.settings != here.settings:
        return "its settings have changed"
    other = sorted(name for name in {*there.data, *here.data} if there.data.get(name) != here.data.get(name))
    if other:
        return f"its data differ (split {', '.join(other)})"
    return ""


def chosen(run: str, patterns: Sequence[str]) -> bool:
    """Whether a run (benchmark/method/seed) is meant: no patterns mean all; a bare name is a benchmark or a method."""
    parts = run.split("/")
    return not patterns or any(
        fnmatch.fnmatchcase(run, pattern) or any(fnmatch.fnmatchcase(part, pattern) for part in parts[:2])
        for pattern in patterns
    )


@dataclass(frozen=True)
class Done:
    """What is known of a job that was begun elsewhere; stored in `records/<kind>.<benchmark>.<method>.<seed>.json`.

    Attributes
    ----------
    identity : str
        Of the job.
    status : {"done", "failed", "stopped"}
    visits : tuple of int
        The visits in which it ran.
    seconds : float
        Time over all visits.
    files : dict
        Name -> SHA-256 of what it wrote.
    model : str
        SHA-256 of the weights that a prediction was made with.
    reason : str
        Last words of a failed job.
    """

    identity: str
    status: str
    visits: tuple[int, ...] = ()
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    reason: str = ""


def record_path(folder: Path, job: Job) -> Path:
    """Where the record of a job lies."""
    return folder / "records" / f"{job.kind}.{job.benchmark}.{job.method}.{job.seed}.json"


def done_of(record: Mapping[str, Any]) -> Done:
    """The object of a stored record."""
    return Done(**{**record, "visits": tuple(record["visits"])})
