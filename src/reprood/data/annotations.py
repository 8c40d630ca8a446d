"""Read the annotations of ImageNet (ILSVRC 2012): lists of labels, the development kit, boxes in XML."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.object_xml import objects_of
from reprood.data.tally import Tally

LARGEST = 1 << 28  # bytes of a text file
TRUTH, SYNSETS = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


def read_listing(path: Path, names: Sequence[str]) -> list[str]:
    """Return the class of each image from a list with an image and its class on each line.

    Raises
    ------
    ReproodError
        For a line of another form, an image that is listed twice or not there, or one that is not in the list.
    """
    listed: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise ReproodError(
                f"{path}, line {number}: expected an image and its class, found {len(fields)} columns "
                f"({line.strip()[:60]!r}); correct the list."
            )
        if fields[0] in listed:
            raise ReproodError(f"{path}, line {number}: the image {fields[0]} is listed twice; correct the list.")
        listed[fields[0]] = fields[1]
    absent = sorted(listed.keys() - set(names))
    if absent:
        raise ReproodError(f"{path} lists {absent[0]}, which is not in the folder of images; unpack the archive again.")
    missing = next((name for name in names if name not in listed), None)
    if missing is not None:
        raise ReproodError(
            f"{path} gives no class for the image {missing}; use the complete list, or remove the image."
        )
    return [listed[name] for name in names]


def devkit_labels(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the WordNet id of each validation image, from the development kit of ILSVRC 2012.

    The kit numbers the classes by its own ids (`data/meta.mat`), not by the order of their WordNet ids; line i of
    the ground truth is the id of the i-th image in the order of the names. torchvision reads it in the same way.

    Raises
    ------
    ReproodError
        When a file is missing or the numbers do not fit.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    for name in (TRUTH, SYNSETS):
        if not (data / name).is_file():
            raise ReproodError(f"{data} has no {name}; unpack ILSVRC2012_devkit_t12.tar.gz there.")
    from scipy.io import loadmat

    try:
        synsets = loadmat(data / SYNSETS, squeeze_me=True)["synsets"]
        wnids = {int(row[0]): str(row[1]) for row in synsets if int(row[4]) == 0}  # 0 children: the classes
    # loadmat: damaged, no MAT file, or of version 7.3 (NotImplementedError); the others: a table without these columns
    except (ValueError, TypeError, KeyError, IndexError, OSError, NotImplementedError) as error:
        raise ReproodError(f"{data / SYNSETS} is not the kit's table of classes ({str(error)[:100]}).") from error
    lines = _text(data / TRUTH).split()
    if len(lines) != len(names):
        raise ReproodError(
            f"{data / TRUTH} has {len(lines):,} labels and there are {len(names):,} images; the numbers must be equal."
        )
    wrong = next((i for i, line in enumerate(lines) if not line.isdigit() or int(line) not in wnids), None)
    if wrong is not None:
        raise ReproodError(f"{data / TRUTH}, line {wrong + 1}: {lines[wrong][:20]!r} is not the id of a class.")
    return [wnids[int(line)] for line in lines]


def read_boxes(folder: Path, names: Sequence[str], shapes: np.ndarray, tally: Tally) -> dict[str, np.ndarray]:
    """Return the boxes of images, x0, y0, x1, y1 in pixels with exclusive ends.

    Parameters
    ----------
    folder : Path
        With `<stem>.xml`, `<class>/<stem>.xml`, or these below `val` or `train`.
    names : sequence of str
        Names of the images.
    shapes : int array [N, 2]
        Width and height of each image.
    tally : Tally
        Counts images without an annotation.

    Returns
    -------
    dict of array
        `boxes` float32 [N, 4]: the first object; `all_boxes` float32 [N, M, 4]: all objects, filled up with -1.
    """
    found: list[list[list[float]]] = []
    for name, (width, height) in zip(names, shapes.tolist(), strict=True):
        path = _annotation(folder, name)
        if path is None:
            tally.add("images have no boxes", name)
        found.append([] if path is None else boxes_of(path, width, height, tally))
    if not any(found):
        raise ReproodError(
            f"{folder} has no boxes of these images; expected files such as {PurePosixPath(names[0]).stem}.xml."
        )
    most = max(map(len, found))
    every = np.full((len(names), most, 4), -1, np.float32)
    for row, boxes in enumerate(found):
        every[row, : len(boxes)] = np.array(boxes, np.float32).reshape(-1, 4)
    several = sum(len(boxes) > 1 for boxes in found)
    tally.add("images have several boxes; 'boxes' holds the first one", names[0], several)
    return {"boxes": every[:, 0].copy(), "all_boxes": every}


def _annotation(folder: Path, name: str) -> Path | None:
    stem = PurePosixPath(name).with_suffix(".xml")
    for path in (folder / stem, folder / stem.name, folder / "val" / stem.name, folder / "train" / stem):
        if path.is_file():
            return path
    return None


def boxes_of(path: Path, width: int, height: int, tally: Tally) -> list[list[float]]:
    """Return the boxes of the objects in one of ImageNet's XML files, in pixels of its image with exclusive ends.

    The files have Pascal VOC's form. Where pixels begin is not stated with them: ends are used as they stand, without
    the shift by one of `reprood.data.voc`, which is at most a pixel. They state the size at which the image was shown,
    which may differ from that of the file: boxes are scaled. Some of them reach over the edge, or have their ends
    exchanged: they are clipped and ordered, and counted.

    Raises
    ------
    ReproodError
        If it is not such a file (`objects_of`), or no part of a box is inside the image.
    """
    marked = objects_of(path)
    shown = marked.width or width, marked.height or height
    scale = np.array([width / shown[0], height / shown[1]] * 2)
    if len({item.name for item in marked.objects}) > 1:
        tally.add("images have boxes of several classes, of which any counts as the image's own", str(path))
    boxes = []
    for box in (item.ends for item in marked.objects):
        (x0, y0), (x1, y1) = np.sort((np.array(box) * scale).reshape(2, 2), axis=0).tolist()
        inside = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
        if not (inside[0] < inside[2] and inside[1] < inside[3]):
            raise ReproodError(
                f"{path}: the box {', '.join(f'{end:g}' for end in box)} is empty or outside of its image of {width} x "
                f"{height} pixels; is it the annotation of another image?"
            )
        if inside != (np.array(box) * scale).tolist():
            tally.add("boxes reach over the edge of their image or have their ends exchanged", str(path))
        boxes.append(inside)
    return boxes


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ReproodError(f"{path} has {path.stat().st_size:,} bytes, more than the allowed {LARGEST:,}.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReproodError(
            f"{path} cannot be read as text ({str(error)[:100]}); replace it by the published file."
        ) from error
