"""Names of the files that the stages write."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

SPLIT_FILES = ("images.npy", "labels.npy", "extras.npz", "meta.json")
MODEL_FILES = ("model.safetensors", "model.json", "history.csv", "run.json")
STUDY_FILES = ("values.csv", "arrays.npz")


def within(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files of one folder."""
    return [folder / name for name in names]


def of_splits(folder: Path, splits: Iterable[str]) -> list[Path]:
    """The files of some splits of a benchmark."""
    return [folder / split / name for split in splits for name in SPLIT_FILES]


def of_runs(runs: Path, jobs: Iterable[tuple[str, str, int]], *names: str) -> list[Path]:
    """The named files of some runs (benchmark, method, seed)."""
    return [runs / benchmark / method / str(seed) / name for benchmark, method, seed in jobs for name in names]


def resume_key(settings: str, code: str) -> str:
    """Return the name of the folder of a job's checkpoints: edited code or settings never resume an old state."""
    return hashlib.sha256(f"{code} {settings}".encode()).hexdigest()[:16]
