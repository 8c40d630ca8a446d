"""The files of a report, and the types of its figures and tables.

The workflow reads this module to know which files to expect, so it imports neither matplotlib nor pandas: the functions
that draw are named as "module:function" and imported by `resolve` when they are needed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import conditions
from reprood.core.registry import load_function

TABLE_FORMS = (".csv", ".md", ".tex")
PHONE = "-phone"  # after the name of a figure: as a phone shows it, in the width PHONE_WIDTH in inches
PHONE_WIDTH = 3.6
ASSETS = ("report.css", "report.js", "search.js")


@dataclass(frozen=True)
class FigureType:
    """A type of figure that a benchmark can have.

    Parameters
    ----------
    name : str
        Name of the file, without its ending.
    title, caption : str
        What the pages show above and below the figure; see `caption_of`.
    draw : str
        "module:function" of a function ``(results) -> Figure``, or ``(results, data) -> Figure`` for a figure that
        shows test images; `results` are a `BenchmarkResults`, `data` is the folder of the data.
    applies : callable
        Whether a benchmark has this figure.
    images : {"", "augmented", "test"}
        Which images the figure shows: none, augmented training images, or test images. Releases omit figures with
        images, and the pages of papers show them as samples.
    needs_ood_sets : bool
        Whether the figure of a benchmark without OOD sets only says so.
    """

    name: str
    title: str
    caption: str
    draw: str
    applies: Callable[[Benchmark], bool]
    images: Literal["", "augmented", "test"] = ""
    needs_ood_sets: bool = False


@dataclass(frozen=True)
class TableType:
    """A type of table that a benchmark can have.

    Parameters
    ----------
    name : str
        Name of the files, without their ending.
    title : str
        Heading on the page of a benchmark.
    make : str
        "module:function" of a function ``(results) -> Table``; the table carries its own caption.
    applies : callable
        Whether a benchmark has this table.
    """

    name: str
    title: str
    make: str
    applies: Callable[[Benchmark], bool]


def _always(benchmark: Benchmark) -> bool:
    """Return True for every benchmark."""
    return True


def _evaluates(evaluation: str) -> Callable[[Benchmark], bool]:
    """Return a predicate: whether a benchmark has an evaluation."""
    return lambda benchmark: evaluation in benchmark.evaluations


# In the order of the pages.
FIGURES = (
    FigureType(
        name="leaderboard",
        title="Which methods differ",
        caption="Means over replicates with 95 % intervals over {covers}. Methods with a dot on the same bar do "
        "not differ significantly; without bars, no two methods differ or none were compared. "
        "The letters are those of the table.",
        draw="reprood.report.leaderboard:draw_leaderboard",
        applies=_always,
    ),
    FigureType(
        name="examples",
        title="What training sees",
        caption="The same training images, and images of the auxiliary set if there is one, as each method augments "
        "them.",
        draw="reprood.report.figures:examples",
        applies=_always,
        images="augmented",
    ),
    FigureType(
        name="curves",
        title="Training curves",
        caption="Mean over replicates; the band spans the lowest to the highest. Methods with mixed labels report the "
        "loss on the mixed labels, which is not comparable with that of the others.",
        draw="reprood.report.figures:curves",
        applies=_always,
    ),
    FigureType(
        name="auroc",
        title="AUROC by score and method",
        caption="Mean over the OOD sets named on the axis. Dots are replicates, bars their means.",
        draw="reprood.report.figures:auroc",
        applies=_evaluates("detection"),
        needs_ood_sets=True,
    ),
    FigureType(
        name="roc",
        title="ROC curves",
        caption="One panel per OOD set. Each method uses its own score, or MSP if it has none. Mean over replicates.",
        draw="reprood.report.figures:roc",
        applies=_evaluates("detection"),
        needs_ood_sets=True,
    ),
    FigureType(
        name="histograms",
        title="Distributions of scores",
        caption="Higher scores mean more in-distribution. First replicate; every histogram has the same area. The "
        "axis of "
        "MSP stretches the values close to 1; its last bin holds everything above 0.99999.",
        draw="reprood.report.figures:histograms",
        applies=_evaluates("detection"),
        needs_ood_sets=True,
    ),
    FigureType(
        name="hardest",
        title="Hardest images",
        caption="Top: ID test images that the leading method rejects most confidently in every seed{first}, with "
        "their class. "
        "Bottom: OOD images that it accepts most confidently, with their data set. The percentage is the share of ID "
        "test images with a lower score, mean over these seeds.",
        draw="reprood.report.hardest:draw_hardest",
        applies=_evaluates("detection"),
        images="test",
        needs_ood_sets=True,
    ),
    FigureType(
        name="maps",
        title="Where images are anomalous",
        caption="Anomaly maps of the first replicate on test images, with the true defect outlined. The colours "
        "range from "
        "the median to the highest value of each method.",
        draw="reprood.report.heat_maps:draw_heat_maps",
        applies=_evaluates("segmentation"),
        images="test",
    ),
    FigureType(
        name="boxes",
        title="Where methods see the object",
        caption="Test images of every class. Solid blue: the true box. Dashed orange: the box of the class activation "
        "map of the predicted class. First replicate. Below each image: the overlap (IoU) of the two boxes.",
        draw="reprood.report.boxes:draw_boxes",
        applies=_evaluates("localisation"),
        images="test",
    ),
    FigureType(
        name="robustness",
        title="Corrupted, attacked, occluded and mixed images",
        caption="Top-1 error on changed copies of the test set; of two mixed images either class is right. Dots are "
        "replicates, bars their means.",
        draw="reprood.report.robustness:draw_robustness",
        applies=lambda benchmark: bool(conditions(benchmark)),
    ),
)

TABLES = (
    TableType("leaderboard", "Leaderboard", "reprood.report.leaderboard:leaderboard", _always),
    TableType(
        "published_leaderboard",
        "Published leaderboard",
        "reprood.report.published_leaderboard:published_leaderboard",
        lambda benchmark: benchmark.leaderboard is not None,
    ),
    TableType("members", "By member", "reprood.report.members:members_table", lambda benchmark: bool(benchmark.family)),
    TableType("classification", "Classification", "reprood.report.tables:classification", _evaluates("classification")),
    TableType(
        "robustness",
        "Robustness",
        "reprood.report.robustness:robustness_table",
        lambda benchmark: bool(conditions(benchmark)),
    ),
    TableType("localisation", "Localisation", "reprood.report.tables:localisation", _evaluates("localisation")),
    TableType("segmentation", "Segmentation", "reprood.report.tables:segmentation", _evaluates("segmentation")),
    TableType("open_set", "Open-set recognition", "reprood.report.tables:open_set", _evaluates("open_set")),
    TableType("detection", "Detection", "reprood.report.tables:detection", _evaluates("detection")),
    TableType("hardest", "Hardest images", "reprood.report.hardest:hardest_table", _evaluates("detection")),
)

FIGURE_TITLES = {one.name: one.title for one in FIGURES}
TABLE_TITLES = {one.name: one.title for one in TABLES}


def figure_types(benchmark: Benchmark) -> list[FigureType]:
    """Return the types of the figures of a benchmark, in the order of the page."""
    return [one for one in FIGURES if one.applies(benchmark)]


def table_types(benchmark: Benchmark) -> list[TableType]:
    """Return the types of the tables of a benchmark, in the order of the page."""
    return [one for one in TABLES if one.applies(benchmark)]


def caption_of(figure: FigureType, benchmark: Benchmark) -> str:
    """Return the caption of a figure: what its intervals cover, and that images of a family are of its first member."""
    return figure.caption.format(covers=benchmark.covers, first=" of the first member" if benchmark.family else "")


def figures_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the names of the figures of a benchmark, in the order of the page."""
    return tuple(one.name for one in figure_types(benchmark))


