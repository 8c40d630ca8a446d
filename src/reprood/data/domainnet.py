"""Read DomainNet: a list with a path and a label on each line, and the archive that holds the images.

X. Peng, Q. Bai, X. Xia, Z. Huang, K. Saenko, B. Wang: Moment Matching for Multi-Source Domain Adaptation, ICCV 2019.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import members
from reprood.data.formats import text_of
from reprood.data.generators import ImageData
from reprood.data.prepare import decode, to_array
from reprood.data.rows import Rows

MOST = 10_000  # classes


def domainnet(listing: Path, images: Path, channels: int, size: int, file: Path | None = None) -> ImageData:
    """Read the images of one domain that a list names, in its order.

    Parameters
    ----------
    listing : Path
        `<domain>_train.txt` or `<domain>_test.txt`: lines such as ``real/zebra/real_345_000001.jpg 344``.
    images : Path
        Archive or folder of the domain, with the paths of the list.
    channels, size : int
        Stored format.
    file : Path, optional
        As in `Rows`.

    Returns
    -------
    ImageData
        Class names are those of the folders; a class without an image in the list is named by its number.

    Raises
    ------
    ReproodError
        For a line of another form, an image that is missing or not readable, and a class with two folders.
    """
    places, labels = _listed(listing)
    rows = Rows(len(places), f"{listing.name} and {images.name}", file)
    read = set()
    for name, data in members(images, places.__contains__):
        rows.put(places[name], to_array(decode(data, f"{images}: {name}"), channels, size))
        read.add(name)
    absent = [name for name in places if name not in read]
    if absent:
        raise ReproodError(
            f"{images} has no {absent[0]}, which {listing.name} names ({len(absent)} of {len(places)} images are "
            "missing); replace it by a complete copy, or name the list of the same domain."
        )
    return ImageData(rows.all(), labels, classes=_names(places, labels, listing))


def _listed(listing: Path) -> tuple[dict[str, int], np.ndarray]:
    """Return the rows of images by name, and their labels."""
    places: dict[str, int] = {}
    labels: list[int] = []
    for number, line in enumerate(text_of(listing.read_bytes(), str(listing)).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal() or int(fields[1]) >= MOST:
            raise ReproodError(f"{listing}, line {number}: expected a path and a label, found {line.strip()[:80]!r}.")
        if fields[0] in places:
            raise ReproodError(f"{listing}, line {number}: {fields[0]} is there twice; correct the list.")
        places[fields[0]] = len(places)
        labels.append(int(fields[1]))
    return places, np.array(labels, np.int64)


def _names(places: dict[str, int], labels: np.ndarray, listing: Path) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for name, row in places.items():
        folder, label = PurePosixPath(name).parent.name, int(labels[row])
        if found.setdefault(label, folder) != folder:
            raise ReproodError(
                f"{listing}: the label {label} belongs to the folders {found[label]} and {folder}; correct the list."
            )
    return tuple(found.get(label, str(label)) for label in range(max(found) + 1))
