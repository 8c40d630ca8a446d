"""Catalogue entries and archives for tests of damaged files."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from reprood.data.catalogue import parse_entry
from reprood.data.dataset import prepare_dataset
from reprood.data.sources import fetch_split

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


def entry(names=("file.bin",), reader="npz", **file):
    return parse_entry(
        "a",
        {
            "title": "A",
            "licence": "none",
            "files": dict.fromkeys(names, file),
            "splits": {"test": {"reader": reader, "files": list(names)}},
        },
    )


def prepare(record, split: str, out: Path) -> None:
    files = fetch_split("a", record, split, mirrors=(), downloads=out.parent / "d")
    prepare_dataset("a", record, split, files, out)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return path


def flip(path: Path, start: int, count: int = 200) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + count] = bytes(value ^ 0xAA for value in data[start : start + count])
    path.write_bytes(data)
