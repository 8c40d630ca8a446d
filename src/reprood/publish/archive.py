"""The archive of a full release, to be deposited; a compact release names it by its SHA-256."""

import zipfile
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file
from reprood.core.messages import explain_validation

EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time of a zip archive: the same files give the same bytes
ARCHIVE = "archive.json"  # in a compact release, and in no other


class Archive(BaseModel, extra="forbid", frozen=True):
    """What a compact release says of the archive of the full one.

    Attributes
    ----------
    name : str
        Of the file.
    size : int
        In bytes.
    sha256 : str
    url : str
        Where it is; "" if that is not known yet.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.zip$")
    size: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    url: str = Field(default="", pattern=r"^(https?://\S+)?$")


def pack_release(folder: Path, archive: Path, url: str = "") -> Archive:
    """Write a release as a zip archive; the same files give the same bytes.

    Raises
    ------
    ReproodError
        When the name of the archive has other characters than letters, digits and ._-, or does not end in .zip.
    """
    write_zip(archive, folder, archive.name.removesuffix(".zip") + "/")
    try:
        return Archive(name=archive.name, size=archive.stat().st_size, sha256=sha256_file(archive), url=url)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(archive))) from error


def write_zip(archive: Path, folder: Path, prefix: str = "", level: int | None = None) -> None:
    """Write the files of a folder as a zip archive; the same files give the same bytes.

    Parameters
    ----------
    archive : Path
        The file to write.
    folder : Path
        Where the files are.
    prefix : str
        Before the name of each member.
    level : int, optional
        Of the compression, 0 to 9; default that of zlib.
    """
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w") as out:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(f"{prefix}{path.relative_to(folder).as_posix()}", EPOCH)
            out.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, level)


def read_archive(folder: Path) -> Archive | None:
    """Return what a release says of its archive; None when it is a full release.

    Raises
    ------
    ReproodError
        When the record is damaged.
    """
    if not (folder / ARCHIVE).is_file():
        return None
    try:
        return Archive.model_validate(read_json(folder / ARCHIVE))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(folder / ARCHIVE))) from error


def wrong_archive(path: Path, stated: Archive) -> list[str]:
    """Return how a file differs from the archive that a release names; empty when it is that archive."""
    size = path.stat().st_size
    if size != stated.size:
        return [f"{path} has {size:,} bytes, and the release names an archive of {stated.size:,}"]
    digest = sha256_file(path)
    return (
        [] if digest == stated.sha256 else [f"{path} has the SHA-256 {digest}, and the release names {stated.sha256}"]
    )
