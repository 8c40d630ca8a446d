"""Style `posterise`: three levels per channel."""

import numpy as np


def apply(images: np.ndarray) -> np.ndarray:
    """Reduce each channel of uint8 images [N, H, W, C] to the levels 0, 128 and 255."""
    levels = np.array([0, 128, 255], np.uint8)
    return np.asarray(levels[np.minimum(images // 86, 2)])
