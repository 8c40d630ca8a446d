"""Style `invert`: the photographic negative."""

import numpy as np


def apply(images: np.ndarray) -> np.ndarray:
    """Return 255 minus each value of uint8 images [N, H, W, C]."""
    return 255 - images
