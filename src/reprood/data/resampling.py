"""Make test sets that show what a detector reacts to: images shrunk without antialiasing, and mixtures of two images.

CSI (Tack et al. 2020, section 3 and appendix) points out that the published LSUN and ImageNet sets at 32 x 32 were
shrunk without antialiasing, and that any detector finds the artefacts; its "FIX" sets are shrunk with antialiasing.
Shrinking the same images in both ways separates the artefact from the content.
"""

import numpy as np
from PIL import Image

from reprood.core.errors import ReproodError

MIXED_APART = 100  # CSI mixes images of consecutive test batches, which have 100 images


def shrink_naively(images: np.ndarray, size: int) -> np.ndarray:
    """Shrink the shorter side to `size` pixels by nearest neighbour, and crop the centre: an aliased image.

    The geometry is that of the benchmarks' preparation, which uses antialiasing.

    Parameters
    ----------
    images : uint8 array [N, H, W, C]
        C is 1 or 3.
    size : int
        Side of the result in pixels.

    Returns
    -------
    uint8 array [N, size, size, C]

    Raises
    ------
    ReproodError
        If the images are not larger than `size`.
    """
    height, width = images.shape[1:3]
    if min(height, width) <= size:
        raise ReproodError(
            f"Images of {height} x {width} pixels cannot be shrunk to {size}; a naively shrunk set needs larger images."
        )
    scale = size / min(height, width)
    across, down = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (across - size) // 2, (down - size) // 2
    # the original pixel under the centre of each new one
    rows = ((np.arange(top, top + size) + 0.5) * height / down).astype(np.int64)
    columns = ((np.arange(left, left + size) + 0.5) * width / across).astype(np.int64)
    return np.ascontiguousarray(images[:, rows][:, :, columns])


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Convert images [N, H, W, C] to grey (ITU-R 601) or RGB, uint8 [N, H, W, `channels`]."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]


def mixed(images: np.ndarray, apart: int = MIXED_APART) -> np.ndarray:
    """Average each image with the one `apart` rows before it (CSI's "Interp"); the first `apart` are not changed.

    Parameters
    ----------
    images : array [N, ...]
        uint8 (the result is rounded half to even) or floating point.
    apart : int
        Size of a test batch in the authors' code.

    Returns
    -------
    array like `images`
    """
    result = images.astype(np.float64 if images.dtype != np.float32 else np.float32)
    result[apart:] = (result[apart:] + images[: max(len(images) - apart, 0)]) / 2
    return np.asarray(np.rint(result), np.uint8) if images.dtype == np.uint8 else result
