"""Shared style of all figures; the same figure always gives the same bytes."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reprood.core.files import atomic_path
from reprood.report.palette import PALETTE as PALETTE

ID_COLOUR, OOD_COLOURS = "#0072B2", {"near": "#D55E00", "far": "#E69F00", "noise": "#999999", "style": "#009E73"}

OTHER: dict[str, Any] = {"color": "#8f959c", "linestyle": "-", "linewidth": 0.7, "zorder": 1.5}  # not highlighted

PLACE = re.compile(r' (?:d|x|y|width|height)="[^"]*"|translate\([^)]*\)')
NUMBER = re.compile(r"-?\d+\.\d{3,}")
CLIP = re.compile(r'(?<=id=")p[0-9a-f]{10}(?=")|(?<=url\(#)p[0-9a-f]{10}(?=\))')
RULES: Any = {
    "svg.hashsalt": "reprood",
    "text.parse_math": False,  # a '$' in a label is a dollar
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}


def colour_of(place: int) -> str:
    """Return the colour at a position of the palette."""
    return PALETTE[place % len(PALETTE)]


def line_of(place: int) -> dict[str, Any]:
    """Return colour and dashes of a line; the second half of the palette is dashed, to differ without colour."""
    return {"color": colour_of(place), "linestyle": "-" if place < len(PALETTE) // 2 else (0, (4, 1.2))}


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name, in order (for figures without methods of a suite)."""
    return {name: colour_of(place) for place, name in enumerate(names)}


def notice(text: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = new_figure(7.2, 0.8)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color="#555555")
    return figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure in the shared style; sizes in inches."""
    mpl.rcParams.update(RULES)
    return plt.figure(figsize=(width, height))


def log_scale(axes: Axes, subs: Sequence[int] = (1,)) -> None:
    """Give the y axis a logarithmic scale with plain numbers as labels, because formulas are not parsed."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: np.format_float_positional(value, trim="-")))
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend_columns(names: Sequence[str], width: float, size: float = 7) -> int:
    """Return how many columns of a legend fit in a width in inches; names in the font of the figures."""
    font = FontProperties(family="DejaVu Sans")
    widest = max((TextPath((0, 0), line, size=size, prop=font).get_extents().width for name in names
                  for line in name.split("\n")), default=1.0)  # fmt: skip
    handle = 5.2 * size  # line, gap to the text and gap to the next column
    return max(1, min(len(names), int((72 * width - 10) // (widest + handle))))


def legend_height(names: Sequence[str], width: float) -> float:
    """Return the height in inches that `legend_below` needs."""
    folded = [_folded(name, width) for name in names]
    rows = -(-len(names) // legend_columns(folded, width)) if names else 0
    return 0.16 * rows * max((name.count("\n") + 1 for name in folded), default=0) + 0.12


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Draw a legend below the axes, with as many columns as fit and names that are too long folded."""
    width = float(figure.get_figwidth())
    folded = [_folded(name, width) for name in names]
    if folded:
        figure.legend(handles, folded, loc="outside lower center", ncols=legend_columns(folded, width))


def entries(labels: Sequence[str], handles: Sequence[Artist], names: Sequence[str]) -> tuple[list[Artist], list[str]]:
    """Return the entries of a legend, with all names that are not among the highlighted `labels` in one at the end."""
    chosen = [(handle, name) for handle, name in zip(handles, names, strict=True) if name in labels]
    rest = [(handle, name) for handle, name in zip(handles, names, strict=True) if name not in labels]
    if rest:
        chosen.append((rest[0][0], "others: " + "; ".join(name for _, name in rest)))
    return [handle for handle, _ in chosen], [name for _, name in chosen]


def _folded(name: str, width: float) -> str:
    return textwrap.fill(name, int(15 * (width - 0.6)))


def save(figure: Figure, svg: Path, png: Path | None) -> None:
    """Write a figure as SVG, and as PNG if it has a name, without dates or versions in them, and close it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    with atomic_path(svg) as temporary:
        temporary.write_text(normalised(text.getvalue()), encoding="utf-8")
    if png is not None:
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
    plt.close(figure)


def normalised(svg: str) -> str:
    """Return an SVG text without what differs from run to run: the last digits of coordinates and hashed names.

    Coordinates are cut to hundredths of a point, with an offset so that round numbers do not lie on an edge; names of
    clipping rectangles, which are hashes of all digits, become numbers.
    """
    names: dict[str, str] = {}

    def cut(number: re.Match[str]) -> str:
        return f"{math.floor(100 * float(number[0]) + 0.37) / 100:.2f}"

    text = PLACE.sub(lambda place: NUMBER.sub(cut, place[0]), svg)
    return CLIP.sub(lambda name: names.setdefault(name[0], f"clip{len(names)}"), text)
