"""The content of a user's own files and folders, as an input of the jobs that read them.

Contents are kept by name, size and times, so that planning reads a file again only after it has changed.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, read_json, sha256_file, write_json
from reprood.data.archives import is_hidden, plain_files
from reprood.data.entries import DatasetEntry


def visible_files(folder: Path) -> Iterable[tuple[str, Path]]:
    """Yield (name inside, path) of the files of a folder that readers see, sorted; hidden ones are left out."""
    for path in plain_files(folder):
        name = path.relative_to(folder).as_posix()
        if not is_hidden(name):
            yield name, path


def content_of(path: Path, kept: Path) -> str:
    """Return a hash of the names and contents of a file or of a folder's visible files.

    Parameters
    ----------
    path : Path
        The file or folder.
    kept : Path
        Folder of the records of contents that were read before.

    Raises
    ------
    ReproodError
        If the folder holds a link or a name that cannot be read.
    """
    record = kept / f"{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:16]}.json"
    seen: dict[str, list[int | str]] = {}
    with suppress(ReproodError):  # missing or damaged: read all files again
        stored = read_json(record)
        seen = stored if isinstance(stored, dict) else {}
    now: dict[str, list[int | str]] = {}
    for name, file in visible_files(path) if path.is_dir() else [(path.name, path)]:
        status = file.stat()
        marks = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = seen.get(name, [])
        now[name] = known if known[:-1] == marks else [*marks, sha256_file(file)]
    if now != seen:
        write_json(record, now)
    return hashlib.sha256(canonical_json({name: marks[-1] for name, marks in now.items()}).encode()).hexdigest()


def own_content(entry: DatasetEntry, split: str, kept: Path) -> str:
    """Return the contents of a split's files that have a `path`, by name, as JSON; "" if there are none.

    What cannot be read has no content here: the job that reads it reports why.
    """
    found = {}
    for name in entry.splits[split].files:
        if entry.files[name].path:
            with suppress(ReproodError, OSError, ValueError):
                found[name] = content_of(Path(entry.files[name].path).expanduser(), kept)
    return canonical_json(found) if found else ""
