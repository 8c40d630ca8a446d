"""Localisation outcomes of each test image, from the boxes that the predict stage stored. No torch."""

import numpy as np
import pandas as pd

from reprood.core.errors import ReproodError
from reprood.evaluate.localisation import iou

ENDS = ("x0", "y0", "x1", "y1")
THRESHOLD = 0.5  # of the overlap (CutMix, appendix B)


def _boxes(test: pd.DataFrame, name: str) -> np.ndarray:
    columns = [f"{name}_{end}" for end in ENDS]
    lacking = [column for column in columns if column not in test]
    if lacking:
        raise ReproodError(f"The predictions lack the boxes {', '.join(lacking)}; run the predict stage again.")
    return test[columns].to_numpy(dtype=np.float64)


def localisation_outcomes(test: pd.DataFrame) -> dict[str, np.ndarray]:
    """What localisation comes to for each test image.

    Parameters
    ----------
    test : DataFrame
        The rows of the test split, with the true box (`box_*`) and those of the class activation maps of the predicted
        (`cam_*`) and of the right class (`cam_true_*`).

    Returns
    -------
    dict
        localisation_error [N]: 1 where the class is wrong or the overlap of the predicted class' box is not above 0.5;
        gt_localisation_error [N]: 1 where the overlap of the right class' box is not above 0.5; mean_iou [N]: overlap
        of the right class' box.
    """
    true = _boxes(test, "box")
    right = test["label_rank"].to_numpy() == 0
    found = iou(true, _boxes(test, "cam"))
    known = iou(true, _boxes(test, "cam_true"))
    return {
        "localisation_error": 1.0 - (right & (found > THRESHOLD)),
        "gt_localisation_error": 1.0 - (known > THRESHOLD),
        "mean_iou": known,
    }
