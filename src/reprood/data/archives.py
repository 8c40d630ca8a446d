"""Files of a folder, a zip or a tar archive by name, with member checks: nothing outside, no links."""

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from reprood.core.errors import ReproodError
from reprood.data.bounds import MEMBER, UNPACKED, Bounded, gib, most_of

# What a damaged archive or compressed file raises while it is read.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, struct.error)
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def safe(name: str, where: Path) -> str:
    """A member's name, refused when it points outside the archive.

    Raises
    ------
    ReproodError
        For absolute names and names with `..`.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ReproodError(f"{where} has a member named '{name}', which points outside; the archive is not used.")
    return path.as_posix()


def unpacked(path: Path, least: int = UNPACKED) -> Bounded:
    """The bytes of a file after taking off gzip, bzip2 or xz; a bomb ends in a sentence."""
    with open(path, "rb") as stream:
        head = stream.read(6)
    opener = next((opener for mark, opener in PACKED.items() if head.startswith(mark)), open)
    size = path.stat().st_size
    return Bounded(opener(path, "rb"), size if opener is open else most_of(size, least), str(path))


def plain_files(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted; links may stay inside it.

    Raises
    ------
    ReproodError
        For a link that leads outside, to a folder or to nothing, and for a pipe or device.
    """
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):  # nothing there, or a loop
                target = None
            if target is None or not target.is_file() or not target.is_relative_to(root):
                raise ReproodError(
                    f"{path} is a link that leads outside the folder, to a folder or to nothing; put the files "
                    "themselves there."
                )
        if path.is_file():
            yield path
        elif not path.is_dir():
            raise ReproodError(f"{path} is neither a file nor a folder (a pipe or a device); remove it.")


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files whose name is wanted, in the order of the archive (folders: sorted).

    Raises
    ------
    ReproodError
        When the archive is damaged, has a member that points outside, is a link or has a name that was there before,
        or would unpack to much more than its own size.
    """
    if path.is_dir():
        for file in plain_files(path):
            name = file.relative_to(path).as_posix()
            if wanted(name):
                yield name, file.read_bytes()
        return
    try:
        seen: set[str] = set()
        for name, data in (_zip_members if zipfile.is_zipfile(path) else _tar_members)(path, wanted):
            if name in seen:
                raise ReproodError(f"{path} has the member '{name}' twice; the archive is not used.")
            seen.add(name)
            yield name, data
    except (*DAMAGED, RuntimeError, NotImplementedError, ValueError, OverflowError) as error:
        # the last ones: encrypted, unknown compression, a header of nonsense
        raise ReproodError(f"{path} is damaged ({error}); delete it, so that it is fetched again.") from error


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        total = sum(item.file_size for item in archive.infolist())
        if total > most_of(path.stat().st_size):
            raise ReproodError(f"{path} would unpack to {gib(total)}; the archive is not used.")
        for item in archive.infolist():
            name = safe(item.filename, path)
            if not item.is_dir() and wanted(name):
                if (item.external_attr >> 16) & 0o170000 == 0o120000:
                    raise ReproodError(f"{path}: member '{name}' is a link; the archive is not used.")
                if item.file_size > MEMBER:
                    raise ReproodError(
                        f"{path}: member '{name}' has {gib(item.file_size)}, and at most {gib(MEMBER)} are read; the "
                        "archive is not used."
                    )
                yield name, archive.read(item)


def _tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with closing(unpacked(path)) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for item in archive:
            name = safe(item.name, path)
            if item.isdir() or not wanted(name):
                continue
            if not item.isfile():
                raise ReproodError(f"{path}: member '{name}' is a link or a device; the archive is not used.")
            if item.size > MEMBER:
                raise ReproodError(
                    f"{path}: member '{name}' has {gib(item.size)}, and at most {gib(MEMBER)} are read; the archive is "
                    "not used."
                )
            content = archive.extractfile(item)
            if content is None:
                raise ReproodError(f"{path}: member '{name}' cannot be read.")
            yield name, content.read()
        while stream.read(1 << 20):
            pass  # the checksum of a compressed archive stands behind its last member


def is_image(name: str) -> bool:
    """Does the name end like an image's, and is it no hidden file?"""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
