"""Tables as records for the pages, and as CSV, Markdown and LaTeX (booktabs)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from reprood.audit.explanations import worse_than_chance
from reprood.core.files import atomic_path
from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.directions import lower_is_better
from reprood.report import labels

LATEX = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "–": "--", "−": "$-$", "±": r"$\pm$",
        "†": r"\dag{}", "◇": r"$\diamond$", "<": r"\textless{}", ">": r"\textgreater{}",
    }
)  # fmt: skip


BELOW_CHANCE = "†"  # worse than a guess: an AUROC below 50 %
MARK_EXPLAINED = f"{BELOW_CHANCE}: worse than chance."
SENTENCE = re.compile(r"(?<=[\w)%])\.\s+(?=[A-Z(])")  # where a sentence of a caption ends


@dataclass(frozen=True)
class Cell:
    """A number with its interval, or a text.

    Attributes
    ----------
    text : str
        Displayed text.
    interval : str
        Interval in brackets; may be empty.
    value : float or None
        Value for sorting.
    best : bool
        Whether it is the best of its column.
    group : str
        Letters of its groups: rows that share a letter do not differ significantly; may be empty.
    mark : str
        Symbol after the text, not in CSV files: below chance, or unverified; the caption explains it.
    link : str
        File with the raw numbers behind it, relative to the report's folder; may be empty.
    metric : str
        Metric of a measured number that is compared with others of its column or row; "" for other cells.
    """

    text: str
    interval: str = ""
    value: float | None = None
    best: bool = False
    group: str = ""
    mark: str = ""
    link: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Table:
    """A table: caption, column heads, rows of cells (the first cell names the row).

    With `by_row`, the numbers of a row are compared with each other, otherwise those of a column.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    by_row: bool = False

    def __post_init__(self) -> None:
        """Explain the mark of values below chance in the caption, where one occurs."""
        if any(cell.mark == BELOW_CHANCE for row in self.rows for cell in row) and BELOW_CHANCE not in self.caption:
            object.__setattr__(self, "caption", f"{self.caption} {MARK_EXPLAINED}")

    @property
    def numbers(self) -> tuple[str, ...]:
        """Heads of the columns with numbers, which are right-aligned in every format; text is left-aligned."""
        return tuple(
            head for place, head in enumerate(self.head) if any(row[place].value is not None for row in self.rows)
        )


def measured(metric: str, found: Interval, group: str = "") -> Cell:
    """Return a cell with a metric's mean and interval, in percent."""
    value, low, high = (labels.percent(metric, v) for v in (found.estimate, found.low, found.high))
    low, high = max(low, 0.0), min(high, 100.0)  # a t interval may reach beyond the metric's range
    mark = _mark(metric, found.estimate)
    return Cell(labels.number(value), labels.interval(low, high), value, group=group, mark=mark, metric=metric)


def plain(metric: str, values: Sequence[float]) -> Cell:
    """Return a cell with a metric's mean over seeds in percent; a dash if there are no values."""
    if not len(values):
        return Cell("–")
    mean = float(sum(values) / len(values))
    value = labels.percent(metric, mean)
    return Cell(labels.number(value), "", value, mark=_mark(metric, mean), metric=metric)


def _mark(metric: str, value: float) -> str:
    """Return the symbol of a detector that is worse than chance; empty for any other."""
    return BELOW_CHANCE if worse_than_chance(metric, value) else ""


def linked(table: Table, links: Sequence[str]) -> Table:
    """Return the table with a link in the first cell of each row."""
    rows = tuple((replace(row[0], link=link), *row[1:]) for row, link in zip(table.rows, links, strict=True))
    return replace(table, rows=rows)


def frame(table: Table) -> pd.DataFrame:
    """Return the table as text, with intervals and groups in separate columns."""
    columns: dict[str, list[str]] = {}
    for place, head in enumerate(table.head):
        columns[head] = [row[place].text.replace("−", "-").replace("–", "") for row in table.rows]
        if any(row[place].interval for row in table.rows):
            columns[f"{head}, 95 % interval"] = [row[place].interval.replace("−", "-") for row in table.rows]
        if any(row[place].group for row in table.rows):
            columns[f"{head}, group"] = [row[place].group for row in table.rows]
    return pd.DataFrame(columns)


def _joined(cell: Cell) -> str:
    return " ".join(part for part in (cell.text + cell.mark, cell.interval, cell.group) if part)


def _latex_cell(cell: Cell, best: bool) -> str:
    raised = rf"\textsuperscript{{{cell.group.translate(LATEX)}}}" if cell.group else ""
    text = (cell.text + cell.mark).translate(LATEX)
    text = rf"\textbf{{{text}}}" if best else text
    return f"{text}{raised} {cell.interval.translate(LATEX)}".strip()


def best(cells: Sequence[Cell]) -> str:
    """Return the text of the best number of a column or row; "" without two numbers of one metric.

    Cells whose text is equal to it are all best: they differ by less than what is shown.
    """
    rivals = [cell for cell in cells if cell.metric and cell.value is not None]
    metrics = {cell.metric for cell in rivals}
    if len(rivals) < 2 or len(metrics) > 1:
        return ""
    choose = min if lower_is_better(rivals[0].metric) else max
    return choose(rivals, key=lambda cell: cell.value or 0.0).text


def _no_markup(text: str) -> str:
    """Escape '<', because Markdown may contain HTML."""
    return text.replace("<", "&lt;")


def markdown(table: Table) -> str:
    """Return a pipe table with its caption below."""
    rule = ["---:" if head in table.numbers else "---" for head in table.head]
    rows = [list(table.head), rule, *([_joined(cell) for cell in row] for row in table.rows)]
    lines = ["| " + " | ".join(_no_markup(text).replace("|", r"\|") for text in row) + " |" for row in rows]
    return "\n".join([*lines, "", _no_markup(table.caption), ""])


def latex(table: Table, label: str = "") -> str:
    """Return a booktabs table in a table environment, with the best number of each column, or row, in bold.

    The caption is the first sentence of the table's; the others are comments above, for the text of a paper.

    Parameters
    ----------
    table : Table
    label : str
        What follows "tab:" in the label; default: the table's name.
    """
    text = table.caption.replace(f" {MARK_EXPLAINED}", "")
    caption, *notes = SENTENCE.split(text.strip())
    if text != table.caption:
        caption += f" ({MARK_EXPLAINED.rstrip('.')})"
    columns = [best(column) for column in zip(*table.rows, strict=True)]
    rows = []
    for row in table.rows:
        tops = [best(row)] * len(row) if table.by_row else columns
        cells = (_latex_cell(cell, bool(cell.metric) and cell.text == top) for cell, top in zip(row, tops, strict=True))
        rows.append(" & ".join(cells))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            *(f"% {note.translate(LATEX).rstrip('.')}." for note in notes),
            r"\begin{table}",
            rf"\caption{{{caption.rstrip('.').translate(LATEX)}.}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', label or table.name)}}}",
            rf"\begin{{tabular}}{{{''.join('r' if head in table.numbers else 'l' for head in table.head)}}}",
            r"\toprule",
            " & ".join(head.translate(LATEX) for head in table.head) + r" \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def write_forms(table: Table, stem: Path) -> None:
    """Write a table as `<stem>.csv`, `.md` and `.tex`; the label in LaTeX has the names of the folder and the file."""
    with atomic_path(stem.with_suffix(".csv")) as temporary:
        frame(table).to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(stem.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    with atomic_path(stem.with_suffix(".tex")) as temporary:
        temporary.write_text(latex(table, f"{stem.parent.name}-{stem.name}"), encoding="utf-8")
