"""Read one split of a data set from its files and write it as memory-mapped arrays.

Fetching the files (`sources`) is separate, so that changes to downloads, mirrors or progress reports rebuild nothing:
the files are verified by their checksums.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data import folders, formats
from reprood.data.arrays import save_split
from reprood.data.bounds import plain_names
from reprood.data.entries import DatasetEntry, SourceFile
from reprood.data.frost import frost_crops
from reprood.data.generators import ImageData, generate
from reprood.data.image_lists import image_list

MOST_CLASSES = 1_000_000


def _read(entry: DatasetEntry, split: str, paths: Sequence[Path], dataset: str) -> ImageData:
    """Read the files with the split's reader."""
    record = entry.splits[split]
    options = dict(record.options)
    channels = entry.channels or 3
    readers: dict[str, Callable[[], ImageData]] = {
        "idx": lambda: formats.idx(paths[0], paths[1]),
        "cifar_binary": lambda: formats.cifar_binary(paths[0], **options),
        "svhn_mat": lambda: formats.svhn_mat(paths[0]),
        "npy": lambda: formats.npy(*paths),
        "npz": lambda: formats.npz(paths[0], **options),
        "npy_archive": lambda: formats.npy_archive(paths[0], **options),
        "digits_csv": lambda: formats.digits_csv(paths[0]),
        "frost_crops": lambda: frost_crops(paths, channels, **options),
        "image_folder": lambda: folders.image_folder(paths[0], channels, entry.size, **options),
        "image_list": lambda: image_list(paths[0], channels, entry.size, **options),
        "mvtec": lambda: folders.mvtec(paths[0], channels, entry.size or 256, **options),
        "tiny_imagenet": lambda: folders.tiny_imagenet(paths[0], **options),
        "parquet": lambda: folders.parquet(paths[0], channels, entry.size),
        "generator": lambda: _generated(entry, split, dataset),
    }
    try:
        return readers[record.reader]()
    except (TypeError, IndexError, KeyError, AttributeError, ValueError, OverflowError) as error:
        files = ", ".join(str(path) for path in paths)
        raise ReproodError(
            f"Data set {dataset}, split {split}: the reader {record.reader} does not fit its files or options "
            f"({str(error)[:200]}; files: {files or 'none'}); correct the catalogue entry."
        ) from error
    except MemoryError as error:
        raise ReproodError(
            f"Data set {dataset}, split {split}: the reader {record.reader} needs more memory than is available "
            f"({str(error)[:200]}); check the files and options."
        ) from error


def _generated(entry: DatasetEntry, split: str, dataset: str) -> ImageData:
    """Generate images; the default seed depends on the names, so that train and test differ."""
    options = dict(entry.splits[split].options)
    name = str(options.pop("generator", dataset))
    seed = int(options.pop("seed", int.from_bytes(hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:4], "big")))
    return generate(name, seed, options)


def prepare_dataset(name: str, entry: DatasetEntry, split: str, files: Sequence[SourceFile], out: Path) -> None:
    """Decode, check and write one split of a data set.

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
    read = _read(entry, split, [file.path for file in files], name)
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
        },
    )
