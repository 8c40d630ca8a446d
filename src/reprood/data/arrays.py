"""Write, read and identify the memory-mapped arrays of one split."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, read_json, sha256_bytes, sha256_file, write_json
from reprood.data.bounds import array_header, fits, whole_numbers

FILES = ("images.npy", "labels.npy", "extras.npz", "meta.json")


@dataclass(frozen=True)
class Split:
    """One split of a data set or benchmark.

    Attributes
    ----------
    folder : Path
        Folder from which it was read.
    images : uint8 array [N, H, W, C]
        Memory-mapped.
    labels : int64 array [N]
        Class numbers; -1 = none.
    extras : dict of array
        Optional per-sample arrays: boxes [N, 4] (x0, y0, x1, y1 in pixels), masks [N, H, W] uint8, row [N], ...
    meta : dict
        Name, split, classes, shape, hashes, source, licence, citation, preparation.
    """

    folder: Path
    images: np.ndarray
    labels: np.ndarray
    extras: dict[str, np.ndarray]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)


def save_split(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    extras: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
) -> None:
    """Write a split, with `meta.json` last: if it exists, the other files are complete.

    The same content gives the same bytes. `count`, `shape`, `sha256` (of each file) and `content` (one hash of all
    arrays) are added to `meta`.

    Raises
    ------
    ReproodError
        If the arrays do not have the form described in `Split`, or cannot be written.
    """
    images = np.ascontiguousarray(images)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    if images.ndim == 4 and 0 in images.shape[1:]:
        raise ReproodError(f"{folder}: images of shape {images.shape} have no pixels; check the source.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ReproodError(
            f"{folder}: images have type {images.dtype} and shape {images.shape}; expected uint8 [N, H, W, 1 or 3]."
        )
    if len(images) == 0:
        raise ReproodError(f"{folder}: there are no images; check the source and the requested classes.")
    for name, array in {"labels": labels, **extras}.items():
        if len(array) != len(images):
            raise ReproodError(
                f"{folder}: {name} has {len(array)} rows for {len(images)} images; the numbers must be equal."
            )
    folder = Path(folder)
    with atomic_path(folder / "images.npy") as temporary:
        _write_npy(temporary, images)
    with atomic_path(folder / "labels.npy") as temporary:
        _write_npy(temporary, labels)
    with atomic_path(folder / "extras.npz") as temporary:
        write_npz(temporary, extras)
    hashes = {name.split(".")[0]: sha256_file(folder / name) for name in FILES[:3]}
    write_json(
        folder / "meta.json",
        {
            **meta,
            "count": len(images),
            "shape": list(images.shape),
            "sha256": hashes,
            "content": sha256_bytes(canonical_json(hashes).encode()),
        },
    )


def _write_npy(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as stream:
        np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed archive whose bytes depend only on its content (fixed dates, sorted members)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue(), zipfile.ZIP_DEFLATED
            )


def read_array(path: Path, mmap: bool = False) -> np.ndarray:
    """Read an .npy file, without objects and with a complete body.

    Raises
    ------
    ReproodError
        If it is not such a file.
    """
    try:
        with open(path, "rb") as stream:
            array_header(stream, path.stat().st_size)
        array: np.ndarray = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        return array
    except (ValueError, OSError, EOFError) as error:
        raise ReproodError(
            f"{path} is not an array file, or contains objects, which are never loaded ({error}); write it with "
            "numpy.save."
        ) from error


def array_of(data: bytes, where: str) -> np.ndarray:
    """Read an array from the content of an .npy file, as `read_array`."""
    try:
        array_header(io.BytesIO(data), len(data))
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise ReproodError(
            f"{where} is not an array, or contains objects, which are never loaded ({error})."
        ) from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz archive by name, each as `read_array`.

    Raises
    ------
    ReproodError
        If it is not such an archive, has a name twice, or does not fit into memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
            names = [item.filename.removesuffix(".npy") for item in items]
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ReproodError(f"{path} has the array '{repeated}' twice; the file is rejected.")
            fits(sum(item.file_size for item in items), str(path))
            for item in items:  # before anything is unpacked
                with archive.open(item) as stream:
                    array_header(stream, item.file_size)  # type: ignore[arg-type]
            return {
                name: array_of(archive.read(item), f"{path}: {name}") for name, item in zip(names, items, strict=True)
            }
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: encrypted, or an unknown compression
        raise ReproodError(
            f"{path} is not an array archive, or contains objects, which are never loaded ({error}); write it with "
            "numpy.savez."
        ) from error


def load_split(folder: Path) -> Split:
    """Read a split. Images are memory-mapped; nothing that is loaded can execute code.

    Raises
    ------
    ReproodError
        If a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ReproodError(f"{folder}: {', '.join(missing)} missing; run the data stage (snakemake --cores all).")
    meta = read_json(folder / "meta.json")
    if not isinstance(meta, dict) or not isinstance(meta.get("content"), str):
        raise ReproodError(f"{folder}/meta.json is not the record of a split; delete the folder and prepare it again.")
    try:
        images = read_array(folder / "images.npy", mmap=True)
        labels = whole_numbers(read_array(folder / "labels.npy"), f"{folder}/labels.npy")
        extras = read_npz(folder / "extras.npz")
    except ReproodError as error:
        raise ReproodError(f"{error} An array cannot be read: delete the folder and prepare it again.") from error
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ReproodError(
            f"{folder}/images.npy has type {images.dtype} and {images.ndim} axes; expected uint8 [N, H, W, C]: delete "
            "the folder and prepare it again."
        )
    short = next((name for name, array in extras.items() if array.shape[:1] != images.shape[:1]), None)
    if short is not None:
        raise ReproodError(
            f"{folder}/extras.npz: {short} has the shape {extras[short].shape} for {len(images)} images; delete the "
            "folder and prepare it again."
        )
    if list(images.shape) != meta.get("shape") or len(labels) != len(images):
        raise ReproodError(
            f"{folder}: images have shape {list(images.shape)} and there are {len(labels)} labels, but meta.json says "
            f"{meta.get('shape')}; delete the folder and prepare it again."
        )
    return Split(folder, images, labels, extras, meta)
