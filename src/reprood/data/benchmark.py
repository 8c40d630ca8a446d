"""Select the rows of one split of a benchmark by a fixed rule, and prepare them, a part in memory at a time."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reprood.config.records import LabelNoise, Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import Split, load_split, save_split
from reprood.data.label_noise import corrupt_labels, gold_rows
from reprood.data.prepare import RULE, prepare_boxes, prepare_images, prepare_masks
from reprood.data.resampling import mixed, shrink_naively, to_channels
from reprood.data.rows import Rows, part_rows, parts_file
from reprood.images.registry import load_style


def fixed_order(labels: np.ndarray, key: str) -> np.ndarray:
    """Return a class-stratified pseudo-random order of rows that depends only on `key` and the labels.

    The j-th of the n rows of a class is at the relative position (j + 1/2) / n, so every stretch of the order has the
    class proportions of the whole.

    Parameters
    ----------
    labels : int array [N]
        Class numbers.
    key : str
        Name of the data set and split.

    Returns
    -------
    int array [N]
        A permutation of 0..N-1.
    """
    rows = np.empty(len(labels), np.int64)
    position = np.empty(len(labels), np.float64)
    start = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        seed = int.from_bytes(hashlib.sha256(f"{key}/{label}".encode()).digest()[:8], "big")
        stop = start + len(members)
        rows[start:stop] = np.random.Generator(np.random.PCG64(seed)).permutation(members)
        position[start:stop] = (np.arange(len(members)) + 0.5) / len(members)
        start = stop
    return rows[np.argsort(position, kind="stable")]


def select_rows(labels: np.ndarray, source: Source, where: str) -> np.ndarray:
    """Return rows [skip, skip + limit) of the fixed order of the rows whose label is in `source.classes`.

    Raises
    ------
    ReproodError
        If a class has no rows, or if fewer rows exist than are requested.
    """
    candidates = np.arange(len(labels))
    if source.classes is not None:
        absent = [c for c in source.classes if not (labels == c).any()]
        if absent:
            known = np.unique(labels)
            raise ReproodError(
                f"{where}: class {absent[0]} has no images; the labels are {known.min()} to {known.max()}."
            )
        candidates = np.flatnonzero(np.isin(labels, source.classes))
    stop = len(candidates) if source.limit is None else source.skip + source.limit
    if source.skip >= len(candidates) or stop > len(candidates):
        raise ReproodError(
            f"{where}: rows {source.skip} to {stop} were requested, but there are {len(candidates)}; "
            "lower 'skip' or 'limit'."
        )
    order = fixed_order(labels[candidates], f"{source.dataset}/{source.split}")
    return np.asarray(candidates[order[source.skip : stop]])


def benchmark_labels(
    stored: Split, rows: np.ndarray, source: Source, role: str, where: str
) -> tuple[np.ndarray, list[str]]:
    """Return the labels of some rows in a benchmark, int64 [n], and the names of its classes; see `prepare_split`.

    Raises
    ------
    ReproodError
        If rows that need a label have none.
    """
    if role not in ("train", "validation", "test") and not source.labelled:
        return np.full(len(rows), -1, np.int64), []
    if (stored.labels[rows] < 0).any():
        raise ReproodError(
            f"{where}: {source.dataset}/{source.split} has images without a label, which only OOD and unlabelled "
            "auxiliary splits may have."
        )
    classes = source.classes or tuple(range(int(stored.labels.max()) + 1))
    lookup = {old: new for new, old in enumerate(classes)}
    known = stored.meta.get("classes") or []
    names = [known[c] if c < len(known) else str(c) for c in classes]
    return np.array([lookup[int(label)] for label in stored.labels[rows]], np.int64), names


def common_meta(stored: Split, source: Source, role: str, names: Sequence[str]) -> dict[str, Any]:
    """Return what the record of every split of a benchmark says of its data set, rows and classes."""
    kept = ("title", "source", "licence", "citation", "note")
    return {
        **{key: stored.meta[key] for key in kept if key in stored.meta},
        "name": source.dataset,
        "split": source.split,
        "role": role,
        "classes": list(names),
        "rows": source.model_dump(mode="json"),
        "from": stored.meta["content"],
    }


def noisy(labels: np.ndarray, classes: int, noise: LabelNoise) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with noise in all rows that are not trusted, and which rows are trusted (uint8)."""
    trusted = gold_rows(labels, classes, noise.trusted) if noise.trusted else np.zeros(len(labels), bool)
    noisy_labels = labels.copy()
    noisy_labels[~trusted] = corrupt_labels(
        labels[~trusted], classes, noise.kind, noise.strength, noise.seed, noise.superclasses
    )
    return noisy_labels, trusted.astype(np.uint8)


