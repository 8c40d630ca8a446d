"""Figure of the transfer to captioning: test images with the captions of every arm, attention, and scores."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from reprood.report.studies.transfer_figures import COLOURS, SIZES, arms_of, dots, footnotes, name_of, ranked, show
from reprood.report.studies.transfer_figures import NAMES as NAMES
from reprood.report.style import new_figure

METRICS = {
    **{f"bleu{n}": f"BLEU-{n}, %" for n in range(1, 5)},
    "rouge": "ROUGE-L, %", "cider": "CIDEr, times 100", "meteor": "METEOR, %", "exact": "captions without error, %",
    **SIZES,
}  # fmt: skip
SHOWN = ("bleu1", "bleu4", "rouge", "cider")
WIDTH = 62  # characters of a line
MOST_WORDS = 9  # whose attention is drawn


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw images with captions (top), attention at each word of the last arm's first caption, and the scores."""
    arms = arms_of(rows)
    images = arrays["shown"][:3]
    attended = arrays.get(f"attention_{arms[-1]}", np.zeros((0, 1, 1)))
    looks = len(attended) > 0
    heights = [1.25 * len(images), *([1.15] if looks else []), 1.6]
    figure = new_figure(7.2, sum(heights))
    parts = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    pictures(figure.add_subfigure(parts[0]), images, arms, arrays)
    if looks:
        words = str(arrays[f"captions_{arms[-1]}"][0]).split()
        attention(figure.add_subfigure(parts[1]), images[0], words, attended, name_of(arms[-1]))
    panels = figure.add_subfigure(parts[-1]).subplots(1, len(SHOWN))
    for number, (axes, metric) in enumerate(zip(panels, SHOWN, strict=True)):
        dots(axes, rows, metric, METRICS[metric], named=number == 0)
    footnotes(figure, [*arrays.get("notes", ()), *unscored(rows)])
    return figure


def unscored(rows: pd.DataFrame) -> list[str]:
    """Return a sentence on a score that was not computed."""
    return [] if (rows["metric"] == "meteor").any() else ["METEOR: not computed."]


def pictures(part: SubFigure, images: np.ndarray, arms: list[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Draw images below each other, with the true caption and those of every arm to the right."""
    for (left, right), number in zip(
        part.subplots(len(images), 2, width_ratios=(1, 4.6), squeeze=False), range(len(images)), strict=True
    ):
        show(left, images[number])
        captions = [("True", str(arrays["captions_truth"][number]), "#555555")]
        captions += [
            (name_of(arm), str(arrays[f"captions_{arm}"][number]), COLOURS.get(arm, "#555555")) for arm in arms
        ]
        write(right, captions)


def write(axes: Axes, captions: list[tuple[str, str, str]]) -> None:
    """Write captions below each other: name, text, colour; longer ones are cut after one line."""
    axes.set_axis_off()
    for place, (name, text, colour) in enumerate(captions):
        height = 1 - (place + 0.5) / len(captions)
        line = textwrap.shorten(text, WIDTH, placeholder=" ...") or "(no word)"
        axes.text(0, height, name, color=colour, va="center", transform=axes.transAxes)
        axes.text(0.16, height, line, color=colour, va="center", transform=axes.transAxes)


def attention(part: SubFigure, image: np.ndarray, words: list[str], maps: np.ndarray, arm: str) -> None:
    """Draw the attention [words, grid, grid] at the first words of a caption over its image."""
    count = min(len(words), len(maps), MOST_WORDS)
    part.suptitle(f"Attention of the decoder on the first image ({arm})", fontsize=8)
    for axes, word, weights in zip(part.subplots(1, MOST_WORDS), words[:count], maps, strict=False):
        show(axes, image)
        height, width = image.shape[:2]
        axes.imshow(weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), cmap="inferno", alpha=0.6, vmin=0)
        axes.set_title(textwrap.shorten(word, 12, placeholder="...") or word[:10], fontsize=7)
    for axes in part.axes[count:]:
        axes.set_axis_off()


def conclude(rows: pd.DataFrame) -> str:
    """State CIDEr and BLEU-4 of every arm, the highest first, and what was not computed."""
    sentence = (
        f"CIDEr (times 100), by pre-training: {ranked(rows, 'cider')}; BLEU-4 in percent: {ranked(rows, 'bleu4')}"
    )
    return " ".join([f"{sentence}; means over replicates.", *unscored(rows)])
