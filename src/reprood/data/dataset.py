"""The first step of the line: one split of a data set, from its sources to memory-mapped arrays."""

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data import folders, formats
from reprood.data.arrays import save_split
from reprood.data.bounds import plain_names
from reprood.data.catalogue import DatasetEntry
from reprood.data.download import Patience, Progress
from reprood.data.generators import Drawn, generate
from reprood.data.sources import Found, fetch

MOST_CLASSES = 1_000_000
log = logging.getLogger(__name__)


def _read(entry: DatasetEntry, split: str, paths: Sequence[Path], dataset: str) -> Drawn:
    """Hand the files to the split's reader."""
    record = entry.splits[split]
    options = dict(record.options)
    channels = entry.channels or 3
    readers: dict[str, Callable[[], Drawn]] = {
        "idx": lambda: formats.idx(paths[0], paths[1]),
        "cifar_binary": lambda: formats.cifar_binary(paths[0], **options),
        "svhn_mat": lambda: formats.svhn_mat(paths[0]),
        "npy": lambda: formats.npy(*paths),
        "npz": lambda: formats.npz(paths[0], **options),
        "npy_archive": lambda: formats.npy_archive(paths[0], **options),
        "digits_csv": lambda: formats.digits_csv(paths[0]),
        "image_folder": lambda: folders.image_folder(paths[0], channels, entry.size, **options),
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
            f"Data set {dataset}, split {split}: the reader {record.reader} needs more memory than there is "
            f"({str(error)[:200]}); check the files and options."
        ) from error


def _generated(entry: DatasetEntry, split: str, dataset: str) -> Drawn:
    """Draw; the seed depends on the names, so that train and test differ."""
    options = dict(entry.splits[split].options)
    name = str(options.pop("generator", dataset))
    seed = int(options.pop("seed", int.from_bytes(hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:4], "big")))
    return generate(name, seed, options)


def _reporter(name: str) -> Progress:
    """A line (how far, how fast, how long still) for every tenth of a file, at most one in two seconds."""
    begun = last = time.monotonic()
    first = step = -1

    def report(done: int, total: int | None) -> None:
        nonlocal first, step, last
        first = done if first < 0 else first
        now, reached = time.monotonic(), done * 10 // total if total else done >> 24
        if done != total and (reached == step or now - last < 2):
            return
        step, last = reached, now
        speed = (done - first) / max(now - begun, 1e-3)
        line = f"{name}: {done / 1e6:,.1f} MB" + (f" of {total / 1e6:,.1f} MB" if total else "")
        if speed > 0:
            line += f", {speed / 1e6:.1f} MB/s" + (f", {(total - done) / speed:.0f} s left" if total else "")
        print(line, file=sys.stderr, flush=True)

    return report


def prepare_dataset(
    name: str,
    entry: DatasetEntry,
    split: str,
    *,
    mirrors: Sequence[str],
    downloads: Path,
    out: Path,
    offline: bool = False,
    patience: Patience | None = None,
) -> None:
    """Fetch, check, decode and write one split of a data set.

    Parameters
    ----------
    name, entry, split
        What.
    mirrors : sequence of str
        Folders or URLs tried first.
    downloads : Path
        Where fetched files are kept.
    out : Path
        `data/<data set>/<split>`.
    offline : bool
        Do not ask official addresses.
    patience : Patience, optional
        How long to wait for servers.

    Raises
    ------
    ReproodError
        When no source has a file, or when a file is damaged.
    """
    if split not in entry.splits:
        raise ReproodError(f"The data set '{name}' has no split '{split}'; it has: {', '.join(entry.splits)}.")
    found: list[Found] = []
    silent: set[str] = set()
    for file in entry.splits[split].files:
        found.append(
            fetch(
                name,
                entry,
                file,
                mirrors=mirrors,
                downloads=downloads,
                offline=offline,
                patience=patience,
                progress=_reporter,
                silent=silent,
            )
        )
        print(f"{name}: {file} from {found[-1].record['from']}", file=sys.stderr, flush=True)
    drawn = _read(entry, split, [one.path for one in found], name)
    where = f"Data set {name}, split {split}"
    if found:
        where += f" ({', '.join(str(one.path) for one in found)})"
    if not drawn.images.size:
        raise ReproodError(f"{where}: there are no images, or none with pixels: {drawn.images.shape}; check the files.")
    classes = list(plain_names(entry.classes or drawn.classes, where))
    most = int(drawn.labels.max(initial=-1))
    if not classes and most > MOST_CLASSES:
        row = int(np.argmax(drawn.labels))
        raise ReproodError(
            f"{where}: record {row} has label {most}; expected at most {MOST_CLASSES:,} where no 'classes' are named."
        )
    odd = np.flatnonzero((drawn.labels < -1) | (drawn.labels >= (len(classes) or np.iinfo(np.int64).max)))
    if len(odd):
        raise ReproodError(
            f"{where}: record {odd[0]} has label {drawn.labels[odd[0]]}, expected "
            f"{f'0 to {len(classes) - 1}' if classes else '0 or more'} (-1 = none); correct 'classes' in the "
            "catalogue, or the file."
        )
    kinds = {one.kind for one in found}
    kind = "generator" if not found else kinds.pop() if len(kinds) == 1 else "several"
    save_split(
        out,
        drawn.images,
        drawn.labels,
        drawn.extras,
        {
            "name": name,
            "split": split,
            "title": entry.title,
            "classes": classes,
            "licence": entry.licence,
            "citation": entry.citation,
            "homepage": entry.homepage,
            "note": entry.note,
            "source": {"kind": kind, "files": [one.record for one in found]},
            "preparation": {
                "size": entry.size,
                "published_resize": entry.published_resize,
                **{key: value for key, value in entry.splits[split].options.items() if key == "fit"},
            },
        },
    )
    print(f"{name}/{split}: {len(drawn.images):,} images {drawn.images.shape[1:]}", file=sys.stderr, flush=True)
