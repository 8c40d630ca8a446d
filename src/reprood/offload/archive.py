"""Archives that arrive whole or not at all: a tar, perhaps in parts, with a checksum for every file in it."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file

MANIFEST = "manifest.json"
MIB = 2**20


class Parts(io.RawIOBase):
    """A file that goes on in another one when it is full: NAME, or NAME.000, NAME.001, ... with a limit."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self.path, self.limit = path, limit
        self.paths: list[Path] = []
        self.room = 0
        self.stream: IO[bytes] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in parts_of(path):
            old.unlink()

    def writable(self) -> bool:
        """Yes."""
        return True

    def _next(self) -> IO[bytes]:
        if self.stream is not None:
            self.stream.close()
        path = self.path if self.limit is None else self.path.with_name(f"{self.path.name}.{len(self.paths):03d}")
        self.paths.append(path)
        self.room = self.limit or 0
        return open(path, "wb")

    def write(self, data: Any) -> int:
        """Write everything, over as many parts as it takes."""
        view = memoryview(data).cast("B")
        total = len(view)
        while len(view):
            if self.stream is None or (self.limit is not None and self.room == 0):
                self.stream = self._next()
            part = view if self.limit is None else view[: self.room]
            self.stream.write(part)
            self.room -= len(part)
            view = view[len(part) :]
        return total

    def close(self) -> None:
        """Close the last part."""
        if self.stream is not None:
            self.stream.close()
        super().close()


def parts_of(path: Path) -> list[Path]:
    """The files of an archive: itself, or its parts in order."""
    parts = [p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()]
    return ([path] if path.is_file() else []) + sorted(parts)


def write_archive(
    path: Path, files: Mapping[str, Path | bytes], facts: Mapping[str, Any], limit: int | None = None
) -> list[Path]:
    """Pack files (name -> where they are, or their bytes) below the folder `path`'s stem; the manifest comes first.

    Returns
    -------
    list of Path
        The archive, or its parts of at most `limit` bytes.
    """
    top = path.name.split(".")[0]
    hashes = {
        name: hashlib.sha256(where).hexdigest() if isinstance(where, bytes) else sha256_file(where)
        for name, where in files.items()
    }
    manifest = json.dumps({**facts, "files": hashes}, sort_keys=True, indent=1).encode()
    with Parts(path, limit) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, where in {MANIFEST: manifest, **files}.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.mode = 0o644
            if isinstance(where, bytes):
                info.size = len(where)
                tar.addfile(info, io.BytesIO(where))
            else:
                info.size = where.stat().st_size
                with open(where, "rb") as source:
                    tar.addfile(info, source)
    return stream.paths


class _Joined(io.RawIOBase):
    """Parts read as one file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.stream: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self.stream is None:
                if not self.paths:
                    return 0
                self.stream = open(self.paths.pop(0), "rb")  # noqa: SIM115 - closed when it is at its end
            count = self.stream.readinto(buffer)  # type: ignore[attr-defined]
            if count:
                return int(count)
            self.stream.close()
            self.stream = None


def unpack(paths: Sequence[Path], folder: Path) -> Path:
    """Unpack an archive (or its parts, in order) and check it; the folder in it.

    Raises
    ------
    ReproodError
        When it is cut off, is no such archive, or a file in it is not what the manifest says.
    """
    names = ", ".join(str(path) for path in paths)
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Joined(paths)), mode="r|") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise ReproodError(f"{names}: not a whole archive ({error}); bring every part back, unchanged.") from error
    tops = [path.parent for path in folder.glob(f"*/{MANIFEST}")]
    if len(tops) != 1:
        raise ReproodError(f"{names}: there is no {MANIFEST} in it; it was not written by `reprood offload`.")
    check(tops[0])
    return tops[0]


def check(folder: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """The manifest of an unpacked archive, after comparing its files (all, or `names`) with their checksums.

    Raises
    ------
    ReproodError
        When a file is missing or changed; names it.
    """
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    for name in manifest["files"] if names is None else names:
        path = folder / name
        if not path.is_file():
            raise ReproodError(f"{path} is missing; unpack the archive again, with every part.")
        if sha256_file(path) != manifest["files"][name]:
            raise ReproodError(f"{path} is not the file that was packed (checksum); bring the archive again.")
    return manifest


def copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is whole or absent."""
    with atomic_path(target) as temporary, open(source, "rb") as stream, open(temporary, "wb") as made:
        shutil.copyfileobj(stream, made, MIB)
