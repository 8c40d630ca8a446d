"""Find the figure of a study: the function `draw(rows, arrays)` in `reprood/report/studies/<study>.py`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reprood.core.registry import available, load

if TYPE_CHECKING:
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
