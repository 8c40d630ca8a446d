"""Read files of a folder, a zip or a tar archive by name, and reject members that are links or point outside."""

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from reprood.core.errors import ReproodError
from reprood.data.bounds import MEMBER, UNPACKED, Bounded, gib, most_of

# Exceptions raised by damaged archives and compressed files.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, struct.error)
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
# Archives that are not read, by their first bytes.
FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"MSCF": "a cabinet archive",
}
INTACT = "replace it by an intact copy (a download is fetched again when it is deleted)"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def safe(name: str, where: Path) -> str:
    """Return the name of a member if it stays inside the archive.

    Raises
    ------
    ReproodError
        For absolute names, names with `..` or a backslash, and names that are not UTF-8.
    """
    path: PurePath = PurePosixPath(name)
    if "\\" in name:
        path = PureWindowsPath(name)  # so that `C:\\x` and `..\\x` are found
    if path.anchor or ".." in path.parts:
        raise ReproodError(f"{where} has a member named '{name}', which points outside; the archive is rejected.")
    if "\\" in name:
        raise ReproodError(
            f"{where} has a member named '{name}': its folders are separated by backslashes, as some Windows programs "
            "write them, instead of '/'; unpack it and name the folder, or pack it again."
        )
    return text_name(path.as_posix(), where)


def text_name(name: str, where: Path) -> str:
    """Return a file name if it is UTF-8 text.

    Raises
    ------
    ReproodError
        If its bytes are not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = ascii(os.fsencode(name))[1:]
        raise ReproodError(
            f"{where}: the file name {shown} is not UTF-8; rename it (`convmv -f latin1 -t utf8` renames many)."
        ) from error
    return name


def unpacked(path: Path, limit: int = UNPACKED) -> Bounded:
    """Open a file without its gzip, bzip2 or xz compression, if it has one.

    Reading raises `ReproodError` beyond `limit` bytes (or `RATIO` times the size of the file, if that is more).
    """
    with open(path, "rb") as stream:
        head = stream.read(6)
    opener = next((opener for mark, opener in PACKED.items() if head.startswith(mark)), open)
    return Bounded(opener(path, "rb"), most_of(path.stat().st_size, limit), str(path))


def plain_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in sorted order; links to files inside it are followed.

    Raises
    ------
    ReproodError
        For any other link, for a pipe or device, and for a name that is not UTF-8.
    """
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        text_name(path.relative_to(folder).as_posix(), folder)
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):  # a dangling link or a loop
                target = None
            if target is None or not target.is_file() or not target.is_relative_to(root):
                raise ReproodError(
                    f"{path} is a link that points outside the folder, to a folder or to nothing; replace it by the "
                    "file itself."
                )
        if path.is_file():
            yield path
        elif not path.is_dir():
            raise ReproodError(f"{path} is neither a file nor a folder (a pipe or a device); remove it.")


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files whose name is wanted, in the order of the archive (folders: sorted).

    Raises
    ------
    ReproodError
        If the archive is damaged, has a member that points outside, is a link or is there twice, or would unpack to
        much more than its own size.
    """
    if path.is_dir():
        for file in plain_files(path):
            name = file.relative_to(path).as_posix()
            if wanted(name):
                yield name, file.read_bytes()
        return
    try:
        _require_readable(path)
        seen: set[str] = set()
        for name, data in (_zip_members if zipfile.is_zipfile(path) else _tar_members)(path, wanted):
            if name in seen:
                raise ReproodError(f"{path} has the member '{name}' twice; the archive is rejected.")
            seen.add(name)
            yield name, data
    except (*DAMAGED, RuntimeError, NotImplementedError, ValueError, OverflowError) as error:
        # The last four: an encrypted member, an unknown compression, an invalid header.
        raise ReproodError(f"{path} is damaged, or no zip or tar archive ({error}); {INTACT}.") from error


def _require_readable(path: Path) -> None:
    """Raise ReproodError for a kind of archive that is not read."""
    with open(path, "rb") as stream:
        head = stream.read(8)
    kind = next((kind for mark, kind in FOREIGN.items() if head.startswith(mark)), None)
    if kind is not None:
        raise ReproodError(
            f"{path} is {kind}, which is not read; unpack it and name the folder, or pack it again as zip or tar."
        )


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        total = sum(item.file_size for item in archive.infolist())
        if total > most_of(path.stat().st_size):
            raise ReproodError(f"{path} would unpack to {gib(total)}; the archive is rejected.")
        for item in archive.infolist():
            name = safe(item.filename, path)
            if not item.is_dir() and wanted(name):
                if (item.external_attr >> 16) & 0o170000 == 0o120000:
                    raise ReproodError(f"{path}: member '{name}' is a link; the archive is rejected.")
                if item.file_size > MEMBER:
                    raise ReproodError(
                        f"{path}: member '{name}' has {gib(item.file_size)}, more than the allowed {gib(MEMBER)}; the "
                        "archive is rejected."
                    )
                yield name, archive.read(item)


def _tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with closing(unpacked(path)) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for item in archive:
            name = safe(item.name, path)
            if item.offset_data + item.size > stream.most:
                raise ReproodError(f"{path}: member '{name}' has {gib(item.size)}; the archive is rejected.")
            if item.isdir() or not wanted(name):
                continue
            if not item.isfile():
                raise ReproodError(f"{path}: member '{name}' is a link or a device; the archive is rejected.")
            if item.size > MEMBER:
                raise ReproodError(
                    f"{path}: member '{name}' has {gib(item.size)}, more than the allowed {gib(MEMBER)}; the archive "
                    "is rejected."
                )
            content = archive.extractfile(item)
            if content is None:
                raise ReproodError(f"{path}: member '{name}' cannot be read.")
            yield name, content.read()
        while stream.read(1 << 20):
            pass  # the checksum of a compressed archive follows its last member


def is_hidden(name: str) -> bool:
    """Return whether a file or one of its folders is hidden, or was added by a file manager."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts) or (
        PurePosixPath(name).name in ("Thumbs.db", "desktop.ini")
    )


def is_image(name: str) -> bool:
    """Return whether a name has the suffix of an image and is not hidden."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def left_out(name: str) -> str:
    """Return why a file that is no image is left out, for a tally."""
    if is_hidden(name):
        return "hidden files are left out"
    return "files without the suffix of an image are left out"
