"""Images of many splits, each different image once, in few bytes.

Benchmarks of one suite share most of their images, in other orders. A pool holds every image of one shape once; a
split is rows of a pool. Pools are written in pieces: colours are taken relative to green, pixels to their left and
upper neighbours (the mixed difference, undone by two cumulative sums modulo 256), and the rest is left to LZMA.
Photographs take half the room, noise takes what it takes.

Only numpy and the standard library: the other side unpacks with it.
"""

import hashlib
import lzma
from collections.abc import Iterator, Sequence

import numpy as np

PIECE = 2048  # images
PRESET = 6


class Pool:
    """Different images of one shape, in the order in which they were met."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.rows: dict[bytes, int] = {}
        self.images: list[np.ndarray] = []

    def add(self, images: np.ndarray) -> np.ndarray:
        """The rows of the pool that hold uint8 `images` [N, H, W, C]; int32 [N]."""
        rows = np.empty(len(images), np.int32)
        for i, image in enumerate(images):
            key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            row = self.rows.setdefault(key, len(self.rows))
            if row == len(self.images):
                self.images.append(np.array(image))
            rows[i] = row
        return rows

    def pieces(self) -> Iterator[bytes]:
        """The pool as encoded pieces of `PIECE` images."""
        for start in range(0, len(self.images), PIECE):
            yield encode(np.stack(self.images[start : start + PIECE]))


def encode(images: np.ndarray) -> bytes:
    """uint8 images [N, H, W, C] in few bytes; the first byte says whether they were worth the effort."""
    moved = np.ascontiguousarray(np.moveaxis(_differences(images), 3, 1))
    packed = lzma.compress(moved.tobytes(), preset=PRESET)
    return b"d" + packed if len(packed) < 0.97 * images.size else b"r" + images.tobytes()


def decode(data: bytes, shape: Sequence[int]) -> np.ndarray:
    """The images [N, *shape] of a piece."""
    height, width, channels = shape
    if data[:1] == b"r":
        return np.frombuffer(data, np.uint8, offset=1).reshape(-1, height, width, channels)
    moved = np.frombuffer(lzma.decompress(data[1:]), np.uint8).reshape(-1, channels, height, width)
    return _sums(np.ascontiguousarray(np.moveaxis(moved, 1, 3)))


def _differences(images: np.ndarray) -> np.ndarray:
    found = images.copy()
    if images.shape[3] == 3:
        found[..., 0] -= images[..., 1]
        found[..., 2] -= images[..., 1]
    for axis in (1, 2):
        found = np.diff(found, axis=axis, prepend=np.uint8(0))
    return found


def _sums(differences: np.ndarray) -> np.ndarray:
    found = differences
    for axis in (1, 2):
        found = np.cumsum(found, axis=axis, dtype=np.uint8)
    if found.shape[3] == 3:
        found[..., 0] += found[..., 1]
        found[..., 2] += found[..., 1]
    return found
