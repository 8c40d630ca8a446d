"""Boxes and their overlap."""

import numpy as np


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Overlap of boxes [N, 4] (x0, y0, x1, y1; ends exclusive): intersection over union [N]."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=1)
    sizes = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (first, second)]
    union = sizes[0] + sizes[1] - inner
    return np.asarray(np.divide(inner, union, out=np.zeros(len(first)), where=union > 0))
