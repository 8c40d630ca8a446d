"""The first step of the line: one split of a data set, from its sources to memory-mapped arrays."""

import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from reprood.data import folders, formats
from reprood.data.arrays import save_split
from reprood.data.catalogue import DatasetEntry
from reprood.data.download import Patience, Progress
from reprood.data.generators import Drawn, generate
from reprood.data.sources import Found, fetch
from reprood.errors import ReproodError

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
    except (TypeError, IndexError) as error:
        raise ReproodError(
            f"Data set {dataset}, split {split}: the reader {record.reader} does not fit its files or options "
            f"({error}); correct the catalogue entry."
        ) from error


def _generated(entry: DatasetEntry, split: str, dataset: str) -> Drawn:
    """Draw; the seed depends on the names, so that train and test differ."""
    options = dict(entry.splits[split].options)
    name = str(options.pop("generator", dataset))
    seed = int(options.pop("seed", int.from_bytes(hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:4], "big")))
    return generate(name, seed, options)


def _reporter(name: str) -> Progress:
    """A line in the log for every tenth of a file."""
    last = -1

    def report(done: int, total: int | None) -> None:
        nonlocal last
        step = done * 10 // total if total else done >> 24
        if step != last:
            last = step
            share = f"{100 * done // total} %" if total else f"{done >> 20} MiB"
            print(f"{name}: {share}", file=sys.stderr, flush=True)

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
            )
        )
        print(f"{name}: {file} from {found[-1].record['from']}", file=sys.stderr, flush=True)
    drawn = _read(entry, split, [one.path for one in found], name)
    classes = list(entry.classes or drawn.classes)
    if classes and drawn.labels.max(initial=-1) >= len(classes):
        raise ReproodError(
            f"Data set {name}, split {split}: there is a label {drawn.labels.max()} and {len(classes)} classes; "
            "correct 'classes' in the catalogue or the file."
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
            "preparation": {"size": entry.size, "published_resize": entry.published_resize},
        },
    )
    print(f"{name}/{split}: {len(drawn.images):,} images {drawn.images.shape[1:]}", file=sys.stderr, flush=True)
