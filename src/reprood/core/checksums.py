"""Check that every file is still what its job wrote.

A flipped byte in a model, in predictions or in an array could otherwise reach a verdict unnoticed. Each job records the
SHA-256 of its outputs in a list `SHA256SUMS` next to them, in the format of `sha256sum -c`, and each job that reads
them compares. Files without an entry are not checked. The lists move with their folders (DVC, copies).

No result depends on this module, so it is used around jobs, outside of every fingerprint.
"""

import fcntl
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file, write_json

SUMS = "SHA256SUMS"
FOLDERS = ("data", "runs", "results", "reports")
LEVELS = 4  # how many levels above a file its list may be
SEEN = Path("state/seen.json")  # size, times and checksum of each file when it was last read


def read_sums(folder: Path) -> dict[str, str]:
    """Return the list of a folder: relative path -> SHA-256; empty if there is no list.

    Raises
    ------
    ReproodError
        If a line does not consist of a checksum and a name.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not set(checksum) <= set("0123456789abcdef") or not name:
            raise ReproodError(
                f"{folder / SUMS}, line {number}: expected a SHA-256 and a name; remove this file and the other files "
                "of its folder, and run the same command again to recreate them."
            )
        sums[name] = checksum
    return sums


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock a list. It is replaced as a whole, so the lock counts only if it is on the file that has the name now."""
    while True:
        with open(path, "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            current = False
            with suppress(FileNotFoundError):
                current = os.path.samestat(os.fstat(stream.fileno()), path.stat())
            if current:
                yield
                return


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of a killed job that was writing `path`."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)


def _update(folder: Path, names: Sequence[str], new: Mapping[str, str]) -> None:
    """Replace the entries of some names by new ones; several jobs may write into one folder."""
    with _locked(folder / SUMS):
        old = read_sums(folder)
        sums = {name: checksum for name, checksum in old.items() if name not in names} | dict(new)
        if not sums:
            (folder / SUMS).unlink()
        elif sums != old:
            _remove_leftovers(folder / SUMS)
            with atomic_path(folder / SUMS) as temporary:
                temporary.write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)), encoding="utf-8")


def verify_inputs(paths: Iterable[Path]) -> None:
    """Compare files with their recorded checksums. Missing files and files without an entry are skipped.

    Raises
    ------
    ReproodError
        For the first file that differs.
    """
    for path in paths:
        if not path.is_file():
            continue
        for folder in list(path.parents)[:LEVELS]:
            recorded = read_sums(folder).get(path.relative_to(folder).as_posix())
            if recorded is None:
                continue
            if recorded != sha256_file(path):
                raise ReproodError(
                    f"{path} was damaged or edited (its SHA-256 is not the one that its job recorded in "
                    f"{folder / SUMS}); remove it and run the same command again to recreate it."
                )
            break


@contextmanager
def checked_job(reads: Iterable[Path], writes: Iterable[Path], *, at: Path | None = None) -> Iterator[None]:
    """Verify the inputs of a job before the block, and record the checksums of its outputs after it.

    Parameters
    ----------
    reads, writes : iterable of Path
        Files.
    at : Path, optional
        Folder of the list; by default the deepest folder that contains all of `writes`.

    Raises
    ------
    ReproodError
        If an input was damaged or edited.
    """
    verify_inputs(reads)
    outputs = [Path(os.path.abspath(path)) for path in writes]
    if not outputs:
        yield
        return
    folder = Path(os.path.abspath(at) if at else os.path.commonpath([path.parent for path in outputs]))
    names = [path.relative_to(folder).as_posix() for path in outputs]
    if (folder / SUMS).exists():
        _update(folder, names, {})  # while a file is being written, no list has an entry for it
    for path in outputs:
        _remove_leftovers(path)
    yield
    written = {name: sha256_file(path) for name, path in zip(names, outputs, strict=True) if path.is_file()}
    if written:
        _update(folder, names, written)


def recorded(root: Path, folders: Iterable[str] = FOLDERS) -> int:
    """Return the number of files in some folders of a checkout that have a recorded checksum."""
    lists = (Path(at) for name in folders for at, _, files in os.walk(root / name) if SUMS in files)
    return sum((folder / name).is_file() for folder in lists for name in read_sums(folder))


def damaged(root: Path, folders: Iterable[str] = FOLDERS, *, quick: bool = False) -> list[str]:
    """Return the files in some folders of a checkout that differ from their recorded checksums, relative to `root`.

    Missing files are not listed. With `quick`, only files whose size, times or inode have changed since they were last
    read are read again.
    """
    seen: dict[str, list[int | str]] = {}
    if quick:
        with suppress(ReproodError):  # missing or damaged: read all files again
            stored = read_json(root / SEEN)
            seen = stored if isinstance(stored, dict) else {}
    different, now = [], dict(seen)
    listed = (Path(folder) for name in folders for folder, _, files in os.walk(root / name) if SUMS in files)
    for folder in listed:
        for name, checksum in read_sums(folder).items():
            path = folder / name
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            key = path.relative_to(root).as_posix()
            marks = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            if seen.get(key, [])[:-1] != marks:
                now[key] = [*marks, sha256_file(path)]
            if now[key][-1] != checksum:
                different.append(key)
    if quick and now != seen:
        write_json(root / SEEN, now)
    return sorted(different)


def verify_results(root: Path, folders: Iterable[str], *, quick: bool = True) -> None:
    """Compare all recorded files in some folders with their checksums, before anything runs.

    Raises
    ------
    ReproodError
        Names those that differ.
    """
    different = damaged(root, folders, quick=quick)
    if different:
        some = ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
        raise ReproodError(
            f"Damaged or edited results ({len(different)}): {some}; their SHA-256 is not the one that their jobs "
            f"recorded in {SUMS}; remove them with `reprood results check --remove` and run the same command again to "
            "recreate them."
        )
