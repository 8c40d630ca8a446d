"""Masks are data: one square of 64 pixels in every form in which programs write it."""

import io

import numpy as np
import pytest
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.masks import read_mask

SQUARE = np.zeros((24, 24), np.uint8)
SQUARE[4:12, 6:14] = 1


def saved(image, form="PNG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def palette(colours: list[int], indices=SQUARE) -> Image.Image:
    image = Image.new("P", indices.shape[::-1])
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours)
    return image


def layers(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([colour, colour, colour, alpha]).astype(np.uint8)


WHITE = np.full_like(SQUARE, 255)
FORMS = {
    "8 bits, 0 and 1": saved(SQUARE),
    "8 bits, 0 and 255": saved(SQUARE * 255),
    "1 bit": saved(SQUARE > 0),
    "16 bits, 0 and 1": saved(SQUARE.astype(np.uint16)),
    "16 bits, 0 and 255": saved(SQUARE.astype(np.uint16) * 255),
    "16 bits, 0 and 65535": saved(SQUARE.astype(np.uint16) * 65535),
    "32 bits": saved(SQUARE.astype(np.int32), "TIFF"),
    "blue 1": saved(np.dstack([0 * SQUARE, 0 * SQUARE, SQUARE])),
    "white with the defect in alpha": saved(layers(WHITE, SQUARE * 255)),
    "black with the defect in alpha": saved(layers(0 * WHITE, SQUARE * 255)),
    "opaque": saved(layers(SQUARE * 255, WHITE)),
    "transparent where normal": saved(layers(np.where(SQUARE, 200, 90), SQUARE * 255)),
    "palette, background white": saved(palette([255, 255, 255, 255, 0, 0])),
    "palette, black and white": saved(palette([0, 0, 0, 255, 255, 255])),
    "JPEG": saved(SQUARE * 255, "JPEG"),
    "JPEG in colour": saved(np.dstack([SQUARE * 255] * 3), "JPEG", quality=60),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_marks_the_same_pixels(form):
    assert np.array_equal(read_mask(FORMS[form], form), SQUARE > 0)


def test_an_orientation_tag_turns_the_mask():
    tag = Image.Exif()
    tag[0x0112] = 6  # shown turned clockwise
    mask = np.zeros((4, 8), np.uint8)
    mask[0, 0] = 255
    shown = read_mask(saved(mask, exif=tag), "x")
    assert shown.shape == (8, 4)
    assert np.argwhere(shown).tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(palette([255, 255, 255, 0, 0, 0])), "value 1 is black and 0 is not"),
        (saved(SQUARE * 3, "JPEG"), "compressed with loss and its largest value is"),
        (saved(Image.fromarray(np.dstack([SQUARE] * 4), "CMYK"), "TIFF"), "has the mode CMYK"),
        (b"no image", "not a readable image"),
    ],
)
def test_what_is_not_clear_is_refused(data, words):
    with pytest.raises(ReproodError, match=words):
        read_mask(data, "masks/1.png")
