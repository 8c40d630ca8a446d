"""Figure of the transfer to detection: detections of every arm on test images, and mean average precision."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reprood.report.studies.transfer_figures import NAMES as NAMES
from reprood.report.studies.transfer_figures import SIZES, arms_of, dots, footnotes, name_of, ranked, show
from reprood.report.style import new_figure

DETECTORS = {"ssd": "SSD", "faster_rcnn": "Faster R-CNN"}
KINDS = {"voc_map": "mAP at IoU 0.5, %", "coco_ap": "COCO's mAP, %"}
METRICS = {
    **{f"{key}_voc_map": f"{name}, mAP at IoU 0.5 (Pascal VOC), %" for key, name in DETECTORS.items()},
    **{f"{key}_coco_ap": f"{name}, mAP at IoU 0.5 to 0.95 (COCO), %" for key, name in DETECTORS.items()},
    **SIZES,
}
TRUE, RIGHT, WRONG = "#56B4E9", "#009E73", "#D55E00"
EACH = 2  # images per detector
MOST = 8  # detections that are drawn on an image


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw two test images for each detector, with true boxes and each arm's detections (top), and the numbers."""
    arms = arms_of(rows)
    detectors = [name for name in DETECTORS if f"boxes_{name}_{arms[0]}" in arrays]
    count = min(EACH, len(arrays["shown"]))
    side = 7.2 / (len(arms) + 1.6)
    tall = side * arrays["shown"].shape[1] / arrays["shown"].shape[2] * 1.02
    heights = (tall * count * len(detectors) + 0.5, 1.6)
    figure = new_figure(7.2, sum(heights))
    parts = figure.add_gridspec(2, 1, height_ratios=heights)
    top, bottom = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
    panels = top.subplots(count * len(detectors), len(arms) + 1, squeeze=False)
    for line, (name, image) in zip(panels, [(n, i) for n in detectors for i in range(count)], strict=True):
        truth = boxes_of(arrays["boxes_truth"], image)
        for axes, arm in zip(line, ["", *arms], strict=True):
            show(axes, arrays["shown"][image])
            found = boxes_of(arrays[f"boxes_{name}_{arm}"], image) if arm else truth
            boxes(axes, found, truth, arrays["classes"], detected=bool(arm))
        line[0].set_ylabel(DETECTORS[name], rotation=0, ha="right", va="center")
    for axes, title in zip(panels[0], ["True boxes", *map(name_of, arms)], strict=True):
        axes.set_title(title)
    handles = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour) for colour in (TRUE, RIGHT, WRONG)]
    labels = ["true", "detected (score from 0.5): class and place right", "class or place wrong"]
    top.legend(handles, labels, loc="outside lower center", ncols=3)
    shown = [(name, kind) for name in detectors for kind in KINDS]
    for axes, (name, kind) in zip(bottom.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        label = f"{DETECTORS[name]},\n{KINDS[kind]}"
        dots(axes, rows, f"{name}_{kind}", label, named=(name, kind) == shown[0])
    footnotes(figure, arrays.get("notes", ()))
    return figure


def boxes_of(table: np.ndarray, image: int) -> np.ndarray:
    """Return the rows of an image, the most certain first: label, score, x0, y0, x1, y1."""
    found = table[table[:, 0] == image][:, 1:]
    return np.asarray(found[np.argsort(-found[:, 1], kind="stable")])


def boxes(axes: Axes, found: np.ndarray, truth: np.ndarray, classes: np.ndarray, *, detected: bool) -> None:
    """Draw boxes with the names of their classes; names that would lie on another one are left out."""
    named: list[tuple[float, float]] = []
    bottom, right = axes.get_ylim()[0], axes.get_xlim()[1]
    near = 0.16 * max(bottom, right)
    for label, _, x0, y0, x1, y1 in found[:MOST]:
        colour = TRUE if not detected else RIGHT if matches(truth, label, (x0, y0, x1, y1)) else WRONG
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=0.9))
        name = str(classes[int(label)])
        wide = near * max(1.0, 0.45 * len(name))
        place = (min(x1, right - wide), min(max(y0, near / 2), bottom - near / 2))
        if all(abs(place[0] - x) > wide or abs(place[1] - y) > near for x, y in named):
            named.append(place)
            frame = {"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
            axes.text(*place, name, color="white", fontsize=5.5, ha="left", va="center", bbox=frame)


def matches(truth: np.ndarray, label: float, box: tuple[float, float, float, float]) -> bool:
    """Return whether a true box of the class overlaps by half (intersection over union)."""
    same = truth[truth[:, 0] == label][:, 2:]
    if not len(same):
        return False
    low, high = np.maximum(same[:, :2], box[:2]), np.minimum(same[:, 2:], box[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(same[:, 2:] - same[:, :2], axis=1) + (box[2] - box[0]) * (box[3] - box[1])
    return bool((shared / (area - shared) >= 0.5).any())


def conclude(rows: pd.DataFrame) -> str:
    """State the mean average precision of every arm, the highest first."""
    found = [name for name in DETECTORS if (rows["metric"] == f"{name}_voc_map").any()]
    sentences = [f"{DETECTORS[name]}: {ranked(rows, f'{name}_voc_map')}" for name in found]
    return (
        f"Mean average precision at IoU 0.5 in percent, by pre-training. {'; '.join(sentences)}; means over replicates."
    )
