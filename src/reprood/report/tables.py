"""The tables of a benchmark, each in four forms: records for the page, CSV, Markdown and LaTeX (booktabs)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reprood.errors import ReproodError
from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.table import groups
from reprood.files import atomic_path
from reprood.report import words
from reprood.report.results import BenchmarkResults

LATEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "–": "--", "−": "$-$", "±": r"$\pm$", "@": "@"}
)


@dataclass(frozen=True)
class Cell:
    """A number with its interval, or a text.

    Attributes
    ----------
    text : str
        What is shown.
    interval : str
        In brackets, smaller; may be empty.
    value : float or None
        What sorting uses.
    """

    text: str
    interval: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table: caption, column heads, rows of cells (the first cell names the row)."""

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def _measured(metric: str, found: Interval) -> Cell:
    value, low, high = (words.percent(metric, v) for v in (found.estimate, found.low, found.high))
    low, high = max(low, 0.0), min(high, 100.0)  # a t interval may reach beyond the metric's range
    return Cell(words.number(value), words.interval(low, high), value)


def _plain(metric: str, values: Sequence[float]) -> Cell:
    if not len(values):
        return Cell("–")
    value = words.percent(metric, float(sum(values) / len(values)))
    return Cell(words.number(value), "", value)


def classification(results: BenchmarkResults) -> Table:
    """Top-1 error with its interval (last epoch), the best-epoch convention beside it, top-5, calibration."""
    rows = []
    for method in results.methods:
        best = results.best_error(method)
        rows.append(
            (
                Cell(results.label(method)),
                _measured("top1_error", results.error_interval(method)),
                Cell(words.number(best), "", best),
                _plain("top5_error", results.values(method, "top5_error").tolist()),
                _plain("ece15", results.values(method, "ece15").tolist()),
                Cell(str(len(results.seeds(method)))),
            )
        )
    head = (
        "method", words.METRICS["top1_error"], "top-1 error at the best recorded test epoch, %",
        words.METRICS["top5_error"], words.METRICS["ece15"], "seeds",
    )  # fmt: skip
    caption = (
        "Classification of in-distribution test images, mean over seeds, 95 % intervals over test samples and seeds. "
        "Results are of the last epoch; the best test epoch is a convention of some papers, shown for comparison and "
        "never used."
    )
    return Table("classification", caption, head, tuple(rows))


def _shown_scores(results: BenchmarkResults, method: str) -> list[str]:
    """Scores in the detection table."""
    return results.scores(method)


def detection(results: BenchmarkResults) -> Table:
    """Every method x score: AUROC on natural sets with interval, both FPR@95 conventions, each OOD set's AUROC."""
    natural = "mean_natural" if "mean_natural" in groups(results.benchmark) else "mean_all"
    rows = []
    for method in results.methods:
        if not results.passed(method):
            rows.append(
                (Cell(results.label(method)), Cell("accuracy gate failed"), *(Cell("–"),) * 5, *_blanks(results))
            )
            continue
        for score in _shown_scores(results, method):
            rows.append(
                (
                    Cell(results.label(method)),
                    Cell(words.score(score)),
                    _measured("auroc", results.detection_interval(method, "auroc", natural, score)),
                    _plain("auroc", results.values(method, "auroc", "mean_all", score).tolist()),
                    _plain("fpr95_id_positive", results.values(method, "fpr95_id_positive", natural, score).tolist()),
                    _plain("fpr95_ood_positive", results.values(method, "fpr95_ood_positive", natural, score).tolist()),
                    _plain("aupr_out", results.values(method, "aupr_out", natural, score).tolist()),
                    *(
                        _plain("auroc", results.values(method, "auroc", n, score).tolist())
                        for n in results.benchmark.ood
                    ),
                )
            )
    where = words.split(natural)
    head = (
        "method", "score", f"AUROC, %, {where}", "AUROC, %, mean of all sets", f"FPR@95 (ID positive), %, {where}",
        f"FPR@95 (OOD positive), %, {where}", f"AUPR-out (OOD positive), %, {where}",
        *(f"AUROC, %, {words.split(name)} ({outlier.shift})" for name, outlier in results.benchmark.ood.items()),
    )  # fmt: skip
    caption = (
        "Detection of OOD images, mean over seeds; intervals as above. FPR@95 (ID positive): share of OOD images "
        "accepted when 95 % of ID images are; (OOD positive): share of ID images rejected when 95 % of OOD images are. "
        "AUPR depends on the ratio of ID to OOD images."
    )
    return Table("detection", caption, head, tuple(rows))


def _blanks(results: BenchmarkResults) -> tuple[Cell, ...]:
    return (Cell("–"),) * len(results.benchmark.ood)


KINDS: dict[str, Callable[[BenchmarkResults], Table]] = {
    "classification": classification,
    "detection": detection,
}


def frame(table: Table) -> pd.DataFrame:
    """The table as text, intervals in columns of their own."""
    columns: dict[str, list[str]] = {}
    for place, head in enumerate(table.head):
        columns[head] = [row[place].text.replace("−", "-").replace("–", "") for row in table.rows]
        if any(row[place].interval for row in table.rows):
            columns[f"{head}, 95 % interval"] = [row[place].interval.replace("−", "-") for row in table.rows]
    return pd.DataFrame(columns)


def _joined(cell: Cell) -> str:
    return f"{cell.text} {cell.interval}".strip()


def markdown(table: Table) -> str:
    """A pipe table with its caption below."""
    lines = ["| " + " | ".join(table.head) + " |", "|" + " --- |" * len(table.head)]
    lines += ["| " + " | ".join(_joined(cell).replace("|", r"\|") for cell in row) + " |" for row in table.rows]
    return "\n".join([*lines, "", table.caption, ""])


def latex(table: Table) -> str:
    """A booktabs table in a table environment."""
    rows = [" & ".join(_joined(cell).translate(LATEX) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{table.caption.translate(LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
            r"\toprule",
            " & ".join(head.translate(LATEX) for head in table.head) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def write_table(kind: str, results: BenchmarkResults, stem: Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`.

    Raises
    ------
    ReproodError
        For an unknown kind; the known ones are listed.
    """
    if kind not in KINDS:
        raise ReproodError(f"There is no table '{kind}'; known: {', '.join(KINDS)}.")
    table = KINDS[kind](results)
    with atomic_path(stem.with_suffix(".csv")) as temporary:
        frame(table).to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(stem.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    with atomic_path(stem.with_suffix(".tex")) as temporary:
        temporary.write_text(latex(table), encoding="utf-8")
