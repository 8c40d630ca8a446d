"""Generate images: letters, noise, texture photographs with defects, objects on a canvas.

Each generator is a pure function of a random generator and its options; the same seed gives the same images.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Families whose upper-case letters are complete and legible at 28 pixels.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
)  # fmt: skip


@dataclass(frozen=True)
class ImageData:
    """Images of one split as a reader or generator returns them.

    Attributes
    ----------
    images : uint8 array [N, H, W, C]
    labels : int64 array [N]
        Class numbers; -1 = none.
    extras : dict of array
        Optional arrays with one row per image.
    classes : tuple of str
        Class names, if they are known.
    notes : tuple of str
        What was left out or guessed, one sentence each.
    """

    images: np.ndarray
    labels: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _noise_shape(count: int, size: int, channels: int) -> tuple[int, int, int, int]:
    return count, size, size, channels


def uniform_noise(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw every value uniformly from 0..255."""
    images = rng.integers(0, 256, _noise_shape(count, size, channels), dtype=np.uint8)
    return ImageData(images, np.full(count, -1))


def gaussian_noise(rng: np.random.Generator, count: int, size: int, channels: int, deviation: float = 1.0) -> ImageData:
    """Draw every value from N(0.5, deviation), clipped to [0, 1].

    The deviation is 1 in the protocols of ODIN, CutMix and Generalized ODIN, and 0.5 in the code of Hendrycks et al.
    (2019, self-supervision).
    """
    values = rng.normal(0.5, deviation, _noise_shape(count, size, channels))
    return ImageData(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8), np.full(count, -1))


def blobs(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw amorphous shapes with sharp edges: a coin flip per pixel, blurred, with the darker part set to black.

    Similar to the blob images of Hendrycks et al. (Deep Anomaly Detection with Outlier Exposure, appendix).
    """
    shape = _noise_shape(count, size, channels)
    values = (rng.random(shape) < 0.7).astype(np.float32)
    values = ndimage.gaussian_filter(values, sigma=(0, 1.5, 1.5, 0))
    values[values < 0.75] = 0.0
    return ImageData(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8), np.full(count, -1))


# The constants with which Outlier Exposure normalises its images, on the scale 0..255.
OE_MEAN, OE_STD = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])


def _from_inputs(values: np.ndarray) -> ImageData:
    """Return the pixels whose normalised values are network inputs [N, H, W, C], as Outlier Exposure normalises.

    Its test program passes noise in [-1, 1] to the network without the normalisation that images get, so that the noise
    has less contrast than noise of the same law on the pixels.
    """
    mean, std = (OE_MEAN, OE_STD) if values.shape[-1] == 3 else (OE_MEAN.mean(), OE_STD.mean())
    pixels = np.round(np.clip(mean + std * values, 0, 255)).astype(np.uint8)
    return ImageData(pixels, np.full(len(pixels), -1))


def oe_gaussian(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw network inputs from N(0, 0.5) clipped to [-1, 1] (Outlier Exposure, CIFAR/test.py)."""
    return _from_inputs(np.clip(rng.normal(0.0, 0.5, _noise_shape(count, size, channels)), -1, 1))


def oe_rademacher(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw network inputs that are -1 or 1 with equal probability (Outlier Exposure, CIFAR/test.py)."""
    return _from_inputs(2.0 * rng.integers(0, 2, _noise_shape(count, size, channels)) - 1.0)


def oe_blobs(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw blobs in colour (Outlier Exposure, CIFAR/test.py).

    A coin flip per value (0.7), Gaussian blur of 1.5 over rows, columns and channels, values below 0.75 set to 0; the
    network inputs are 2 v - 1.
    """
    values = (rng.random(_noise_shape(count, size, channels)) < 0.7).astype(np.float32)
    values = ndimage.gaussian_filter(values, sigma=(0, 1.5, 1.5, 1.5), mode="nearest")
    values[values < 0.75] = 0.0
    return _from_inputs(2.0 * values - 1.0)


def _fonts() -> list[str]:
    from matplotlib import get_data_path

    return [f"{get_data_path()}/fonts/ttf/{name}.ttf" for name in FONTS]


def letters(rng: np.random.Generator, count: int, size: int, channels: int) -> ImageData:
    """Draw upper-case letters in matplotlib's fonts, white on black, varied in size, rotation and position."""
    fonts = _fonts()
    images = np.zeros((count, size, size, channels), np.uint8)
    labels = np.arange(count) % len(LETTERS)
    big = 4 * size  # drawn large and shrunk, for sub-pixel rotations and positions
    for row, label in enumerate(labels):
        points = int(big * rng.uniform(0.62, 0.85))
        font = ImageFont.truetype(fonts[rng.integers(len(fonts))], points)
        canvas = Image.new("L", (big, big))
        place = (big / 2 + big * rng.uniform(-0.08, 0.08), big / 2 + big * rng.uniform(-0.08, 0.08))
        ImageDraw.Draw(canvas).text(place, LETTERS[label], fill=255, font=font, anchor="mm")
        canvas = canvas.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
        small = np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR), np.float32)
        images[row] = np.round(small * rng.uniform(0.75, 1.0))[..., None].astype(np.uint8)
    return ImageData(images, labels.astype(np.int64), classes=tuple(LETTERS))


