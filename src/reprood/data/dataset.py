"""Read one split of a data set from its files and write it as memory-mapped arrays.

Fetching the files (`sources`) is separate, so that changes to downloads, mirrors or progress reports rebuild nothing:
the files are verified by their checksums.

Encoded images are put into a memory-mapped file as they are read, so that a split of ImageNet's size needs little
memory: the reader holds one image, `save_split` none. Images of several archives in one split are joined in memory.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data import formats
from reprood.data.arrays import save_split
from reprood.data.bounds import plain_names
from reprood.data.cub import cub
from reprood.data.domainnet import domainnet
from reprood.data.downsampled import downsampled_imagenet
from reprood.data.entries import DatasetEntry, SourceFile
from reprood.data.folders import image_folder, tiny_imagenet
from reprood.data.frost import frost_crops
from reprood.data.generators import ImageData, generate
from reprood.data.image_lists import image_list
from reprood.data.joining import by_catalogue, joined, missing_shards
from reprood.data.mvtec import mvtec
from reprood.data.rows import parts_file
from reprood.data.tables import parquet

MOST_CLASSES = 1_000_000
FOLDERS = ("image_folder", "mvtec")  # readers whose class names are those of folders
# Readers that find class names in the data.
NAMED = (*FOLDERS, "parquet", "cifar_binary", "tiny_imagenet", "cub", "domainnet")


def _readers(
    entry: DatasetEntry, options: dict[str, Any], parts: Path | None
) -> dict[str, Callable[[Path], ImageData]]:
    """Return the readers of one file each, by name; `parts` as in `rows.Rows`."""
    channels = entry.channels or 3
    return {
        "cifar_binary": lambda path: formats.cifar_binary(path, **options),
        "svhn_mat": lambda path: formats.svhn_mat(path, **options),
        "npz": lambda path: formats.npz(path, **options),
        "npy_archive": lambda path: formats.npy_archive(path, **options),
        "digits_csv": lambda path: formats.digits_csv(path, **options),
        "image_folder": lambda path: image_folder(path, channels, entry.size, file=parts, **options),
        "cub": lambda path: cub(path, channels, entry.size or 256, file=parts, **options),
        "image_list": lambda path: image_list(path, channels, entry.size, **options),
        "mvtec": lambda path: mvtec(path, channels, entry.size or 256, **options),
        "tiny_imagenet": lambda path: tiny_imagenet(path, **options),
        "parquet": lambda path: parquet(path, channels, entry.size, **options),
    }


def _all_files(
    entry: DatasetEntry, split: str, paths: Sequence[Path], dataset: str, where: str, parts: Path
) -> ImageData:
    """Read every file of a split."""
    record = entry.splits[split]
    names, options = list(record.files), dict(record.options)
    if len(set(names)) < len(names):
        raise ReproodError(f"{where}: a file is named twice ({', '.join(names)}); name each once.")
    if record.reader == "generator":
        if names:
            raise ReproodError(f"{where}: a generator reads no files, and {', '.join(names)} is named; remove it.")
        return _generated(entry, split, dataset)
    if record.reader == "frost_crops":
        return frost_crops(paths, entry.channels or 3, **options)
    if record.reader == "npy":
        if len(paths) > 2:
            raise ReproodError(
                f"{where}: the reader npy reads one file of images and one of labels, and {len(paths)} are named; make "
                "a split of each pair, or save them as one."
            )
        return formats.npy(*paths, **options)
    if record.reader == "idx":
        if len(paths) % 2:
            raise ReproodError(f"{where}: the reader idx reads pairs of images and labels; {len(paths)} are named.")
        pairs = [formats.idx(*pair, **options) for pair in zip(paths[::2], paths[1::2], strict=True)]
        return joined(pairs, names[::2], where, folders=False)
    if record.reader == "downsampled_imagenet":
        return downsampled_imagenet(paths, names, file=parts, **options)
    if record.reader == "domainnet":
        if len(paths) != 2:
            raise ReproodError(
                f"{where}: the reader domainnet reads a list and an archive, in this order; {len(paths)} files are "
                "named."
            )
        return domainnet(paths[0], paths[1], entry.channels or 3, entry.size or 256, file=parts, **options)
    read = _readers(entry, options, parts if len(paths) == 1 else None)[record.reader]
    return joined([read(path) for path in paths], names, where, folders=record.reader in FOLDERS)


def _read(entry: DatasetEntry, split: str, paths: Sequence[Path], dataset: str, parts: Path) -> ImageData:
    """Read the files with the split's reader."""
    record = entry.splits[split]
    where = f"Data set {dataset}, split {split}"
    try:
        read = _all_files(entry, split, paths, dataset, where, parts)
    except (TypeError, IndexError, KeyError, AttributeError, ValueError, OverflowError) as error:
        files = ", ".join(str(path) for path in paths)
        raise ReproodError(
            f"{where}: the reader {record.reader} does not fit its files or options "
            f"({str(error)[:200]}; files: {files or 'none'}); correct the catalogue entry."
        ) from error
    except MemoryError as error:
        raise ReproodError(
            f"{where}: the reader {record.reader} needs more memory than is available "
            f"({str(error)[:200]}); check the files and options."
        ) from error
    if record.reader in NAMED:
        read = by_catalogue(read, entry.classes, where)
    if record.reader == "mvtec" and entry.classes and entry.classes[0] != "good":
        raise ReproodError(f"{where}: the first of 'classes' is '{entry.classes[0]}'; in this layout it is 'good'.")
    return replace(read, notes=(*read.notes, *missing_shards(record.files)))