def drawings_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the names of the SVG files of a benchmark: its figures, and those without images as a phone shows them."""
    narrow = (f"{one.name}{PHONE}" for one in figure_types(benchmark) if not one.images)
    return (*figures_of(benchmark), *narrow)


def tables_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the names of the tables of a benchmark, in the order of the page."""
    return tuple(one.name for one in table_types(benchmark))


def resolve(name: str) -> Callable[..., Any]:
    """Import the function that "module:function" names.

    Examples
    --------
    >>> resolve("reprood.report.contents:resolve").__name__
    'resolve'
    """
    function: Callable[..., Any] = load_function(name)
    return function


def modules_of(names: Iterable[str]) -> list[str]:
    """Return the modules of functions that are named as "module:function", sorted.

    `resolve` hides them from the static import closure of a job, so fingerprints name them as further entries.

    Examples
    --------
    >>> modules_of(["reprood.report.tables:detection", "reprood.report.tables:open_set"])
    ['reprood.report.tables']
    """
    return sorted({name.partition(":")[0] for name in names})


def page_names(papers: Sequence[str], benchmarks: Sequence[str], studies: Sequence[str]) -> list[str]:
    """Return the files of a report's pages, relative to its folder."""
    return [
        "index.html",
        "data.html",
        "environment.html",
        "conventions.html",
        "defects.html",
        *(f"assets/{name}" for name in (*ASSETS, "index.js")),
        *(f"papers/{name}.html" for name in papers),
        *(f"tables/papers/{name}{form}" for name in papers for form in TABLE_FORMS),
        *(f"benchmarks/{name}.html" for name in benchmarks),
        *(f"studies/{name}.html" for name in studies),
    ]
