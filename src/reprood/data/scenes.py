"""Generate scenes: letters on a canvas of smooth noise, each with a box, and one sentence that describes them.

A small stand-in for Pascal VOC (boxes) and MS-COCO (captions), in the style of the generator `objects_on_canvas`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from reprood.core.errors import ReproodError
from reprood.data.generators import LETTERS, letters

SIZES = ("small", "large")  # of the objects, as the sentences call them
ATTEMPTS = 40  # places tried for an object, and starts of a scene


@dataclass(frozen=True)
class Scenes:
    """Images with boxes and sentences.

    Attributes
    ----------
    images : uint8 array [N, size, size, 1]
    boxes : tuple of float32 array [n, 4]
        x0, y0, x1, y1 in pixels, upper ends exclusive; n objects of each image.
    labels : tuple of int64 array [n]
        Position of the object's letter in `classes`.
    sentences : tuple of str
    classes : tuple of str
        The letters.
    """

    images: np.ndarray
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    sentences: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def draw_scenes(
    rng: np.random.Generator,
    count: int,
    *,
    classes: str,
    size: int = 64,
    sides: tuple[int, int] = (22, 34),
    objects: tuple[int, int] = (1, 3),
    clutter: int = 0,
) -> Scenes:
    """Draw scenes of letters whose boxes do not overlap.

    Parameters
    ----------
    rng : Generator
        Source of all draws.
    count : int
        Number of scenes.
    classes : str
        The letters that may occur, such as "MNOP".
    size : int
        Side of the canvas in pixels.
    sides : (int, int)
        Sides of the windows in which small and large letters are drawn; a letter fills about half of its window.
    objects : (int, int)
        Smallest and largest number of objects in a scene, drawn uniformly.
    clutter : int
        Number of short bright strokes behind the objects.

    Raises
    ------
    ReproodError
        If a letter is unknown, or the objects do not fit on the canvas.
    """
    if not classes or set(classes) - set(LETTERS) or len(set(classes)) < len(classes):
        raise ReproodError(f"Scenes: classes is {classes!r}; expected different upper-case letters, such as 'MNOP'.")
    if max(sides) > size or not 1 <= objects[0] <= objects[1]:
        raise ReproodError(
            f"Scenes: windows of {sides} pixels and {objects[0]} to {objects[1]} objects on a canvas of {size} pixels; "
            "expected windows that fit and at least one object."
        )
    pools = [_pool(rng, count * objects[1], side, classes) for side in sides]
    found = [_scene(rng, pools, size, objects, clutter) for _ in range(count)]
    images = np.stack([one[0] for one in found])[..., None]
    boxes, labels = tuple(one[1] for one in found), tuple(one[2] for one in found)
    sentences = tuple(sentence(box, label, large, classes) for _, box, label, large in found)
    return Scenes(images, boxes, labels, sentences, tuple(classes))


def _pool(rng: np.random.Generator, count: int, side: int, classes: str) -> list[np.ndarray]:
    """Return drawings float32 [n, side, side] in [0, 1] of each letter of `classes`, up to 16 of each."""
    variants = min(16, max(4, count // len(classes)))
    drawn = letters(rng, len(LETTERS) * variants, side, 1)
    glyphs = drawn.images[..., 0].astype(np.float32) / 255
    return [glyphs[drawn.labels == LETTERS.index(letter)] for letter in classes]


def _scene(
    rng: np.random.Generator, pools: Sequence[Sequence[np.ndarray]], size: int, objects: tuple[int, int], clutter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return one scene: uint8 [size, size], boxes [n, 4], labels [n], and whether each object is large, bool [n]."""
    wanted = int(rng.integers(objects[0], objects[1] + 1))
    for _ in range(ATTEMPTS):
        cover = np.zeros((size, size), np.float32)
        boxes: list[tuple[int, int, int, int]] = []
        labels, large = rng.integers(len(pools[0]), size=wanted), rng.integers(2, size=wanted)
        for label, kind in zip(labels, large, strict=True):
            variants = pools[kind][label]
            glyph = variants[rng.integers(len(variants))]
            box = _place(rng, cover, glyph, boxes)
            if box is None:
                break
            boxes.append(box)
        if len(boxes) == wanted:
            canvas = _canvas(rng, size, clutter)
            image = np.round(np.clip(canvas + (255 - canvas) * cover, 0, 255)).astype(np.uint8)
            return image, np.array(boxes, np.float32), labels.astype(np.int64), large.astype(bool)
    raise ReproodError(
        f"Scenes: {wanted} objects do not fit on a canvas of {size} pixels without overlap; allow fewer or "
        "smaller ones."
    )


def _canvas(rng: np.random.Generator, size: int, clutter: int) -> np.ndarray:
    """Return smooth noise float64 [size, size] around 70, as in `objects_on_canvas`, with `clutter` strokes."""
    background = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.0)
    canvas = np.asarray(70 + 45 * background / np.abs(background).max())
    for _ in range(clutter):
        y, x = rng.integers(0, size, 2)
        height, width = ((2, int(rng.integers(4, 11))), (int(rng.integers(4, 11)), 2))[int(rng.integers(2))]
        canvas[y : y + height, x : x + width] = rng.uniform(150, 250)
    return canvas


def _place(
    rng: np.random.Generator, cover: np.ndarray, glyph: np.ndarray, boxes: Sequence[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """Draw a glyph on `cover` at a random place where its box meets no other; None if no place was found."""
    side, size = len(glyph), len(cover)
    rows, columns = np.flatnonzero(glyph.max(1) > 0.125), np.flatnonzero(glyph.max(0) > 0.125)
    for _ in range(ATTEMPTS):
        y, x = (int(value) for value in rng.integers(0, size - side + 1, 2))
        box = (x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1)
        if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in boxes):
            window = cover[y : y + side, x : x + side]
            np.maximum(window, glyph, out=window)
            return box
    return None


def sentence(boxes: np.ndarray, labels: np.ndarray, large: np.ndarray, classes: str) -> str:
    """Describe a scene from its upper to its lower object: "a large m above a small t".

    Two objects in a row are related by the larger of their distances: "above", "left of" or "right of". A single object
    is related to the canvas: "alone".

    Examples
    --------
    >>> boxes = np.array([[30, 40, 40, 50], [0, 0, 10, 10]])
    >>> sentence(boxes, np.array([0, 1]), np.array([False, True]), "MT")
    'a large t above a small m'
    """
    centres = np.stack((boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]), 1) / 2
    order = np.argsort(centres[:, 1], kind="stable")
    words = [f"a {SIZES[int(large[row])]} {classes[labels[row]].lower()}" for row in order]
    text = words[0]
    for before, row, word in zip(order, order[1:], words[1:], strict=False):
        across, down = centres[row] - centres[before]
        relation = "above" if down >= abs(across) else "left of" if across > 0 else "right of"
        text += f" {relation} {word}"
    return text if len(words) > 1 else f"{text} alone"
