"""Read CUB-200-2011: photographs of 200 kinds of birds, with a box around each bird.

C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie: The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import members
from reprood.data.formats import text_of
from reprood.data.generators import ImageData
from reprood.data.prepare import Fit, decode, prepare_boxes, to_array
from reprood.data.rows import Rows
from reprood.data.tables import box_of

COLUMNS = {"images": 2, "image_class_labels": 2, "train_test_split": 2, "bounding_boxes": 5, "classes": 2}
PARTS = {"train": "1", "test": "0"}
SLACK = 1.0  # pixels by which a box may exceed its image: its numbers are rounded


@dataclass(frozen=True)
class _Record:
    """What the lists say of an image: its row, class number from 0, and box (x, y, width, height)."""

    row: int
    label: int
    box: tuple[float, float, float, float]


def cub(path: Path, channels: int, size: int, part: str, fit: Fit = "crop", file: Path | None = None) -> ImageData:
    """Read the images of one part, in the order of `images.txt`.

    Parameters
    ----------
    path : Path
        Folder or archive with `images/`, `images.txt`, `image_class_labels.txt`, `train_test_split.txt`,
        `bounding_boxes.txt` and `classes.txt`, at the top or in one folder.
    channels, size : int
        Stored format.
    part : {"train", "test"}
        Images with 1 or 0 in `train_test_split.txt`.
    fit : {"crop", "stretch"}
        As in `prepare.to_array`; "stretch" keeps the whole bird.
    file : Path, optional
        As in `Rows`.

    Returns
    -------
    ImageData
        Labels 0 to 199. Extras: boxes float32 [N, 4] (x0, y0, x1, y1 in pixels of the stored images).

    Raises
    ------
    ReproodError
        For a missing list or image, a line of another form, an unreadable image, and a box outside of its image.
    """
    if part not in PARTS or fit not in ("crop", "stretch"):
        raise ReproodError(f"CUB-200-2011: part is '{part}' and fit '{fit}'; expected train or test, crop or stretch.")
    tables, top = _tables(path)
    classes = tuple(name for _, name in sorted((int(number), name) for number, (name,) in tables["classes"].items()))
    records = _records(tables, part, len(classes), path)
    rows = Rows(len(records), f"{path}, part {part}", file)
    boxes = np.zeros((len(records), 4), np.float32)
    read = set()
    for name, data in members(path, lambda name: name.removeprefix(f"{top}images/") in records):
        record = records[name.removeprefix(f"{top}images/")]
        where = f"{path}: {name}"
        picture = decode(data, where)
        boxes[record.row] = _stored_box(record.box, picture.size, size, fit, where)
        rows.put(record.row, to_array(picture, channels, size, fit))
        read.add(record.row)
    absent = [name for name, record in records.items() if record.row not in read]
    if absent:
        raise ReproodError(
            f"{path}: images.txt names {absent[0]}, which is not there ({len(absent)} of {len(records)} images are "
            "missing); replace it by a complete copy."
        )
    labels = np.array([record.label for record in records.values()], np.int64)
    return ImageData(rows.all(), labels, {"boxes": boxes}, classes)


def _tables(path: Path) -> tuple[dict[str, dict[str, list[str]]], str]:
    """Return the five lists, each by the number in its first column, and the folder that holds them ("" or "name/")."""
    wanted = {f"{name}.txt" for name in COLUMNS}
    texts: dict[str, tuple[str, str]] = {}
    for name, data in members(path, lambda name: PurePosixPath(name).name in wanted and name.count("/") < 2):
        texts[PurePosixPath(name).stem] = name, text_of(data, f"{path}: {name}")
    missing = [f"{name}.txt" for name in COLUMNS if name not in texts]
    if missing:
        raise ReproodError(f"{path} has no {missing[0]}, which is part of CUB-200-2011; replace it by a complete copy.")
    tables = {}
    for name, columns in COLUMNS.items():
        member, text = texts[name]
        tables[name] = _table(text, columns, f"{path}: {member}")
    return tables, texts["images"][0].removesuffix("images.txt")


def _table(text: str, columns: int, where: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != columns or not fields[0].isdecimal():
            raise ReproodError(
                f"{where}, line {number}: expected a number and {columns - 1} more columns, found {line[:60]!r}."
            )
        if fields[0] in table:
            raise ReproodError(f"{where}, line {number}: the number {fields[0]} is there twice; correct the list.")
        table[fields[0]] = fields[1:]
    return table


def _records(tables: Mapping[str, Mapping[str, list[str]]], part: str, classes: int, path: Path) -> dict[str, _Record]:
    """Return what the lists say of the images of a part, by the name in `images.txt`, in its order."""
    records: dict[str, _Record] = {}
    for number, (name,) in tables["images"].items():
        for other in ("image_class_labels", "train_test_split", "bounding_boxes"):
            if number not in tables[other]:
                raise ReproodError(f"{path}: {other}.txt has no line for image {number} ({name}); complete the list.")
        (kind,), (own,) = tables["image_class_labels"][number], tables["train_test_split"][number]
        if own not in PARTS.values() or not kind.isdecimal() or not 1 <= int(kind) <= classes:
            raise ReproodError(
                f"{path}: image {number} ({name}) has class {kind} and part {own}; expected a class of 1 to {classes} "
                "and 0 or 1."
            )
        box = box_of(tables["bounding_boxes"][number])
        if box is None or min(box[2:]) <= 0:
            raise ReproodError(f"{path}: the box of image {number} ({name}) is not x, y, width and height in pixels.")
        if own == PARTS[part]:
            records[name] = _Record(len(records), int(kind) - 1, (box[0], box[1], box[2], box[3]))
    return records


def _stored_box(
    box: tuple[float, float, float, float], shown: tuple[int, int], size: int, fit: Fit, where: str
) -> np.ndarray:
    """Return a box (x, y, width, height) of an image (width, height) as x0, y0, x1, y1 of the stored image."""
    x, y, across, down = box
    width, height = shown
    if min(x, y) < -SLACK or x + across > width + SLACK or y + down > height + SLACK:
        raise ReproodError(
            f"{where}: the box (x {x:g}, y {y:g}, width {across:g}, height {down:g}) is outside of the image of "
            f"{width} x {height} pixels; list and images do not belong together."
        )
    ends = np.clip(np.array([[x, y, x + across, y + down]]), 0, [width, height, width, height])
    if fit == "stretch":
        return np.asarray(ends[0] * np.array([size / width, size / height] * 2), np.float32)
    return np.asarray(prepare_boxes(ends, height, width, size)[0])
