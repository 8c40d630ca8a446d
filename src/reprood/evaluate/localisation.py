"""Localisation outcomes of each test image, from the boxes that the predict stage stored. No torch."""

import numpy as np
import pandas as pd

from reprood.core.errors import ReproodError

ENDS = ("x0", "y0", "x1", "y1")
THRESHOLD = 0.5  # of the overlap (CutMix, appendix B)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union [N] of boxes [N, 4] (x0, y0, x1, y1; ends exclusive).

    Examples
    --------
    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]]))
    array([0.33333333])
    """
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=1)
    sizes = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = sizes[0] + sizes[1] - inner
    return np.asarray(np.divide(inner, union, out=np.zeros(len(first)), where=union > 0))


def _boxes(test: pd.DataFrame, name: str) -> np.ndarray:
    columns = [f"{name}_{end}" for end in ENDS]
    missing = [column for column in columns if column not in test]
    if missing:
        raise ReproodError(f"The predictions have no boxes {', '.join(missing)}; run the predict stage again.")
    return test[columns].to_numpy(dtype=np.float64)


def overlaps(test: pd.DataFrame, name: str) -> np.ndarray:
    """Return the intersection over union [N] of the true boxes with those called `name`; the largest of several."""
    stored = f"iou_{name}"
    return test[stored].to_numpy(np.float64) if stored in test else iou(_boxes(test, "box"), _boxes(test, name))


def localisation_outcomes(test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the localisation errors and overlaps of each test image.

    Parameters
    ----------
    test : DataFrame
        The rows of the test split, with the true box (`box_*`; -1: none) and those of the class activation maps of the
        predicted (`cam_*`) and of the right class (`cam_true_*`), and the same two of normalised maps (`cam_minmax_*`,
        `cam_true_minmax_*`). If images have several true boxes, also the largest overlap with each of these (`iou_*`).

    Returns
    -------
    dict
        For the images that have a true box, in their order; the others are left out, N is smaller by their number.
        localisation_error [N]: 1 where the class is wrong or the overlap of the predicted class' box is not above 0.5;
        gt_localisation_error [N]: 1 where the overlap of the right class' box is not above 0.5; mean_iou [N]: overlap
        of the right class' box; localisation_error_minmax and gt_localisation_error_minmax [N]: the same errors of the
        boxes of normalised maps, unless the predictions are of a version that did not store them.

    Raises
    ------
    ReproodError
        When there are no boxes.
    """
    test = test.iloc[np.flatnonzero((_boxes(test, "box") >= 0).all(axis=1))]
    if test.empty:
        raise ReproodError("No test image has a true box; remove 'localisation' from the benchmark's evaluations.")
    right = test["label_rank"].to_numpy() == 0
    outcomes: dict[str, np.ndarray] = {}
    for suffix in ("", *(("_minmax",) if f"cam_minmax_{ENDS[0]}" in test else ())):
        known = overlaps(test, f"cam_true{suffix}")
        outcomes[f"localisation_error{suffix}"] = 1.0 - (right & (overlaps(test, f"cam{suffix}") > THRESHOLD))
        outcomes[f"gt_localisation_error{suffix}"] = 1.0 - (known > THRESHOLD)
        if not suffix:
            outcomes["mean_iou"] = known
    return outcomes
