"""Read Pascal VOC's detection sets: JPEGImages, Annotations (XML) and ImageSets/Main (lists of names).

M. Everingham et al.: The PASCAL Visual Object Classes Challenge, IJCV 2010. Pixel numbers in the XML begin at 1 and
include both ends; boxes here begin at 0 and exclude the upper end, so that width and height are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from reprood.core.errors import ReproodError
from reprood.data.formats import text_of
from reprood.data.object_xml import RESTORE, objects_of
from reprood.data.photographs import BoxedImages, checksum_of, read_photograph

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class Voc(BaseModel):
    """Pascal VOC in a folder of the user.

    Attributes
    ----------
    folder : str
        The folder VOCdevkit.
    train, test : tuple of (int, str)
        Year and list of each set; the paper's are trainval of 2007 and 2012, and test of 2007.
    limit : int or None
        Use only the first images of either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = "data/VOCdevkit"
    train: tuple[tuple[int, str], ...] = ((2007, "trainval"), (2012, "trainval"))
    test: tuple[tuple[int, str], ...] = ((2007, "test"),)
    limit: int | None = Field(default=None, ge=1)

    def described_by(self) -> list[str]:
        """Return the lists and the folders of annotations, relative to the folder."""
        sets = dict.fromkeys((*self.train, *self.test))
        lists = [list_path(year, name).as_posix() for year, name in sets]
        return lists + [f"VOC{year}/Annotations" for year in dict.fromkeys(year for year, _ in sets)]

    def images(self) -> list[str]:
        """Return the folders of images, relative to the folder."""
        return [f"VOC{year}/JPEGImages" for year in dict.fromkeys(year for year, _ in (*self.train, *self.test))]


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image: its size, and boxes, labels and marks as in `BoxedImages`."""

    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    clipped: int


def read_voc(folder: Path, sets: Sequence[tuple[int, str]], channels: int = 3, limit: int | None = None) -> BoxedImages:
    """Read the annotations of one or more sets, such as (2007, "trainval"); images are read when they are used.

    Parameters
    ----------
    folder : Path
        The folder VOCdevkit, with VOC2007, VOC2012 and so on in it.
    sets : sequence of (int, str)
        Year, and name of the list in ImageSets/Main without `.txt`.
    channels : {1, 3}
        Grey or colour.
    limit : int or None
        Read only the first images of the joint list.

    Raises
    ------
    ReproodError
        If a folder, list, annotation or image is missing, or a list or an annotation is not in VOC's form.
    """
    names = [(folder / f"VOC{year}", name) for year, listed in sets for name in read_list(folder, year, listed)]
    names = names[:limit]
    if not names:
        raise ReproodError(f"{folder}: the lists {', '.join(f'{y} {n}' for y, n in sets)} name no image; check them.")
    paths = [root / "JPEGImages" / f"{name}.jpg" for root, name in names]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ReproodError(
            f"{absent[0]} does not exist, and neither do {len(absent) - 1} further images of the lists; unpack the "
            "whole archive again."
        )
    annotations = [root / "Annotations" / f"{name}.xml" for root, name in names]
    found = [read_annotation(path) for path in annotations]

    def read(row: int) -> np.ndarray:
        return read_photograph(paths[row], channels, width=found[row].width, height=found[row].height)

    clipped = sum(one.clipped for one in found)
    checksum = checksum_of([*(folder / list_path(*one) for one in sets), *annotations])
    title = ", ".join(f"{year} {name}" for year, name in sets)
    notes = [f"Pascal VOC {title}: SHA-256 of lists and annotations {checksum}."]
    notes += [f"{clipped} boxes that began one pixel outside of their image were clipped to it."] * bool(clipped)
    return BoxedImages(
        read, [one.boxes for one in found], [one.labels for one in found], [one.difficult for one in found],
        CLASSES, tuple(notes),
    )  # fmt: skip


def list_path(year: int, name: str) -> Path:
    """Return the file of a list, relative to the folder VOCdevkit."""
    return Path(f"VOC{year}", "ImageSets", "Main", f"{name}.txt")


def read_list(folder: Path, year: int, name: str) -> list[str]:
    """Return the names of the images in a list of ImageSets/Main.

    Raises
    ------
    ReproodError
        If the list is missing, or has lines of more than one column (such as the lists of a single class).
    """
    path = folder / list_path(year, name)
    try:
        lines = text_of(path.read_bytes(), str(path)).splitlines()
    except OSError as error:
        raise ReproodError(
            f"{path} does not exist; unpack Pascal VOC {year} into {folder}, or set the study's folder to the place of "
            "VOCdevkit."
        ) from error
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if len(columns) != 1 or Path(columns[0]).name != columns[0]:
            raise ReproodError(
                f"{path}, line {number}: {line[:60]!r} has {len(columns)} columns; expected one name of an image. The "
                "lists of single classes have two; use trainval or test."
            )
    return [line.strip() for line in lines]


def read_annotation(path: Path) -> Annotation:
    """Read the annotation of one image.

    A box that begins one pixel outside of the image is clipped to it, which is counted.

    Raises
    ------
    ReproodError
        If the file is missing or damaged (`objects_of`), has no size, an unknown class, or a box that is empty or
        outside of the image.
    """
    marked = objects_of(path)
    if marked.width is None or marked.height is None:
        raise ReproodError(f"{path} gives no size of its image; {RESTORE}.")
    width, height = int(marked.width), int(marked.height)
    boxes, labels, difficult, clipped = [], [], [], 0
    for item in marked.objects:
        if item.name not in CLASSES:
            raise ReproodError(
                f"{path}: the class of an object is {item.name[:40]!r}; expected one of VOC's 20 classes."
            )
        x0, y0, x1, y1 = item.ends
        box = (max(x0 - 1, 0.0), max(y0 - 1, 0.0), min(x1, float(width)), min(y1, float(height)))
        if min(x0, y0) < 0 or x1 > width + 1 or y1 > height + 1 or box[2] <= box[0] or box[3] <= box[1]:
            raise ReproodError(
                f"{path}: the box {x0:g}, {y0:g}, {x1:g}, {y1:g} of a {item.name} is empty or outside of the image of "
                f"{width} x {height} pixels; {RESTORE}."
            )
        clipped += box != (x0 - 1, y0 - 1, x1, y1)
        boxes.append(box)
        labels.append(CLASSES.index(item.name))
        difficult.append(item.difficult)
    return Annotation(
        width,
        height,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(difficult, bool),
        clipped,
    )
