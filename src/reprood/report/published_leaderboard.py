"""The table that puts a benchmark's numbers next to a published leaderboard."""

import numpy as np

from reprood.config.leaderboard import ACCURACY, Column, Entry, Leaderboard
from reprood.report import labels
from reprood.report.formats import Cell, Table
from reprood.report.results import BenchmarkResults

ABSENT = "not measured here"


def published_leaderboard(results: BenchmarkResults) -> Table:
    """Make the table: for every column the published value and ours, mean and standard deviation over trainings.

    Raises
    ------
    ValueError
        For a benchmark without a leaderboard.
    """
    board = results.benchmark.leaderboard
    if board is None:
        raise ValueError(f"{results.name} has no leaderboard")
    head = ["row"]
    for column in board.columns:
        head += [f"{column.title}, published", f"{column.title}, here"]
    rows = tuple(_row(results, board, entry) for entry in board.rows)
    caption = f"{board.title}: {board.setting}. Values in percent ± standard deviation; published ones: {board.source}."
    return Table("published_leaderboard", caption, tuple(head), rows)


def _row(results: BenchmarkResults, board: Leaderboard, entry: Entry) -> tuple[Cell, ...]:
    cells = [Cell(entry.name)]
    for index, column in enumerate(board.columns):
        value, spread = entry.values[index], entry.spread[index] if entry.spread else None
        cells.append(Cell("–") if value is None else Cell(_number(value, spread), "", value))
        found = _measured(results, entry, column)
        if found.size == 0:
            cells.append(Cell(ABSENT))
        else:
            spread = float(found.std(ddof=1)) if found.size > 1 else None
            cells.append(Cell(_number(float(found.mean()), spread), "", float(found.mean())))
    return tuple(cells)


def _measured(results: BenchmarkResults, entry: Entry, column: Column) -> np.ndarray:
    """Return our values of a row and column in percent, one for each replicate; none if the suite does not run it."""
    accuracy = column.metric == ACCURACY
    metric, score = ("top1_error", "-") if accuracy else (column.metric, entry.score)
    values = results.values(entry.method, metric, column.split, score)
    values = np.array([labels.percent(metric, float(value)) for value in values])
    return 100 - values if accuracy else values


def _number(value: float, spread: float | None) -> str:
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"