def _resampled(source: Source, size: int, channels: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that prepares stored images [n, H, W, C], each on its own: to [n, size, size, channels]."""
    if source.resample == "nearest":
        return lambda images: to_channels(shrink_naively(images, size), channels)
    return lambda images: prepare_images(images, size, channels)


def _in_parts(stored: Split, rows: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray], file: Path) -> np.ndarray:
    """Return the prepared images of some rows, memory-mapped from `file`; a part of them is in memory at a time."""
    prepared = Rows(len(rows), str(file.parent), file)
    step = part_rows(stored.images[0].size)
    for start in range(0, len(rows), step):
        prepared.extend(start, prepare(stored.images[rows[start : start + step]]))
    return prepared.all()


def prepare_split(
    source: Source,
    preparation: Preparation,
    folder: Path,
    out: Path,
    role: str,
    noise: LabelNoise | None = None,
) -> None:
    """Write one split of a benchmark.

    Parameters
    ----------
    source : Source
        Which rows.
    preparation : Preparation
        Size and channels of the benchmark.
    folder : Path
        The data set's split.
    out : Path
        `data/benchmarks/<benchmark>/<split>`.
    role : {"train", "validation", "test", "ood", "auxiliary"}
        In-distribution labels become 0, 1, ... in the order of `source.classes`; ood and auxiliary labels become -1,
        except for a labelled auxiliary source.
    noise : LabelNoise, optional
        Wrong labels in the training split: methods may see `labels`; `extras` contain `clean_label` (only for the
        report) and `trusted` (1 where the label is known to be right).

    Raises
    ------
    ReproodError
        If rows or classes are missing.
    """
    with parts_file(Path(out)) as parts:
        _write_split(source, preparation, load_split(folder), out, role, noise, parts)


def _write_split(
    source: Source,
    preparation: Preparation,
    stored: Split,
    out: Path,
    role: str,
    noise: LabelNoise | None,
    parts: Path,
) -> None:
    """Select, prepare and write; `parts` is a file for the images until they are written."""
    rows = select_rows(stored.labels, source, str(out))
    size, channels = preparation.size, preparation.channels
    prepare = _resampled(source, size, channels)
    if source.mixed or source.style:  # they look at all images together
        images = prepare(stored.images[rows])
        if source.mixed:
            images = mixed(images)
        if source.style:
            images = np.ascontiguousarray(load_style(source.style)(np.ascontiguousarray(images)))
    else:
        images = _in_parts(stored, rows, prepare, parts)
    labels, names = benchmark_labels(stored, rows, source, role, str(out))
    extras = {"row": rows, "source_label": stored.labels[rows]}
    if noise is not None and role == "train":
        extras["clean_label"] = labels
        labels, extras["trusted"] = noisy(labels, len(names), noise)
    height, width = stored.images.shape[1:3]
    if "masks" in stored.extras:
        extras["masks"] = prepare_masks(stored.extras["masks"][rows], size)
    if "boxes" in stored.extras:
        extras["boxes"] = prepare_boxes(stored.extras["boxes"][rows], height, width, size)
    before = stored.meta.get("preparation", {})
    meta = {
        **common_meta(stored, source, role, names),
        **({"label_noise": noise.model_dump(mode="json")} if noise is not None and role == "train" else {}),
        "preparation": {
            "rule": RULE,
            "size": size,
            "channels": channels,
            "stored_shape": [height, width, stored.images.shape[3]],
            "published_resize": bool(before.get("published_resize", False)),
            **({"naive_resize": True} if source.resample == "nearest" else {}),
        },
    }
    save_split(out, images, labels, extras, meta)
