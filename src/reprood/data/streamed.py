"""Streamed splits: large sets of images that stay in the user's folder (reader `image_index`).

The data set's split is an index of the files (`reprood.data.image_index`). Of a benchmark's splits, "train" and the
auxiliary ones stay an index, which trainings stream (`reprood.engine.streaming`). All others are small and are read by
many jobs: they are written as pixels, one image at a time, by the rule of ImageNet's evaluation (`evaluation_crop`).
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.data.benchmark import select_rows
from reprood.data.bounds import plain_names
from reprood.data.entries import DatasetEntry
from reprood.data.image_index import ImageIndex, load_index, read_picture, save_index
from reprood.data.index_reader import Progress, find_folder, read_index, silent

RULE = "RGB, shorter side to 8/7 of the size by antialiased bilinear, centre crop (ImageNet's evaluation)"
STREAMED_ROLES = ("train", "auxiliary")


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


# --- the splits of a benchmark


def prepare_streamed(source: Source, preparation: Preparation, folder: Path, out: Path, role: str) -> None:
    """Write one split of a benchmark: an index for training, pixels for everything else.

    Parameters
    ----------
    source, preparation, folder, out, role
        As for `reprood.data.benchmark.prepare_split`.

    Raises
    ------
    ReproodError
        If rows or classes are missing, for an option that needs the pixels of the training images, or a damaged image.
    """
    _refuse_options(source, preparation, out, role)
    stored = load_split(folder)
    index = load_index(stored)
    rows = select_rows(stored.labels, source, str(out))
    labels, names = np.full(len(rows), -1, np.int64), list[str]()
    if role in ("train", "validation", "test") or source.labelled:
        classes = source.classes or tuple(range(int(stored.labels.max()) + 1))
        position = {old: new for new, old in enumerate(classes)}
        labels = np.array([position[int(label)] for label in stored.labels[rows]], np.int64)
        known = stored.meta.get("classes") or []
        names = [known[c] if c < len(known) else str(c) for c in classes]
    kept: dict[str, Any] = {
        key: stored.meta[key] for key in ("title", "source", "licence", "citation", "note") if key in stored.meta
    }
    meta: dict[str, Any] = {
        **kept,
        "name": source.dataset,
        "split": source.split,
        "role": role,
        "classes": names,
        "rows": source.model_dump(mode="json"),
        "from": stored.meta["content"],
        "preparation": {
            "rule": RULE,
            "size": preparation.size,
            "channels": preparation.channels,
            "published_resize": False,
        },
    }
    extras = {"row": rows, "source_label": stored.labels[rows]}
    chosen = index.select(rows)
    if role in STREAMED_ROLES:
        save_index(out, chosen, labels, extras, meta)
        return
    out.mkdir(parents=True, exist_ok=True)
    pixels = out / f".pixels.{os.getpid()}"
    try:
        images, boxes = _write_pixels(pixels, chosen, preparation.size)
        save_split(out, images, labels, {**extras, "digest": chosen.digests, **boxes}, meta)
    finally:
        with suppress(FileNotFoundError):
            pixels.unlink()


def _refuse_options(source: Source, preparation: Preparation, out: Path, role: str) -> None:
    changed = [key for key in ("style", "mixed") if getattr(source, key)]
    if source.resample != "antialiased":
        changed.append("resample")
    if changed:
        raise ReproodError(f"{out}: a streamed split has no option '{changed[0]}'; remove it.")
    if preparation.channels != 3:
        raise ReproodError(f"{out}: streamed splits are read in colour; set preparation.channels to 3.")


def _write_pixels(file: Path, index: ImageIndex, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Write the evaluation crops of an index to a file; return them memory-mapped, and their boxes."""
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (len(index), size, size, 3), version=(1, 0))
    boxes: dict[str, np.ndarray] = {key: np.array(values, np.float32) for key, values in index.boxes.items()}
    for row, path in enumerate(index.paths):
        picture = read_picture(os.fsdecode(path))
        images[row] = np.asarray(evaluation_crop(picture, size))
        for values in boxes.values():
            values[row] = _boxes_in_crop(values[row], picture.size, size)
    images.flush()
    return images, boxes


def _resized(width: int, height: int, size: int) -> tuple[int, int]:
    """Return width and height after the shorter side has become 8/7 of `size` (256 for 224)."""
    short = round(size * 8 / 7)
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def evaluation_crop(picture: Image.Image, size: int) -> Image.Image:
    """Return the centre crop of ImageNet's evaluation: shorter side to 8/7 of the size, then the centre.

    The same pixels as torchvision's `Resize(256)` and `CenterCrop(224)` of a PIL image, for a size of 224.
    """
    width, height = _resized(*picture.size, size)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return resized.crop((left, top, left + size, top + size))


def _boxes_in_crop(boxes: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Move boxes [..., 4] of an image into its evaluation crop, clipped; rows of -1 (no box) stay."""
    width, height = _resized(*shape, size)
    scale = np.array([width / shape[0], height / shape[1]] * 2)
    offset = np.array([round((width - size) / 2), round((height - size) / 2)] * 2)
    moved = np.clip(boxes * scale - offset, 0, size)
    return np.where(boxes < 0, -1, moved).astype(np.float32)
