"""The index of a streamed split: image files, their checksums and labels, in place of an array of images.

It has the four files of every split, but `images.npy` holds no pixels: its shape is [N, 0, 0, 3]. `extras.npz` says
where the images are (`ImageIndex`); they stay there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, sha256_bytes, sha256_file, write_json
from reprood.data.arrays import FILES, Split, write_npz
from reprood.data.prepare import decode

READER = "image_index"
BOXES = ("boxes", "all_boxes")


@dataclass(frozen=True)
class ImageIndex:
    """Where images are, and what is known of them.

    Attributes
    ----------
    paths : bytes array [N]
        Absolute file names, in the encoding of the file system.
    digests : uint64 array [N]
        First 8 bytes of the SHA-256 of each file.
    labels : int64 array [N]
        Class numbers; -1 = none.
    prefix : int
        Number of bytes of `paths` that name the folder.
    size : int
        Bytes of all files.
    boxes : dict of array
        `boxes` [N, 4] (x0, y0, x1, y1 in pixels, ends exclusive): the first object of each image, and `all_boxes`
        [N, M, 4]: all of them. Rows of -1: none.
    classes : tuple of str
        Names of the classes.
    sources : tuple of dict
        The folder's record for `meta.json`.
    notes : tuple of str
        What was left out or guessed.
    """

    paths: np.ndarray
    digests: np.ndarray
    labels: np.ndarray
    prefix: int
    size: int
    boxes: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    sources: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, rows: np.ndarray) -> "ImageIndex":
        """Return the index of some images; `size` stays that of the whole folder."""
        boxes = {key: values[rows] for key, values in self.boxes.items()}
        return ImageIndex(
            self.paths[rows], self.digests[rows], self.labels[rows], self.prefix, self.size, boxes, self.classes
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a split stores, without the labels."""
        return {"path": self.paths, "digest": self.digests, **self.boxes}

    def relative(self) -> np.ndarray:
        """Return the names inside the folder; bytes [N]."""
        return np.array([path[self.prefix :] for path in self.paths.tolist()], dtype=np.bytes_)


def holds_index(meta: object) -> bool:
    """Return whether the record (`meta.json`) of a split, which may be damaged, is that of an index."""
    return isinstance(meta, Mapping) and bool(meta.get("streamed"))


def save_index(
    out: Path, index: ImageIndex, labels: np.ndarray, extras: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> None:
    """Write an index as a split without pixels, `meta.json` last.

    `content` identifies names inside the folder, contents of the files, labels and boxes, but not where the folder is.
    """
    arrays = {**index.arrays(), **extras}
    with atomic_path(out / "images.npy") as temporary, open(temporary, "wb") as stream:
        np.lib.format.write_array(stream, np.empty((len(labels), 0, 0, 3), np.uint8), version=(1, 0))
    with atomic_path(out / "labels.npy") as temporary, open(temporary, "wb") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(labels, np.int64), version=(1, 0))
    with atomic_path(out / "extras.npz") as temporary:
        write_npz(temporary, arrays)
    contents = {"labels": labels, **arrays, "path": index.relative()}
    hashes = {key: sha256_bytes(np.ascontiguousarray(value).tobytes()) for key, value in contents.items()}
    write_json(
        out / "meta.json",
        {
            **meta,
            "streamed": {"bytes": index.size, "characters": index.prefix},
            "count": len(labels),
            "shape": [len(labels), 0, 0, 3],
            "sha256": {file.split(".")[0]: sha256_file(out / file) for file in FILES[:3]},
            "content": sha256_bytes(canonical_json(hashes).encode()),
        },
    )


def load_index(split: Split) -> ImageIndex:
    """Return the index that a split holds.

    Raises
    ------
    ReproodError
        If it holds none.
    """
    if not holds_index(split.meta) or "path" not in split.extras or "digest" not in split.extras:
        raise ReproodError(
            f"{split.folder} is not an index of images; read its data set with the reader '{READER}', or use a method "
            "that trains on images in memory."
        )
    boxes: dict[str, np.ndarray] = {key: split.extras[key] for key in BOXES if key in split.extras}
    return ImageIndex(
        paths=split.extras["path"],
        digests=split.extras["digest"],
        labels=split.labels,
        prefix=int(split.meta["streamed"]["characters"]),
        size=int(split.meta["streamed"]["bytes"]),
        boxes=boxes,
        classes=tuple(split.meta.get("classes") or ()),
    )


def read_picture(path: str) -> Image.Image:
    """Return an image file as RGB; orientation tags are ignored, as everywhere.

    Raises
    ------
    ReproodError
        If the file is missing or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReproodError(
            f"The image {path} of a streamed split cannot be read ({error.strerror}); put it back, or prepare the data "
            "set again."
        ) from error
    return decode(data, path).convert("RGB")
