"""Fit a figure into the column of a paper: the same size of letters, fewer panels in a row, folded texts."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FixedFormatter

from reprood.core.errors import ReproodError
from reprood.report.style import legend_below, legend_height

PANEL = 1.6  # least width of a panel in inches
NARROWEST, WIDEST = 2.0, 20.0
LETTERS = 14  # per inch, at the size of titles
NAME = 24  # letters of a line of a name on the y axis
SMALL = 5.5


def fit_width(figure: Figure, width: float) -> None:
    """Change a figure to a width in inches; wider ones are only stretched.

    Rows of images are scaled as a whole. Other panels are placed in as many columns as are at least 1.6 inches wide.

    Raises
    ------
    ReproodError
        If the width is not within 2 and 20 inches.
    """
    if not NARROWEST <= width <= WIDEST:
        raise ReproodError(f"A figure of {width:g} inches cannot be drawn; give --width between 2 and 20, such as 3.3.")
    before, height = (float(size) for size in figure.get_size_inches())
    legend = figure.legends[0] if figure.legends else None
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    if width < before and any(axes.images for axes in figure.axes):
        lines = sum(_fold_picture(axes, int(18 * width / _columns(axes))) for axes in figure.axes)
        figure.set_size_inches(width, height * width / before + 0.12 * lines / _columns(figure.axes[0]))
    elif width < before:
        body = height - legend_height(names, before)
        inside = body * _restack(figure, width / before, width)
        names = [" ".join(name.split()) for name in names]
        figure.set_size_inches(width, inside + legend_height(names, width))
        if legend:
            handles = [handle for handle in legend.legend_handles if handle is not None]
            legend.remove()
            legend_below(figure, handles, names)
    else:
        figure.set_size_inches(width, height)


def _restack(figure: Figure, scale: float, width: float) -> float:
    """Place the panels in fewer columns and fold their texts; return by how much the height of all panels grows."""
    panels = [axes for axes in figure.axes if axes.axison]
    first = panels[0].get_gridspec() if panels else None
    if first is None or figure.subfigs:
        for axes in panels:
            _fold(axes, int(LETTERS * width / 2))
        return 1.0
    columns = max(1, min(first.ncols, int(width // PANEL)))
    grown = 1.0
    if columns < first.ncols:
        for unused in [axes for axes in figure.axes if not axes.axison]:
            unused.remove()
        rows = -(-len(panels) // columns)
        grid = GridSpec(rows, columns, figure=figure)
        for place, axes in enumerate(panels):
            axes.set_subplotspec(grid[place // columns, place % columns])
        _label(panels, columns)
        grown = rows / first.nrows * max(0.7, min(1.0, scale * first.ncols / columns))
    for axes in panels:
        _fold(axes, int(LETTERS * width / _columns(axes)) - 4)
    return grown


def _columns(axes: Axes) -> int:
    grid = axes.get_gridspec()
    return grid.ncols if grid is not None else 1


def _fold_picture(axes: Axes, letters: int) -> int:
    """Fold the texts around a picture; return how many lines they have more."""
    axes.yaxis.label.set_text(textwrap.fill(axes.get_ylabel(), NAME * 2 // 3))  # `set_ylabel` would move it
    text = axes.get_xlabel()
    folded = "\n".join(textwrap.fill(line, max(letters, 7)) for line in text.split("\n"))
    axes.xaxis.label.set_text(folded)
    return folded.count("\n") - text.count("\n")


def _label(panels: Sequence[Axes], columns: int) -> None:
    """Label the outer panels like those that were outside before."""
    across = next((axes.get_xlabel() for axes in panels if axes.get_xlabel()), "")
    up = panels[0].get_ylabel()
    shared = len({axes.get_xlabel() for axes in panels}) > 1 or not across
    for place, axes in enumerate(panels):
        lowest = place + columns >= len(panels)
        if lowest and shared and across:
            axes.set_xlabel(across)
        if lowest:
            axes.tick_params(labelbottom=True)
        if place % columns == 0 and not axes.get_ylabel():
            axes.set_ylabel(up)
            axes.tick_params(labelleft=True)


def _fold(axes: Axes, letters: int) -> None:
    """Fold titles, labels, and names on the y axis."""
    for place in ("left", "center"):
        if title := axes.get_title(loc=place):
            axes.set_title(textwrap.fill(title, letters), loc=place)
    axes.set_xlabel(textwrap.fill(axes.get_xlabel(), letters))
    axes.set_ylabel(textwrap.fill(axes.get_ylabel(), NAME))
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    for label, text in zip(axes.get_yticklabels(), ticks, strict=True):
        if len(text) > NAME:  # in small letters: two lines have to fit into one
            label.set_fontsize(SMALL)
            label.set_linespacing(0.9)
    if any(len(text) > NAME for text in ticks):
        folded = [textwrap.fill(text, NAME + 6) if len(text) > NAME else text for text in ticks]
        axes.yaxis.set_major_formatter(FixedFormatter(folded))