def _photographs() -> list[np.ndarray]:
    from skimage import data

    photographs: list[Any] = [data.brick, data.grass, data.gravel]
    return [np.asarray(photograph()) for photograph in photographs]


# Rows of a photograph that each part may use, as fractions: no pixel of a test image is in a training image.
PARTS = {"": (0.0, 1.0), "train": (0.0, 0.625), "test": (0.625, 1.0)}


def textures(
    rng: np.random.Generator, count: int, size: int, channels: int, scale: int = 2, part: str = ""
) -> ImageData:
    """Crop squares from three grey texture photographs (brick, grass, gravel), and shrink them.

    Squares are shrunk `scale` times by averaging. `part` "train" uses the upper five eighths of the photographs, "test"
    the rest.
    """
    if part not in PARTS:
        raise ReproodError(
            f"Texture crops: part is '{part}'; expected train or test, or nothing for the whole photograph."
        )
    photographs = [p[round(PARTS[part][0] * len(p)) : round(PARTS[part][1] * len(p))] for p in _photographs()]
    if size * scale > min(min(photograph.shape) for photograph in photographs):
        raise ReproodError(
            f"Texture crops of {size * scale} pixels do not fit into the {part or 'whole'} part of the photographs "
            f"({photographs[0].shape[0]} x {photographs[0].shape[1]}); lower 'size' or 'scale'."
        )
    labels = np.arange(count) % len(photographs)
    side = size * scale
    images = np.empty((count, size, size, channels), np.uint8)
    for row, label in enumerate(labels):
        photograph = photographs[label]
        y, x = rng.integers(0, photograph.shape[0] - side + 1), rng.integers(0, photograph.shape[1] - side + 1)
        crop = photograph[y : y + side, x : x + side].astype(np.float32)
        small = crop.reshape(size, scale, size, scale).mean(axis=(1, 3))
        images[row] = np.round(small)[..., None].astype(np.uint8)
    return ImageData(images, labels.astype(np.int64), classes=("brick", "grass", "gravel"))


DEFECTS = ("scratch", "spot", "patch", "blur")


