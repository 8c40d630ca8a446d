"""Style `heart`: a heart filled with one random colour on every image (CutPaste, Table 6)."""

import numpy as np

from reprood.images.pasted_shapes import heart, paste_shapes


def apply(images: np.ndarray) -> np.ndarray:
    """Return images with a heart pasted on each, uint8 [N, H, W, C], C = 1 or 3."""
    return paste_shapes(images, heart)
