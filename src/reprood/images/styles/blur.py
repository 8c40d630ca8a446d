"""Style `blur`: a strong Gaussian blur."""

import numpy as np
from scipy import ndimage


def apply(images: np.ndarray) -> np.ndarray:
    """Blur uint8 images [N, H, W, C] with a standard deviation of H / 12 pixels."""
    sigma = images.shape[1] / 12
    blurred = ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    return np.asarray(np.round(blurred), np.uint8)
