"""Is every file what its job wrote? A SHA256SUMS beside the files, written by the job and checked by who reads them.

A flipped byte in a model, in predictions or in an array would otherwise go unnoticed into a verdict. The lists are in
the form of `sha256sum -c`, lie in the folders that they speak of, and so travel with them (DVC, copies). Files
without an entry (made before there were lists, or put there by hand) are not checked.

No result depends on this module: it stands outside every fingerprint, around the jobs.
"""

import fcntl
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file, write_json

SUMS = "SHA256SUMS"
FOLDERS = ("data", "runs", "results", "reports")  # of a checkout
LEVELS = 4  # how far above a file its list may lie
SEEN = Path("state/seen.json")  # size, times and digest of the files that were read last: they need not be read again


# --- the lists


def read_list(folder: Path) -> dict[str, str]:
    """Path below the folder -> SHA-256; empty without a list.

    Raises
    ------
    ReproodError
        When a line is none of a digest and a name.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
            raise ReproodError(
                f"{folder / SUMS}, line {number}: expected a SHA-256 digest and a name; remove the file and those of "
                f"its folder, and run the same command again: they are made anew."
            )
        found[name] = digest
    return found


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Exclusive access to a list that is replaced as a whole: the lock counts only while the name means this file."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(path, handle):
                yield
                return
        finally:
            os.close(handle)


def _is(path: Path, handle: int) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _change(folder: Path, names: Sequence[str], digests: dict[str, str]) -> None:
    """Take names out of a folder's list, or give them new digests; several jobs may write into one folder."""
    with _held(folder / SUMS):
        known = read_list(folder)
        changed = {name: digest for name, digest in known.items() if name not in names} | digests
        if changed != known or not changed:
            lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(changed.items()))
            for left in folder.glob(f".{SUMS}.*"):  # by a job that was killed
                left.unlink(missing_ok=True)
            with atomic_path(folder / SUMS) as temporary:
                temporary.write_text(lines, encoding="utf-8")
            if not changed:
                (folder / SUMS).unlink()


def stated(path: Path) -> tuple[str, Path] | None:
    """The digest of a file in the nearest list that names it, and that list; None when there is none."""
    for folder in list(path.parents)[:LEVELS]:
        digest = read_list(folder).get(path.relative_to(folder).as_posix())
        if digest is not None:
            return digest, folder / SUMS
    return None


# --- around a job


def require_whole(paths: Iterable[Path]) -> None:
    """Every file that has an entry is what its job wrote. A file that is missing is not this function's business.

    Raises
    ------
    ReproodError
        Names the first that is not.
    """
    for path in paths:
        known = stated(path) if path.is_file() else None
        if known is not None and sha256_file(path) != known[0]:
            raise ReproodError(
                f"{path} is not what its job wrote (its SHA-256 is not the one in {known[1]}): it was damaged, or "
                "changed by hand; remove it and run the same command again: it is made anew."
            )


@contextmanager
def whole(reads: Iterable[Path], writes: Iterable[Path], *, at: Path | None = None) -> Iterator[None]:
    """Check what a job reads before it begins, and list what it wrote when it has ended well.

    Parameters
    ----------
    reads, writes : iterable of Path
        Files.
    at : Path, optional
        Where the list lies; by default the deepest folder that holds all of `writes`.

    Raises
    ------
    ReproodError
        When a file that is read is not what its job wrote.
    """
    require_whole(reads)
    written = [Path(os.path.abspath(path)) for path in writes]
    if not written:
        yield
        return
    folder = Path(os.path.abspath(at) if at else os.path.commonpath([path.parent for path in written]))
    names = [path.relative_to(folder).as_posix() for path in written]
    if (folder / SUMS).exists():
        _change(folder, names, {})  # no list speaks of a file that is being written
    for path in written:
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):  # by a job that was killed
            left.unlink(missing_ok=True)
    yield
    made = {name: path for name, path in zip(names, written, strict=True) if path.is_file()}
    if made:
        _change(folder, names, {name: sha256_file(path) for name, path in made.items()})


# --- all of a checkout


def lists(root: Path, chosen: Iterable[str] = FOLDERS) -> Iterator[Path]:
    """The folders with a list below some folders of a checkout."""
    for name in chosen:
        for folder, _, files in os.walk(root / name):
            if SUMS in files:
                yield Path(folder)


def damaged(root: Path, chosen: Iterable[str] = FOLDERS, *, quick: bool = False) -> list[str]:
    """Files, relative to `root`, that are not what their jobs wrote; missing ones are not among them.

    Parameters
    ----------
    root : Path
        A checkout.
    chosen : iterable of str
        Folders below it.
    quick : bool
        Read only files whose size, times or place on the disk have changed since they were last read.
    """
    seen: dict[str, list[int | str]] = {}
    if quick:
        with suppress(ReproodError):  # missing or damaged: then everything is read once more
            known = read_json(root / SEEN)
            seen = known if isinstance(known, dict) else {}
    found, looked = [], dict(seen)
    for folder in lists(root, chosen):
        for name, digest in read_list(folder).items():
            path = folder / name
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            key = path.relative_to(root).as_posix()
            marks = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            if seen.get(key, [])[:-1] != marks:
                looked[key] = [*marks, sha256_file(path)]
            if looked[key][-1] != digest:
                found.append(key)
    if quick and looked != seen:
        write_json(root / SEEN, looked)
    return sorted(found)


def require_all_whole(root: Path, chosen: Iterable[str], *, quick: bool = True) -> None:
    """Before anything runs: every listed file in some folders is what its job wrote.

    Raises
    ------
    ReproodError
        Names those that are not.
    """
    found = damaged(root, chosen, quick=quick)
    if found:
        some = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise ReproodError(
            f"{len(found)} file{'s are' if len(found) > 1 else ' is'} not what the jobs wrote: {some} (damaged, or "
            f"changed by hand; see {SUMS} beside them); `reprood intact --remove` removes "
            f"{'them' if len(found) > 1 else 'it'}, and the same command then makes "
            f"{'them' if len(found) > 1 else 'it'} anew."
        )
