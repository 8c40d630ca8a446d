"""Test images in figures."""

import numpy as np
from matplotlib.axes import Axes


def picture(axis: Axes, image: np.ndarray) -> None:
    """Show a uint8 image [H, W, C], grey or colour, without axes and without interpolation."""
    shown = image[..., 0] if image.shape[2] == 1 else image
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def shown_rows(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of `count` images, taken from the labels in turn, sorted."""
    by_label = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    turns = [rows[turn] for turn in range(max(map(len, by_label))) for rows in by_label if turn < len(rows)]
    return np.sort(np.array(turns[:count], dtype=int))
