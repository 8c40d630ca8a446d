"""Draw all figures and tables of a benchmark; its results are read once."""

from pathlib import Path

from reprood.report.contents import PHONE, PHONE_WIDTH, drawings_of, figures_of, tables_of
from reprood.report.figures import make_figure
from reprood.report.results import BenchmarkResults
from reprood.report.tables import write_table


def draw_benchmark(results: BenchmarkResults, data: Path, out: Path, width: float | None = None) -> None:
    """Write `<out>/figures/<benchmark>/<kind>.svg` and `.png`, `<out>/tables/<benchmark>/<kind>.csv`, `.md`, `.tex`.

    Figures without images are also drawn for a phone, `<kind>-phone.svg`, unless `width` is given.

    Parameters
    ----------
    results : BenchmarkResults
        Results of the benchmark.
    data : Path
        Folder of the data, for figures that show test images.
    out : Path
        Folder of the report.
    width : float, optional
        Width of the figures in inches; default: as the pages show them.
    """
    figures, tables = out / "figures" / results.name, out / "tables" / results.name
    for kind in figures_of(results.benchmark):
        make_figure(kind, results, figures / f"{kind}.svg", figures / f"{kind}.png", data, width)
    for name in drawings_of(results.benchmark) if width is None else ():
        if name.endswith(PHONE):
            make_figure(name.removesuffix(PHONE), results, figures / f"{name}.svg", None, data, PHONE_WIDTH)
    for kind in tables_of(results.benchmark):
        write_table(kind, results, tables / kind)
