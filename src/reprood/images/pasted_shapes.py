"""Synthetic defects: one shape pasted on every image, filled with a random colour or a piece of a photograph.

Table 6 of CutPaste (Li et al. 2021) has MNIST digits, squares, ellipses and hearts. Sizes and places are not given:
here the side of a shape is a tenth to a quarter of the image's, and it lies inside the image. Digits are set in fonts
instead of MNIST's, and the natural images are four photographs of scikit-image. The draws for an image depend on its
content alone, so that a test set is always the same.
"""

import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDES = (0.1, 0.25)  # of a shape, as fractions of the image's side
FINE = 8  # shapes are drawn larger by this factor and averaged
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono")
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")

Draw = Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None]


def square(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw a square that fills the canvas."""
    draw.rectangle((0, 0, side, side), fill=255)


def ellipse(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw an ellipse as wide or as high as the canvas, with an axis of 0.4 to 1 of it."""
    short = side * rng.uniform(0.4, 1) / 2
    wide, high = (side / 2, short) if rng.integers(2) else (short, side / 2)
    draw.ellipse((side / 2 - wide, side / 2 - high, side / 2 + wide, side / 2 + high), fill=255)


def heart(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw a heart that fills the canvas: x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    t = np.linspace(0, 2 * np.pi, 200)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    across, down = (x - x.min()) / np.ptp(x) * side, (y.max() - y) / np.ptp(y) * side
    draw.polygon([(float(a), float(d)) for a, d in zip(across, down, strict=True)], fill=255)


def digit(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw a random digit in one of matplotlib's fonts."""
    from matplotlib import get_data_path

    path = f"{get_data_path()}/fonts/ttf/{FONTS[rng.integers(len(FONTS))]}.ttf"
    font = ImageFont.truetype(path, 1.3 * side)  # a digit is 0.73 as high as its font
    draw.text((side / 2, side / 2), str(rng.integers(10)), fill=255, font=font, anchor="mm")


@cache
def _photographs() -> tuple[np.ndarray, ...]:
    from skimage import data

    return tuple(np.asarray(getattr(data, name)())[..., :3] for name in PHOTOGRAPHS)


def _filling(side: int, channels: int, natural: bool, rng: np.random.Generator) -> np.ndarray:
    """Return what a shape shows, float64 [side, side, channels] in 0..255; grey images get the luma."""
    if natural:
        photograph = _photographs()[rng.integers(len(PHOTOGRAPHS))]
        y, x = (rng.integers(0, length - side + 1) for length in photograph.shape[:2])
        colours = photograph[y : y + side, x : x + side].astype(np.float64)
    else:
        colours = np.broadcast_to(rng.integers(0, 256, 3).astype(np.float64), (side, side, 3))
    return colours if channels == 3 else colours @ np.array([[0.299], [0.587], [0.114]])


def paste_shapes(images: np.ndarray, shape: Draw, *, natural: bool = False) -> np.ndarray:
    """Return images with a shape pasted on each.

    Parameters
    ----------
    images : uint8 array [N, H, W, C]
        C = 1 or 3; sides of at least 32 pixels show the shapes well.
    shape : callable
        Draws white on a black square canvas of a given side.
    natural : bool
        Fill with a piece of a photograph instead of one random colour.

    Returns
    -------
    uint8 array [N, H, W, C]
    """
    count, height, width, channels = images.shape
    changed = images.copy()
    for row in range(count):
        seed = hashlib.blake2b(images[row].tobytes(), digest_size=8).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
        side = max(3, round(rng.uniform(*SIDES) * min(height, width)))
        canvas = Image.new("L", (FINE * side, FINE * side))
        shape(ImageDraw.Draw(canvas), FINE * side, rng)
        cover = np.asarray(canvas.resize((side, side), Image.Resampling.BOX), np.float64)[..., None] / 255
        y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        window = changed[row, y : y + side, x : x + side].astype(np.float64)
        mixed = window * (1 - cover) + _filling(side, channels, natural, rng) * cover
        changed[row, y : y + side, x : x + side] = np.round(mixed).astype(np.uint8)
    return changed
