"""Read masks as data: whatever is not the value 0 is marked, whichever number of bits, palette or channel says so."""

import numpy as np
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.prepare import opened, orientation, upright

LOSSY = ("JPEG", "WEBP")  # their values swing around the true ones at edges
MIDDLE = 128  # from which a value of a lossy mask is marked
INTEGERS = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read_mask(data: bytes, where: str) -> np.ndarray:
    """Decode a mask to booleans [H, W]: True where it marks something. An orientation tag is honoured.

    - Grey and colour values of 1 to 32 bits: marked where any channel is above 0; in JPEG and WebP from 128 on.
    - Palette: the index is the value. Black at another index than 0 contradicts that, and is refused.
    - Alpha: if the colour is the same everywhere, opacity above 0 marks; if the opacity is the same everywhere, colour
      marks; otherwise both must be above 0.

    Raises
    ------
    ReproodError
        If the bytes are no image, or it is not clear what they mark; `where` names the mask.
    """
    image = opened(data, where)
    tag, lossy = orientation(image), image.format in LOSSY
    if image.mode == "P":
        marked = _indices(image, where) > 0
    elif image.mode in INTEGERS:
        marked = _above(np.asarray(image)[..., None], lossy, where)
    elif image.mode == "RGB":
        marked = _above(np.asarray(image), lossy, where)
    elif image.mode in ("LA", "RGBA"):
        values = np.asarray(image)
        marked = _with_alpha(values[..., :-1], values[..., -1], lossy, where)
    else:
        raise ReproodError(f"{where}: a mask has the mode {image.mode}; save it as PNG of 8 or 16 bits, 0 = normal.")
    if tag == 1:
        return marked
    return np.asarray(upright(Image.fromarray(marked.astype(np.uint8)), tag)) > 0


def _above(values: np.ndarray, lossy: bool, where: str) -> np.ndarray:
    """Return where any channel of [H, W, C] is above 0, or clearly above it in a lossy format."""
    highest = np.asarray(values.max(axis=-1))
    if not lossy:
        return np.asarray(highest > 0)
    if 0 < highest.max() < MIDDLE:
        raise ReproodError(
            f"{where}: a mask is compressed with loss and its largest value is {highest.max()}, so that its values are "
            "not the ones that were drawn; save masks as PNG."
        )
    return np.asarray(highest >= MIDDLE)


def _with_alpha(colour: np.ndarray, alpha: np.ndarray, lossy: bool, where: str) -> np.ndarray:
    if (alpha == alpha.flat[0]).all():
        return _above(colour, lossy, where)
    if (colour == colour[0, 0]).all():
        return np.asarray(alpha > 0)
    return np.asarray((alpha > 0) & _above(colour, lossy, where))


def _indices(image: Image.Image, where: str) -> np.ndarray:
    """Return the indices of an image with a palette."""
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    black = [int(index) for index in used if index < len(palette) and not palette[index].any()]
    if black and 0 not in black:
        raise ReproodError(
            f"{where}: a mask has a palette in which the value {black[0]} is black and 0 is not; it is not clear "
            "which one is the background: save it as grey PNG with 0 = normal."
        )
    return indices
