"""Fixed changes of the style of images that leave their meaning: shifts that are not semantic. No torch.

Generalized ODIN (Hsu et al. 2020) tells semantic shift (other classes) from non-semantic shift (the same classes in
another style) on DomainNet; these changes put both apart on any data set.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from reprood.core.errors import ReproodError

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)[None, :, :, None]


def invert(images: np.ndarray) -> np.ndarray:
    """Negative: 255 minus each value."""
    return 255 - images


def edges(images: np.ndarray) -> np.ndarray:
    """Length of the Sobel gradient of each channel, scaled so that the strongest edge of an image is white."""
    floats = images.astype(np.float32)
    # along rows and columns alone: SciPy's Sobel filter would also smooth across images and channels
    found = np.hypot(ndimage.convolve(floats, SOBEL), ndimage.convolve(floats, SOBEL.transpose(0, 2, 1, 3)))
    top = found.max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(np.round(255 * found / np.maximum(top, 1e-6)), np.uint8)


def blur(images: np.ndarray) -> np.ndarray:
    """Gaussian blur with a standard deviation of a twelfth of the side."""
    sigma = images.shape[1] / 12
    soft = ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    return np.asarray(np.round(soft), np.uint8)


def posterise(images: np.ndarray) -> np.ndarray:
    """Three levels of grey in each channel: 0, 128, 255."""
    levels = np.array([0, 128, 255], np.uint8)
    return np.asarray(levels[np.minimum(images // 86, 2)])


STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    function.__name__: function for function in (invert, edges, blur, posterise)
}


def apply_style(images: np.ndarray, name: str) -> np.ndarray:
    """Images in another style.

    Parameters
    ----------
    images : uint8 array [N, H, W, C]
    name : str
        One of `STYLES`.

    Returns
    -------
    uint8 array [N, H, W, C]

    Raises
    ------
    ReproodError
        When there is no such style.
    """
    if name not in STYLES:
        raise ReproodError(f"There is no style '{name}'; known: {', '.join(STYLES)}.")
    return np.ascontiguousarray(STYLES[name](np.ascontiguousarray(images)))
