"""Style `heart_natural`: a heart filled with a piece of a photograph on every image (CutPaste, Table 6)."""

import numpy as np

from reprood.images.pasted_shapes import heart, paste_shapes


def apply(images: np.ndarray) -> np.ndarray:
    """Return images with a heart pasted on each, uint8 [N, H, W, C], C = 1 or 3."""
    return paste_shapes(images, heart, natural=True)
