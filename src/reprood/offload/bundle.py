"""Bundles: one tar with a checksum for every file in it."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_bytes, sha256_file

MANIFEST = "bundle.json"
MIB = 2**20


def write_bundle(path: Path, files: Mapping[str, Path | bytes], facts: Mapping[str, Any]) -> None:
    """Write a tar (compressed when the name ends in .gz) with one top folder.

    Parameters
    ----------
    path : Path
        The archive; the top folder is its name up to the first dot.
    files : mapping
        Name in the archive -> a file or its bytes. Equal files are stored once, as hard links.
    facts : mapping
        Stored in the manifest next to the checksums.
    """
    top = path.name.split(".")[0]
    digests = {
        name: sha256_bytes(source) if isinstance(source, bytes) else sha256_file(source)
        for name, source in files.items()
    }
    manifest = json.dumps({**facts, "files": digests}, sort_keys=True, indent=1).encode()
    stored: dict[str, str] = {}
    with atomic_path(path) as temporary, tarfile.open(temporary, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, source in {MANIFEST: manifest, **files}.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.mode = 0o644
            first = stored.setdefault(digests.get(name, ""), info.name)
            if first != info.name:
                info.type, info.linkname = tarfile.LNKTYPE, first
                tar.addfile(info)
            elif isinstance(source, bytes):
                info.size = len(source)
                tar.addfile(info, io.BytesIO(source))
            else:
                info.size = source.stat().st_size
                with open(source, "rb") as stream:
                    tar.addfile(info, stream)


def check_bundle(folder: Path) -> dict[str, Any]:
    """Compare the files of an unpacked bundle with their checksums and return the manifest.

    Raises
    ------
    ReproodError
        When a file is missing or changed; names it.
    """
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ReproodError(f"{path} is missing; unpack the bundle again.")
        if sha256_file(path) != digest:
            raise ReproodError(f"{path} is not the file that was packed (checksum); copy and unpack the bundle again.")
    return manifest
