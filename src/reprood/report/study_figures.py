"""The figures of studies, drawn from their stored rows and arrays."""

from pathlib import Path

from reprood.audit.studies import read_study
from reprood.core.errors import ReproodError
from reprood.data.arrays import read_npz
from reprood.report.studies.registry import drawing
from reprood.report.style import save


def draw_study(use: str, folder: Path, svg: Path, png: Path) -> None:
    """Draw a study and write it as SVG and PNG (the same results give the same bytes).

    Raises
    ------
    ReproodError
        If the study has no figure, or its results are missing.
    """
    draw = drawing(use)
    path = folder / "arrays.npz"
    if not path.is_file():
        raise ReproodError(f"{path} does not exist; run the study first.")
    rows, arrays = read_study(folder / "values.csv"), read_npz(path)
    try:
        figure = draw(rows, arrays)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ReproodError(
            f"{folder}: values.csv and arrays.npz do not belong to the study {use} ({type(error).__name__}: {error}); "
            "run it again."
        ) from error
    save(figure, svg, png)
