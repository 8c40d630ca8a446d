"""Join what was read from several files: shards, several folders, several archives."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.generators import ImageData
from reprood.data.tally import Tally

SHARD = re.compile(r"(?P<stem>.*)-(?P<part>\d{2,6})-of-(?P<count>\d{2,6})(?P<rest>\D*)")


def joined(parts: Sequence[ImageData], names: Sequence[str], where: str, *, folders: bool) -> ImageData:
    """Return the images of several files as one split, in the order of the files.

    Parameters
    ----------
    parts : sequence of ImageData
        What was read from each file.
    names : sequence of str
        The files' names.
    where : str
        Data set and split, for messages.
    folders : bool
        Class names are those of folders: a class may be missing in some of the files, and classes are numbered by
        name ("good" first in MVTec AD's layout).

    Raises
    ------
    ReproodError
        If shapes, labels, further arrays or class names do not fit together.
    """
    if len(parts) == 1:
        return parts[0]
    if folders:
        parts = _renumbered(parts)
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        both = f"{where}: {names[0]} and {name} do not fit together"
        if part.images.shape[1:] != first.images.shape[1:]:
            raise ReproodError(
                f"{both}: their images have the shapes {first.images.shape[1:]} and {part.images.shape[1:]}; give the "
                "catalogue entry a 'size', or name files of one form."
            )
        if part.classes != first.classes:
            raise ReproodError(
                f"{both}: their classes are {_listed(first.classes)} and {_listed(part.classes)}; name files with the "
                "same classes in the same order."
            )
        if (part.labels < 0).all() != (first.labels < 0).all():
            raise ReproodError(f"{both}: only one of them has labels; name files of one form.")
        if part.extras.keys() != first.extras.keys():
            raise ReproodError(f"{both}: only one of them has masks, boxes or the like; name files of one form.")
    notes = tuple(f"{name}: {note}" for part, name in zip(parts, names, strict=True) for note in part.notes)
    return ImageData(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        {key: np.concatenate([part.extras[key] for part in parts]) for key in first.extras},
        first.classes,
        notes,
    )


def _listed(classes: Sequence[str]) -> str:
    """Return class names for a message."""
    more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
    return f"[{', '.join(classes[:10])}{more}]" if classes else "not named"


def _renumbered(parts: Sequence[ImageData]) -> list[ImageData]:
    """Return the parts with the classes of all, in one order."""
    names = sorted({name for part in parts for name in part.classes}, key=lambda name: (name != "good", name))
    if all(part.classes[:1] != ("good",) for part in parts):
        names.sort()
    return [with_classes(part, names) for part in parts]


def with_classes(part: ImageData, names: Sequence[str]) -> ImageData:
    """Return images whose labels are the positions of their classes in `names`, which holds all of them."""
    lookup = np.array([*(names.index(name) for name in part.classes), -1], np.int64)  # the last one is label -1
    return replace(part, labels=lookup[part.labels] if part.classes else part.labels, classes=tuple(names))


def by_catalogue(part: ImageData, classes: Sequence[str], where: str) -> ImageData:
    """Return images numbered as the catalogue lists their classes, which are found by name.

    Raises
    ------
    ReproodError
        If the catalogue does not list a class of the data.
    """
    if not classes or not part.classes:
        return part
    unknown = [name for name in part.classes if name not in classes]
    if unknown:
        raise ReproodError(
            f"{where}: the class '{unknown[0]}' of the data is not among 'classes' of the catalogue: the data have "
            f"{_listed(part.classes)}, the catalogue {_listed(classes)}; write the data's own names, in the order in "
            "which they are to be numbered."
        )
    tally = Tally()
    for name in classes:
        if name not in part.classes:
            tally.add("classes of the catalogue have no images", name)
    numbered = with_classes(part, list(classes))
    return replace(numbered, notes=(*part.notes, *tally.notes()))


def missing_shards(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence if file names say that there are more parts than are named.

    Examples
    --------
    >>> missing_shards(["train-00000-of-00002.parquet"])
    ('1 of 2 parts of train are not among the files (the first: train-00001-of-00002.parquet)',)
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for name in names:
        match = SHARD.fullmatch(name)
        if match:
            found.setdefault((match["stem"], match["count"], match["rest"]), []).append(match["part"])
    notes = []
    for (stem, count, rest), parts in found.items():
        absent = [number for number in range(min(int(count), 100_000)) if number not in set(map(int, parts))]
        if absent:
            first = f"{stem}-{absent[0]:0{len(parts[0])}d}-of-{count}{rest}"
            notes.append(f"{len(absent)} of {int(count)} parts of {stem} are not among the files (the first: {first})")
    return tuple(notes)