def _defect(image: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one defect on a grey image float32 [H, W]; return the image and the mask of the defect, bool [H, W]."""
    size = image.shape[0]
    mask_image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask_image)
    centre = rng.uniform(0.2 * size, 0.8 * size, 2)
    if kind == "scratch":
        angle, length = rng.uniform(0, np.pi), rng.uniform(0.2, 0.5) * size
        steps = np.linspace(-0.5, 0.5, 12)[:, None] * length
        bend = rng.uniform(-0.15, 0.15) * length * np.cos(np.linspace(-np.pi / 2, np.pi / 2, 12))[:, None]
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        points = centre + steps * along + bend * across
        draw.line([tuple(p) for p in points], fill=255, width=max(1, round(rng.uniform(0.015, 0.04) * size)))
    else:
        radii = rng.uniform(0.05, 0.14, 2) * size
        box = [*(centre - radii), *(centre + radii)]
        (draw.rectangle if kind == "patch" else draw.ellipse)([float(v) for v in box], fill=255)
    mask = np.asarray(mask_image) > 0
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.6)
    if kind == "patch":  # the same texture from elsewhere, rotated: no new grey values
        other = np.rot90(np.roll(image, rng.integers(size // 4, size // 2, 2), (0, 1)))
    elif kind == "blur":
        other = ndimage.gaussian_filter(image, 0.05 * size)
    else:
        other = np.full_like(image, rng.choice([20.0, 235.0]) + rng.uniform(-15, 15))
    return image * (1 - soft) + other * soft, mask


def defect_textures(
    rng: np.random.Generator,
    count: int,
    size: int,
    channels: int,
    defective: float = 0.0,
    texture: int | None = None,
    part: str = "",
) -> ImageData:
    """Crop texture photographs and draw one defect on a fraction `defective` of them.

    Labels: 0 = good, 1.. = kind of defect in the order of `DEFECTS`. Extras: masks [N, H, W] in {0, 255}, and the
    number of the texture. `part` as in `textures`: training and test crops do not overlap.
    """
    base = textures(rng, count, size, 1, part=part)
    keep = base.labels if texture is None else np.full(count, texture)
    images = base.images[..., 0].astype(np.float32)
    if texture is not None:
        images = textures(rng, 3 * count, size, 1, part=part).images[texture::3, ..., 0].astype(np.float32)
    labels = np.zeros(count, np.int64)
    masks = np.zeros((count, size, size), np.uint8)
    for number, row in enumerate(range(count - round(count * defective), count)):
        kind = number % len(DEFECTS)
        images[row], mask = _defect(images[row], DEFECTS[kind], rng)
        labels[row], masks[row] = kind + 1, mask * np.uint8(255)
    pixels = np.round(np.clip(images, 0, 255)).astype(np.uint8)
    extras: dict[str, np.ndarray] = {"masks": masks, "texture": np.asarray(keep, np.int64)}
    return ImageData(np.repeat(pixels[..., None], channels, axis=3), labels, extras, ("good", *DEFECTS))


def objects_on_canvas(rng: np.random.Generator, count: int, size: int, channels: int, share: float = 0.5) -> ImageData:
    """Place one letter on each canvas of smooth noise, at a random position; label = letter, extras: boxes [N, 4].

    The letter is drawn in a window of side `share` times the side of the canvas, and fills a little over half of it.
    """
    if not 0 < share <= 1:
        raise ReproodError(f"Objects on a canvas: share is {share}; expected more than 0 and at most 1.")
    side = int(size * share)
    glyphs = letters(rng, count, side, 1)
    images = np.empty((count, size, size, channels), np.uint8)
    boxes = np.empty((count, 4), np.float32)
    for row in range(count):
        background = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.0)
        background = 70 + 45 * background / np.abs(background).max()
        glyph = glyphs.images[row, ..., 0].astype(np.float32)
        y, x = rng.integers(0, size - side + 1, 2)
        window = background[y : y + side, x : x + side]
        background[y : y + side, x : x + side] = window + (255 - window) * glyph / 255
        rows, columns = np.flatnonzero(glyph.max(1) > 32), np.flatnonzero(glyph.max(0) > 32)
        boxes[row] = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
        images[row] = np.round(np.clip(background, 0, 255))[..., None].astype(np.uint8)
    return ImageData(images, glyphs.labels, {"boxes": boxes}, glyphs.classes)


GENERATORS: dict[str, Callable[..., ImageData]] = {
    "uniform_noise": uniform_noise,
    "gaussian_noise": gaussian_noise,
    "blobs": blobs,
    "oe_gaussian": oe_gaussian,
    "oe_rademacher": oe_rademacher,
    "oe_blobs": oe_blobs,
    "letters": letters,
    "textures": textures,
    "defect_textures": defect_textures,
    "objects_on_canvas": objects_on_canvas,
}


def generate(name: str, seed: int, options: dict[str, Any]) -> ImageData:
    """Run a generator by name.

    Raises
    ------
    ReproodError
        For an unknown generator, or an unknown or invalid option.
    """
    if name not in GENERATORS:
        raise ReproodError(f"There is no generator '{name}'; known: {', '.join(GENERATORS)}.")
    limits = {"count": (1, 10_000_000), "size": (8, 1024), "channels": (1, 3)}
    for key, (low, high) in limits.items():
        value = options.get(key, low)
        if not isinstance(value, int) or not low <= value <= high:
            raise ReproodError(f"Generator '{name}': {key} is {value!r}; expected a whole number from {low} to {high}.")
    if seed < 0:
        raise ReproodError(f"Generator '{name}': seed is {seed}; expected 0 or more.")
    size = options.get("size", 28)
    fits(8 * options.get("count", 1) * size * size * options.get("channels", 1), f"Generator '{name}': its images")
    try:
        return GENERATORS[name](np.random.Generator(np.random.PCG64(seed)), **options)
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ReproodError(f"Generator '{name}': {error}; check its options in the catalogue.") from error
