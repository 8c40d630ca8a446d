"""Photographs that stay on disk, with boxes or captions: what detection and captioning read one by one."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.data.prepare import decode, to_array
from reprood.data.scenes import Scenes

Read = Callable[[int], np.ndarray]  # row -> uint8 [H, W, C]


@dataclass(frozen=True)
class BoxedImages:
    """Images with boxes.

    Attributes
    ----------
    read : callable
        Row -> image, uint8 [H, W, C]; images may differ in size.
    boxes, labels, difficult : sequence of array
        Of each image: float32 [n, 4] (x0, y0, x1, y1 in pixels, upper ends exclusive), class numbers int64 [n], and
        whether an object does not count, bool [n].
    classes : tuple of str
    notes : tuple of str
        Checksum of what describes the images, and what was changed or left out, one sentence each.
    """

    read: Read
    boxes: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    difficult: Sequence[np.ndarray]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class CaptionedImages:
    """Images with captions.

    Attributes
    ----------
    read : callable
        Row -> image, uint8 [H, W, C].
    captions : sequence of tuple of str
        One or more sentences for each image.
    notes : tuple of str
        As in `BoxedImages`.
    """

    read: Read
    captions: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)


def read_photograph(path: Path, channels: int, *, width: int = 0, height: int = 0) -> np.ndarray:
    """Read an image in its own size: uint8 [H, W, channels].

    Parameters
    ----------
    path : Path
        The file.
    channels : {1, 3}
        Grey or colour.
    width, height : int
        The size that an annotation states; 0 is not compared.

    Raises
    ------
    ReproodError
        If the file is missing, is damaged, or has another size.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReproodError(f"{path} cannot be read ({error.strerror}); restore the file from the archive.") from error
    image = to_array(decode(data, str(path)), channels)
    if width and height and image.shape[:2] != (height, width):
        raise ReproodError(
            f"{path} has {image.shape[1]} x {image.shape[0]} pixels, its annotation states {width} x {height}; restore "
            "both from the archive."
        )
    return image


def checksum_of(paths: Iterable[Path]) -> str:
    """Return one SHA-256 of the names and contents of files, in their order."""
    lines = (f"{path.name} {sha256_file(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def boxed(scenes: Scenes) -> BoxedImages:
    """Return generated scenes as images with boxes; every object counts."""
    difficult = [np.zeros(len(labels), bool) for labels in scenes.labels]
    return BoxedImages(lambda row: scenes.images[row], scenes.boxes, scenes.labels, difficult, scenes.classes)


def captioned(scenes: Scenes) -> CaptionedImages:
    """Return generated scenes as images with one caption each."""
    return CaptionedImages(lambda row: scenes.images[row], [(sentence,) for sentence in scenes.sentences])