def _generated(entry: DatasetEntry, split: str, dataset: str) -> ImageData:
    """Generate images; the default seed depends on the names, so that train and test differ."""
    options = dict(entry.splits[split].options)
    name = str(options.pop("generator", dataset))
    seed = int(options.pop("seed", int.from_bytes(hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:4], "big")))
    return generate(name, seed, options)


def prepare_dataset(
    name: str, entry: DatasetEntry, split: str, files: Sequence[SourceFile], out: Path
) -> tuple[str, ...]:
    """Decode, check and write one split of a data set; return what was left out or guessed, one sentence each.

    Parameters
    ----------
    name, entry, split
        Data set, its catalogue entry, and the split.
    files : sequence of SourceFile
        The split's files in the order of the entry, as `sources.fetch_split` returns them.
    out : Path
        `data/<data set>/<split>`.

    Raises
    ------
    ReproodError
        If a file is damaged or does not fit the entry.
    """
    with parts_file(Path(out)) as parts:
        return _write(name, entry, split, files, out, _read(entry, split, [file.path for file in files], name, parts))


def _write(
    name: str, entry: DatasetEntry, split: str, files: Sequence[SourceFile], out: Path, read: ImageData
) -> tuple[str, ...]:
    """Check what was read and write it."""
    where = f"Data set {name}, split {split}"
    if files:
        where += f" ({', '.join(str(file.path) for file in files)})"
    if not read.images.size:
        raise ReproodError(
            f"{where}: there are no images, or images without pixels (shape {read.images.shape}); check the files."
        )
    classes = list(plain_names(entry.classes or read.classes, where))
    largest = int(read.labels.max(initial=-1))
    if not classes and largest > MOST_CLASSES:
        row = int(np.argmax(read.labels))
        raise ReproodError(
            f"{where}: record {row} has label {largest}; without 'classes', at most {MOST_CLASSES:,} is allowed."
        )
    wrong = np.flatnonzero((read.labels < -1) | (read.labels >= (len(classes) or np.iinfo(np.int64).max)))
    if len(wrong):
        raise ReproodError(
            f"{where}: record {wrong[0]} has label {read.labels[wrong[0]]}, expected "
            f"{f'0 to {len(classes) - 1}' if classes else '0 or more'} (-1 = none); correct 'classes' in the "
            "catalogue, or the file."
        )
    kinds = {file.kind for file in files}
    kind = "generator" if not files else kinds.pop() if len(kinds) == 1 else "several"
    save_split(
        out,
        read.images,
        read.labels,
        read.extras,
        {
            "name": name,
            "split": split,
            "title": entry.title,
            "classes": classes,
            "licence": entry.licence,
            "citation": entry.citation,
            "homepage": entry.homepage,
            "note": entry.note,
            "source": {"kind": kind, "files": [file.record for file in files]},
            "preparation": {
                "size": entry.size,
                "published_resize": entry.published_resize,
                **{key: value for key, value in entry.splits[split].options.items() if key == "fit"},
            },
            **({"notes": list(read.notes)} if read.notes else {}),
        },
    )
    return read.notes
