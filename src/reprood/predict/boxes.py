"""True boxes and boxes of class activation maps as the columns of the predict stage. No torch."""

from collections.abc import Mapping

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.evaluate.localisation import ENDS, iou


def true_boxes(test: Split) -> np.ndarray:
    """Return the true boxes of the test images, rounded to whole pixels.

    Returns
    -------
    int32 array [N, M, 4]
        x0, y0, x1, y1, ends exclusive; M = 1, or the largest number of objects of an image where a data set has several
        (`all_boxes`). Rows of -1: no (further) box.

    Raises
    ------
    ReproodError
        When the split has no boxes.
    """
    if "boxes" not in test.extras:
        raise ReproodError(f"{test.folder} has no boxes; 'localisation' needs a test set of objects with boxes.")
    first = np.asarray(test.extras["boxes"])[:, None]
    return np.asarray(np.rint(test.extras.get("all_boxes", first)), np.int32)


def box_columns(true: np.ndarray, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return boxes as columns of the test rows.

    Parameters
    ----------
    true : int32 array [N, M, 4]
        See `true_boxes`.
    found : mapping
        Name, such as "cam" -> int32 array [N, 4].

    Returns
    -------
    dict of array [N]
        `box_x0` and so on of the first true box, `<name>_x0` and so on (int32); if an image has several true boxes also
        `iou_<name>` (float64): the largest overlap of one of them with the box found, since finding one of the objects
        is enough.
    """
    named = {"box": true[:, 0], **found}
    columns = {f"{name}_{end}": values[:, place] for name, values in named.items() for place, end in enumerate(ENDS)}
    if true.shape[1] > 1:
        for name, values in found.items():
            overlaps = [iou(true[:, place], values) for place in range(true.shape[1])]
            columns[f"iou_{name}"] = np.max(overlaps, axis=0)
    return columns
