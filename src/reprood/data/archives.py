"""Files of a folder, a zip or a tar archive by name, with member checks: nothing outside, no links."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from reprood.errors import ReproodError

# What a damaged archive or compressed file raises while it is read.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
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


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files whose name is wanted, in the order of the archive (folders: sorted).

    Raises
    ------
    ReproodError
        When the archive is damaged or has a member that points outside or is a link.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.is_file() and wanted(name):
                yield name, file.read_bytes()
        return
    try:
        if zipfile.is_zipfile(path):
            yield from _zip_members(path, wanted)
        else:
            yield from _tar_members(path, wanted)
    except (*DAMAGED, RuntimeError, NotImplementedError) as error:  # the last two: encrypted, unknown compression
        raise ReproodError(f"{path} is damaged ({error}); delete it, so that it is fetched again.") from error


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            name = safe(item.filename, path)
            if not item.is_dir() and wanted(name):
                if (item.external_attr >> 16) & 0o170000 == 0o120000:
                    raise ReproodError(f"{path}: member '{name}' is a link; the archive is not used.")
                yield name, archive.read(item)


def _tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:*") as archive:
        for item in archive:
            name = safe(item.name, path)
            if item.isdir() or not wanted(name):
                continue
            if not item.isfile():
                raise ReproodError(f"{path}: member '{name}' is a link or a device; the archive is not used.")
            stream = archive.extractfile(item)
            if stream is None:
                raise ReproodError(f"{path}: member '{name}' cannot be read.")
            yield name, stream.read()
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass  # the checksum of a compressed archive stands behind its last member


def is_image(name: str) -> bool:
    """Does the name end like an image's, and is it no hidden file?"""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
