"""Reference values computed by the authors' code: where they lie and how they are read."""

import os
from pathlib import Path

import numpy as np
import pytest

GOLDEN_DIR = "REPROOD_GOLDEN_DIR"


def golden_folder() -> Path:
    """REPROOD_GOLDEN_DIR if set, else tests/golden."""
    return Path(os.environ.get(GOLDEN_DIR) or Path(__file__).parents[1] / "golden")


def load(paper: str, name: str) -> dict[str, np.ndarray]:
    """Arrays of `<folder>/<paper>/<name>.npz`; a folder given by hand may lack whole papers, which are then skipped."""
    if os.environ.get(GOLDEN_DIR) and not (golden_folder() / paper).is_dir():
        pytest.skip(f"{golden_folder()} has no values of {paper}")
    with np.load(golden_folder() / paper / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
