"""Style `square`: a square filled with one random colour on every image (CutPaste, Table 6)."""

import numpy as np

from reprood.images.pasted_shapes import paste_shapes, square


def apply(images: np.ndarray) -> np.ndarray:
    """Return images with a square pasted on each, uint8 [N, H, W, C], C = 1 or 3."""
    return paste_shapes(images, square)
