"""Read the objects of an image from an XML file in Pascal VOC's form, which ImageNet's boxes have too."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from reprood.core.errors import ReproodError

LARGEST = 1 << 20  # bytes of a file
ENDS = ("xmin", "ymin", "xmax", "ymax")
RESTORE = "restore the file from the archive"


@dataclass(frozen=True)
class MarkedObject:
    """An object: its class' name, its ends as they stand in the file (`ENDS`), and whether it is marked as difficult.

    Whether pixels begin at 0 or 1 and ends are inclusive is the convention of the data set.
    """

    name: str
    ends: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class MarkedImage:
    """What a file says: width and height (None where it gives none), and the objects in its order."""

    width: float | None
    height: float | None
    objects: tuple[MarkedObject, ...]


def objects_of(path: Path) -> MarkedImage:
    """Read the objects of an image; their parts are not read.

    Raises
    ------
    ReproodError
        If the file cannot be read, is too large, is no XML in UTF-8 or declares entities (which are never expanded), or
        if a size or an end is not a finite number.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= LARGEST else ""
    except OSError as error:
        raise ReproodError(f"{path} cannot be read ({error.strerror}); unpack the whole archive again.") from error
    except UnicodeDecodeError as error:
        raise ReproodError(f"{path} is not UTF-8 text ({error.reason}); {RESTORE}.") from error
    if size > LARGEST:
        raise ReproodError(f"{path} has {size:,} bytes; an annotation has at most {LARGEST:,}: {RESTORE}.")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReproodError(f"{path} declares entities, which are never expanded; {RESTORE}.")
    try:
        root = ElementTree.fromstring(text)  # of a string: whatever encoding the file declares
    except (ElementTree.ParseError, ValueError) as error:
        raise ReproodError(f"{path} is not valid XML ({str(error)[:80]}); {RESTORE}.") from error
    width, height = (
        _number(root, f"size/{side}", path) if root.findtext(f"size/{side}") else None for side in ("width", "height")
    )
    objects = []
    for item in root.iterfind("object"):
        x0, y0, x1, y1 = (_number(item, f"bndbox/{end}", path) for end in ENDS)
        name, difficult = ((item.findtext(key) or "").strip() for key in ("name", "difficult"))
        objects.append(MarkedObject(name, (x0, y0, x1, y1), difficult == "1"))
    return MarkedImage(width, height, tuple(objects))


def _number(item: ElementTree.Element, place: str, path: Path) -> float:
    text = item.findtext(place) or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ReproodError(f"{path}: {place} is {text[:40]!r}; expected a number. R{RESTORE[1:]}.")
    return value
