"""Names of the files that the stages write."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reprood.core.names import EVALUATED_FILES as EVALUATED_FILES
from reprood.core.names import MODEL_FILES as MODEL_FILES

if TYPE_CHECKING:
    from reprood.config.folders import Folders

SPLIT_FILES = ("images.npy", "labels.npy", "extras.npz", "meta.json")
PREDICTED_FILES = ("predictions.parquet", "features.safetensors")
STUDY_FILES = ("values.csv", "arrays.npz")


def within(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return files of one folder."""
    return [folder / name for name in names]


def of_splits(folder: Path, splits: Iterable[str]) -> list[Path]:
    """Return the files of some splits of a benchmark."""
    return [folder / split / name for split in splits for name in SPLIT_FILES]


def of_runs(root: Path, folders: "Folders", jobs: Iterable[tuple[str, str, int]], *names: str) -> list[Path]:
    """Return the named files of some runs (benchmark, method, seed) of a checkout or a release."""
    return [root / folders.file(benchmark, method, seed, name) for benchmark, method, seed in jobs for name in names]


def resume_key(settings: str, code: str) -> str:
    """Return the name of the folder of a job's checkpoints: edited code or settings never resume an old state."""
    return hashlib.sha256(f"{code} {settings}".encode()).hexdigest()[:16]
