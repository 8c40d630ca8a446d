"""Index a streamed split: names, labels, boxes and checksums of its image files; no image is kept in memory.

The layouts are those in which ImageNet (ILSVRC 2012) is stored: a folder for each class, or one flat folder with a list
or the development kit; boxes are read from the XML files of its localisation task.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.annotations import devkit_labels, read_boxes, read_listing
from reprood.data.archives import is_image
from reprood.data.bounds import plain_names
from reprood.data.entries import DatasetEntry
from reprood.data.image_index import ImageIndex, save_index
from reprood.data.prepare import FORMS, UNREADABLE, decode
from reprood.data.tally import Tally

Progress = Callable[[int, int], None]

OPTIONS = ("root", "labels", "boxes")
TAIL = 1024  # bytes at the end of a file in which its last marker must be
EVERY = 10_000  # files between two reports of progress
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def find_folder(dataset: str, name: str, path: str, mirrors: Sequence[str]) -> Path:
    """Return the folder or file of a streamed split: the user's own `path`, or the first mirror's that has it.

    Raises
    ------
    ReproodError
        When there is none. Streamed splits are never downloaded.
    """
    if path:
        found = Path(path).expanduser().absolute()
        if not found.exists():
            raise ReproodError(
                f"Data set {dataset}: {found} does not exist; correct 'path' of {name} in the catalogue."
            )
        return found
    local = [Path(mirror).expanduser().absolute() for mirror in mirrors if "://" not in mirror]
    for folder in local:
        for found in (folder / dataset / name, folder / name):
            if found.exists():
                return found
    tried = ", ".join(map(str, local)) or "no folder is configured"
    raise ReproodError(
        f"Data set {dataset}: its folder {name} is not here, and it is not downloaded ({tried}); unpack it as "
        f"{dataset}/{name} in a folder that is listed under 'mirrors', or give its 'path' under 'datasets' "
        "(config/config.yaml)."
    )


def silent(done: int, total: int) -> None:
    """Report no progress."""


def index_dataset(
    name: str,
    entry: DatasetEntry,
    split: str,
    out: Path,
    mirrors: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[str, ...]:
    """Read every file of a streamed split once, and write its index; return what was left out or guessed.

    Parameters
    ----------
    name, entry, split
        Data set, its catalogue entry, and the split.
    out : Path
        `data/<data set>/<split>`.
    mirrors : sequence of str
        Folders that contain `<data set>/<file>` or `<file>`, for files without a `path`.
    progress : callable
        (files read, files in all), called now and then.

    Raises
    ------
    ReproodError
        When a folder or list is missing, or an image or annotation is damaged.
    """
    record = entry.splits[split]
    where = f"Data set {name}, split {split}"
    paths = {file: find_folder(name, file, entry.files[file].path, mirrors) for file in record.files}
    index = read_index(paths, record.options, entry.classes, where, progress)
    classes = list(plain_names(index.classes, where))
    meta = {
        "name": name,
        "split": split,
        "title": entry.title,
        "classes": classes,
        "licence": entry.licence,
        "citation": entry.citation,
        "homepage": entry.homepage,
        "note": entry.note,
        "source": {"kind": "path", "files": list(index.sources)},
        "preparation": {"size": None, "published_resize": False},
        **({"notes": list(index.notes)} if index.notes else {}),
    }
    save_index(out, index, index.labels, {}, meta)
    return index.notes


def read_index(
    paths: Mapping[str, Path],
    options: Mapping[str, Any],
    classes: Sequence[str],
    where: str,
    progress: Progress = silent,
) -> ImageIndex:
    """Read the images of a folder once, in the order of their names.

    Every file is read whole: its checksum is computed, its header decoded, and that it is complete is checked.

    Parameters
    ----------
    paths : mapping
        The split's files by name; the first one is the folder of images.
    options : mapping
        `root`: folder inside of the first; `labels`: name of the file with the labels of a flat folder (a list of
        image and class, or the folder of ImageNet's development kit), "none" for images without labels; `boxes`: name
        of the folder of XML files with boxes.
    classes : sequence of str
        Names in the order of the labels; () = the sorted names of the class folders.
    where : str
        Data set and split, for messages.
    progress : callable
        (files read, files in all), called after every 10,000 files.

    Raises
    ------
    ReproodError
        When a file is missing or damaged, or does not fit the others.
    """
    unknown = [key for key in options if key not in OPTIONS]
    if unknown or not paths:
        found = f"the option '{unknown[0]}'" if unknown else "no folder"
        raise ReproodError(f"{where}: the reader image_index got {found}; expected {', '.join(OPTIONS)}, and a folder.")
    for key in ("labels", "boxes"):
        if options.get(key, "none") != "none" and options[key] not in paths:
            raise ReproodError(f"{where}: '{key}' names {options[key]}, which is not among the split's files.")
    folder = next(iter(paths.values())) / str(options.get("root", ""))
    tally = Tally()
    names = _image_names(folder, where, tally)
    labels, known = _labels(folder, names, paths, options, classes, where)
    digests, shapes, size = _contents(folder, names, progress)
    boxes = {}
    if "boxes" in options:
        boxes = read_boxes(paths[options["boxes"]], names, shapes, tally)
    prefix = os.fsencode(f"{folder}/")
    return ImageIndex(
        paths=np.array([prefix + os.fsencode(name) for name in names], dtype=np.bytes_),
        digests=digests,
        labels=labels,
        prefix=len(prefix),
        size=size,
        boxes=boxes,
        classes=tuple(known),
        sources=({"name": next(iter(paths)), "size": size, "sha256": _whole(names, digests), "digest_status": "own",
                  "from": "the user's own path"},),
        notes=tally.notes(),
    )  # fmt: skip


def _whole(names: Sequence[str], digests: np.ndarray) -> str:
    """Return one checksum of all names and files."""
    digest = sha256("\n".join(names).encode(errors="surrogateescape"))
    digest.update(digests.tobytes())
    return digest.hexdigest()


def _image_names(folder: Path, where: str, tally: Tally) -> list[str]:
    """Return the names of the images in a folder and its class folders, sorted."""
    if not folder.is_dir():
        raise ReproodError(f"{where}: {folder} is not a folder; unpack the archive, or correct 'root'.")
    names: list[str] = []
    with os.scandir(folder) as entries:
        for top in entries:
            if top.name.startswith("."):
                continue
            if top.is_dir():
                with os.scandir(top.path) as inner:
                    names += (f"{top.name}/{file.name}" for file in inner)
            else:
                names.append(top.name)
    images = sorted(name for name in names if is_image(name))
    for name in names:
        if not is_image(name):
            tally.add("files without the suffix of an image are left out", name)
    if not images:
        raise ReproodError(f"{where}: there are no images in {folder} or its class folders; correct 'path' or 'root'.")
    return images


def _labels(
    folder: Path,
    names: Sequence[str],
    paths: Mapping[str, Path],
    options: Mapping[str, Any],
    classes: Sequence[str],
    where: str,
) -> tuple[np.ndarray, list[str]]:
    """Return the class numbers of the images, and the names of the classes."""
    source = options.get("labels")
    if source == "none":
        return np.full(len(names), -1, np.int64), list(classes)
    if source is not None:
        path = paths[source]
        own = devkit_labels(path, names) if path.is_dir() else read_listing(path, names)
    else:
        flat = next((name for name in names if "/" not in name), None)
        if flat is not None:
            raise ReproodError(
                f"{where}: {folder / flat} is outside the class folders; move it, or name the file with the labels of "
                "a flat folder with the option 'labels'."
            )
        own = [name.split("/")[0] for name in names]
    known = list(classes) or sorted(set(own))
    number = {name: i for i, name in enumerate(known)}
    wrong = next((i for i, name in enumerate(own) if name not in number), None)
    if wrong is not None:
        raise ReproodError(
            f"{where}: the class '{own[wrong]}' of {names[wrong]} is not among the catalogue's {len(known)} classes; "
            "correct 'classes', or the file."
        )
    return np.array([number[name] for name in own], np.int64), known


def _contents(folder: Path, names: Sequence[str], progress: Progress) -> tuple[np.ndarray, np.ndarray, int]:
    """Return checksum [N] and (width, height) [N, 2] of each file, and the number of bytes."""
    digests, shapes = np.empty(len(names), np.uint64), np.empty((len(names), 2), np.int64)
    size = 0
    for row, name in enumerate(names):
        path = folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReproodError(f"{path} cannot be read ({error.strerror}); replace it by an intact copy.") from error
        shapes[row] = header(data, str(path))
        digests[row] = int.from_bytes(sha256(data).digest()[:8], "big")
        size += len(data)
        if (row + 1) % EVERY == 0:
            progress(row + 1, len(names))
    return digests, shapes, size


def header(data: bytes, where: str) -> tuple[int, int]:
    """Return width and height of an encoded image, and check that the file is complete without decoding its pixels.

    Raises
    ------
    ReproodError
        If it is not an image, or its end is missing.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMS) as picture:
            form, size = str(picture.format), picture.size
    except UNREADABLE as error:
        raise ReproodError(f"{where} is not a readable image; replace it by an intact copy.") from error
    if form not in ENDS:
        decode(data, where)
    elif ENDS[form] not in data[-TAIL:]:
        raise ReproodError(f"{where} is cut off after {len(data):,} bytes; replace it by an intact copy.")
    return size
