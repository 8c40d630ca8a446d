"""The splits of streamed benchmarks, whose data sets are large and stay in the user's folder (reader `image_index`).

A data set's split is an index of the files (`reprood.data.index_reader`). Of a benchmark's splits, "train" and the
auxiliary ones stay an index, which trainings stream (`reprood.engine.streaming`). All others are small and are read by
many jobs: they are written as pixels, one image at a time, by the rule of ImageNet's evaluation (`evaluation_crop`).
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.data.benchmark import benchmark_labels, common_meta, select_rows
from reprood.data.image_index import ImageIndex, load_index, read_picture, save_index
from reprood.data.rows import Rows, parts_file

RULE = "RGB, shorter side to 8/7 of the size by antialiased bilinear, centre crop (ImageNet's evaluation)"
STREAMED_ROLES = ("train", "auxiliary")


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
    labels, names = benchmark_labels(stored, rows, source, role, str(out))
    meta = {
        **common_meta(stored, source, role, names),
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
    with parts_file(out) as parts:
        images, boxes = _write_pixels(parts, chosen, preparation.size)
        save_split(out, images, labels, {**extras, "digest": chosen.digests, **boxes}, meta)


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
    pixels = Rows(len(index), str(file.parent), file)
    boxes: dict[str, np.ndarray] = {key: np.array(values, np.float32) for key, values in index.boxes.items()}
    for row, path in enumerate(index.paths):
        picture = read_picture(os.fsdecode(path))
        pixels.put(row, np.asarray(evaluation_crop(picture, size)))
        for values in boxes.values():
            values[row] = _boxes_in_crop(values[row], picture.size, size)
    return pixels.all(), boxes


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
