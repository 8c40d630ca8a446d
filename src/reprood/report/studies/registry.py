"""Find what a report shows of a study, in `reprood/report/studies/<study>.py`.

`draw(rows, arrays)` draws its figure. Optional: `conclude(rows)` returns a sentence on its result, `NAMES` the names of
its arms for readers and `METRICS` those of its metrics.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reprood.core.registry import available, load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def drawings() -> tuple[str, ...]:
    """Return the names of the studies that have a figure, without importing matplotlib."""
    return available("report/studies", "draw")


def drawing(name: str) -> "Callable[..., Figure]":
    """Import the figure of a study and return its function `draw(rows, arrays)`.

    Raises
    ------
    ReproodError
        If the study has no figure; lists those that have one.
    """
    draw: Callable[..., Figure] = load("report/studies", name, "draw")
    return draw


def conclusion(name: str, rows: "pd.DataFrame") -> str:
    """Return what a study found, in one or two sentences from its rows; see `numbers.summary` for those without one."""
    if name in available("report/studies", "conclude"):
        return str(load("report/studies", name, "conclude")(rows))
    from reprood.report.studies.numbers import summary

    arms, metrics = words(name)
    return summary(rows, arms, metrics)


def words(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of a study's arms and metrics for readers; those without one are left out."""
    found = [
        load("report/studies", name, part) if name in available("report/studies", part) else {}
        for part in ("NAMES", "METRICS")
    ]
    return found[0], found[1]
