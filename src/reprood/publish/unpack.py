"""Open a release that anyone may have made: archives are checked before they are unpacked."""

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from reprood.core.errors import ReproodError
from reprood.publish.contents import METADATA

MAX_BYTES = 2 << 30  # of an unpacked release
MAX_FILES = 200_000
# What a damaged archive raises; RuntimeError: encrypted, NotImplementedError: an unknown compression.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, NotImplementedError,
    ValueError, OverflowError, LookupError, MemoryError,
)  # fmt: skip


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the folder of a release; a zip archive is unpacked into a temporary one.

    Raises
    ------
    ReproodError
        When it is neither, or the archive holds paths that lead outside, links, or more than 2 GiB.
    """
    if path.is_dir():
        for inner in path.rglob("*"):
            if inner.is_symlink() or not (inner.is_file() or inner.is_dir()):
                what = "a link" if inner.is_symlink() else "neither a file nor a folder"
                raise ReproodError(f"{inner} is {what}; a release holds plain files only, and this one is not opened.")
        yield path
        return
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ReproodError(f"{path} is neither a folder nor a zip archive; give a published release.")
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        unpack(path, Path(temporary))
        roots = [folder.parent for folder in Path(temporary).glob(f"**/{METADATA}")]
        if not roots:
            raise ReproodError(f"{path} holds no {METADATA}; this is not a published release.")
        yield min(roots, key=lambda folder: len(folder.parts))


def unpack(path: Path, into: Path) -> None:
    """Unpack a zip archive that anyone may have made.

    Raises
    ------
    ReproodError
        When it is damaged, or holds paths that lead outside, links, or more than 2 GiB.
    """
    try:
        _unpack(path, into)
    except DAMAGED as error:
        raise ReproodError(f"{path} is damaged ({error}); download the release again.") from error
    except OSError as error:
        if error.filename is None:  # an offset outside the archive
            raise ReproodError(f"{path} is damaged ({error}); download the release again.") from error
        if not isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise
        raise ReproodError(f"{path} has a member that is a file and a folder; this archive is not opened.") from error


def _unpack(path: Path, temporary: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_FILES:
            raise ReproodError(f"{path} has {len(members):,} members; at most {MAX_FILES:,} are opened.")
        seen: set[str] = set()
        for member in members:
            if member.filename in seen:
                raise ReproodError(f"{path} has the member {member.filename} twice; this archive is not opened.")
            seen.add(member.filename)
            name = PurePosixPath(member.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in member.filename:
                raise ReproodError(f"{path}: the member {member.filename} leads outside; this archive is not opened.")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ReproodError(f"{path}: the member {member.filename} is a link; this archive is not opened.")
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ReproodError(f"{path} would unpack to more than {MAX_BYTES >> 30} GiB; this archive is not opened.")
        for member in members:
            target = temporary / member.filename
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
                if out.tell() > member.file_size:
                    raise ReproodError(f"{path}: the member {member.filename} is larger than it says.")
