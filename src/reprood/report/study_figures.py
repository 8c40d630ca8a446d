"""The figures of studies: each study's own drawing, from its stored rows and arrays."""

from pathlib import Path

import numpy as np

from reprood import resolve
from reprood.audit.replicated import read_study
from reprood.errors import ReproodError
from reprood.report.style import save


def draw_study(use: str, folder: Path, svg: Path, png: Path) -> None:
    """Draw a study and write it as SVG and PNG (the same results give the same bytes).

    Raises
    ------
    ReproodError
        When the study has no drawing, or its results are missing.
    """
    draw = resolve.drawing(use)
    path = folder / "arrays.npz"
    if not path.is_file():
        raise ReproodError(f"{path} does not exist; run the study first.")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    save(draw(read_study(folder / "values.csv"), arrays), svg, png)
