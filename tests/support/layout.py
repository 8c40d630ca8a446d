"""Where the texts of a figure are: outside of the canvas, or on another text."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SLACK = 0.5  # pixels by which boxes may overlap: they contain room above and below the letters


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return the visible texts of a drawn figure with their boxes in pixels, without ticks outside of an axis."""
    figure.canvas.draw()
    unused = set()
    for axes in figure.findobj(Axes):
        hidden = not axes.axison
        for axis in (part for part in axes.findobj(Axis)):
            shown = set() if hidden else set(map(id, axis._update_ticks()))
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if id(tick) not in shown:
                    unused |= {id(tick.label1), id(tick.label2)}
            if hidden:
                unused |= {id(axis.label), id(axis.offsetText)}
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in unused:
            found.append((text.get_text(), text.get_window_extent()))
    return found


def problems(figure: Figure) -> list[str]:
    """Return what is wrong with the texts of a figure: those that leave the canvas, and pairs that overlap."""
    found = texts_of(figure)
    width, height = figure.bbox.width, figure.bbox.height
    wrong = [
        f"{text!r} leaves the canvas"
        for text, box in found
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK
    ]
    for (one, first), (other, second) in combinations(found, 2):
        shared = Bbox.intersection(first, second)
        if shared is not None and shared.width > SLACK and shared.height > SLACK:
            wrong.append(f"{one!r} overlaps {other!r}")
    return wrong
