"""Decode and resize images: the single rule for all images of a benchmark, in- or out-of-distribution."""

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from reprood.core.errors import ReproodError

RULE = "grey by ITU-R 601, shorter side by antialiased bilinear, centre crop; nothing when the size fits"
FORMS = (
    "PNG",
    "JPEG",
    "BMP",
    "TIFF",
    "WEBP",
    "PPM",
)  # other formats may start a program (PostScript) or contain many images
ORIENTATION = 0x0112  # the EXIF tag; TURNS: what shows an image with this tag upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LONGEST = 200  # longest side, as a multiple of the shorter one
UNREADABLE = (
    OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RecursionError, NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def opened(data: bytes, where: str) -> Image.Image:
    """Decode one image without changing its bit depth.

    Raises
    ------
    ReproodError
        If the bytes are not an image of a supported format; `where` names the record.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMS)
        image.load()
    except UnidentifiedImageError as error:
        raise ReproodError(
            f"{where} is not a readable image (none of {', '.join(FORMS)}); convert it or replace it."
        ) from error
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise ReproodError(f"{where} is not a readable image ({reason}); replace it by an intact copy.") from error
    if max(image.size) > LONGEST * min(image.size):
        raise ReproodError(
            f"{where} has {image.width} x {image.height} pixels; one side may be at most {LONGEST} times the other: "
            "crop it or leave it out."
        )
    return image


def eight_bits(image: Image.Image, where: str) -> Image.Image:
    """Return an image with 8 bits per channel (16-bit grey is divided by 256).

    Raises
    ------
    ReproodError
        If it has more than 16 bits.
    """
    if image.mode.startswith("I;16"):  # Pillow would clip everything above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ReproodError(
            f"{where} has {image.mode} values of 32 bits; expected an image of 8 or 16 bits per channel."
        )
    return image


def decode(data: bytes, where: str) -> Image.Image:
    """Decode one image to 8 bits per channel (16-bit grey is divided by 256); orientation tags are ignored.

    Raises
    ------
    ReproodError
        If the bytes are not an image of a supported format, or have more than 16 bits; `where` names the record.
    """
    return eight_bits(opened(data, where), where)


def orientation(image: Image.Image) -> int:
    """Return an image's orientation tag (EXIF 0x0112): 1 to 8, and 1, upright, without a readable one."""
    try:
        tag = image.getexif().get(ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return tag if tag in TURNS else 1


def upright(image: Image.Image, tag: int) -> Image.Image:
    """Turn an image as its orientation tag says; 1 changes nothing."""
    return image.transpose(TURNS[tag]) if tag in TURNS else image


Fit = Literal["crop", "stretch"]


def to_array(image: Image.Image, channels: int, size: int | None = None, fit: Fit = "crop") -> np.ndarray:
    """Convert one image to uint8 [H, W, channels], square with side `size` if that is given.

    `fit` "stretch" changes the aspect ratio instead of cropping, for data whose objects may be anywhere.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        width, height = image.size
        scale = size / min(width, height)
        resized = (max(size, round(width * scale)), max(size, round(height * scale)))
        if fit == "stretch":
            resized = (size, size)
        image = image.resize(resized, Image.Resampling.BILINEAR)
        left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
        image = image.crop((left, top, left + size, top + size))
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if channels == 1 else array


def prepare_images(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Apply the rule to stored images: uint8 [N, H, W, C] -> [N, size, size, channels]."""
    if images.shape[1:] == (size, size, channels):
        return np.array(images)
    result = np.empty((len(images), size, size, channels), np.uint8)
    for row, image in enumerate(images):
        result[row] = to_array(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), channels, size)
    return result


def prepare_masks(masks: np.ndarray, size: int) -> np.ndarray:
    """Apply the same geometry to masks [N, H, W], with nearest-neighbour interpolation."""
    if masks.shape[1:] == (size, size):
        return np.array(masks)
    result = np.empty((len(masks), size, size), np.uint8)
    for row, mask in enumerate(masks):
        image = Image.fromarray(mask)
        scale = size / min(image.size)
        resized = (max(size, round(image.size[0] * scale)), max(size, round(image.size[1] * scale)))
        left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
        image = image.resize(resized, Image.Resampling.NEAREST).crop((left, top, left + size, top + size))
        result[row] = np.asarray(image)
    return result


def prepare_boxes(boxes: np.ndarray, height: int, width: int, size: int) -> np.ndarray:
    """Apply the same geometry to boxes [N, 4] (x0, y0, x1, y1 in pixels), clipped to the crop."""
    scale = size / min(height, width)
    left = (max(size, round(width * scale)) - size) // 2
    top = (max(size, round(height * scale)) - size) // 2
    moved = boxes.astype(np.float64) * scale - np.array([left, top, left, top])
    return np.asarray(np.clip(moved, 0, size), np.float32)


def stack(arrays: Iterable[np.ndarray], where: str) -> np.ndarray:
    """Stack images of equal shape into one array.

    Raises
    ------
    ReproodError
        If shapes differ: the catalogue entry then needs a `size`.
    """
    collected = list(arrays)
    shapes = {array.shape for array in collected}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:3]))
        raise ReproodError(f"{where}: images have different shapes ({some}); give the catalogue entry a 'size'.")
    if not collected:
        raise ReproodError(f"{where}: there are no images; check the folder or the file.")
    return np.stack(collected)
