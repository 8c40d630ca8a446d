"""Collect the images of a split one by one: in memory, or in a file if they are many."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits

PART = 64 << 20  # bytes of images that are held in memory at a time


class Rows:
    """Collect the images of a split, one row each, as they are read.

    With a file the array is memory-mapped, so that a split of any size needs memory for one image at a time; its pages
    are written by the operating system. The file has the form of `images.npy` and is read once more by `save_split`.

    Parameters
    ----------
    count : int
        Number of images N.
    where : str
        Source of the images, for messages.
    file : Path, optional
        File to write; None: in memory.

    Raises
    ------
    ReproodError
        If there is no image, or if N images do not fit into memory and there is no file.
    """

    def __init__(self, count: int, where: str, file: Path | None = None) -> None:
        if count < 1:
            raise ReproodError(f"{where}: there are no images; check the folder or the file.")
        self.count, self.where, self.file = count, where, file
        self.images: np.ndarray | None = None

    def put(self, row: int, image: np.ndarray) -> None:
        """Store one image, uint8 [H, W, C], in its row.

        Raises
        ------
        ReproodError
            If its shape is not that of the first one: the catalogue entry then needs a `size`.
        """
        images = self._array(image.shape)
        if image.shape != images.shape[1:]:
            raise ReproodError(
                f"{self.where}: images have different shapes ({images.shape[1:]}, {image.shape}); give the catalogue "
                "entry a 'size'."
            )
        images[row] = image

    def extend(self, row: int, images: np.ndarray) -> None:
        """Store several images of one shape, uint8 [n, H, W, C], from a row on."""
        self._array(images.shape[1:])[row : row + len(images)] = images

    def all(self) -> np.ndarray:
        """Return the images [N, H, W, C]; every row must have been put."""
        assert self.images is not None
        return self.images

    def _array(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.images is None:
            full = (self.count, *shape)
            if self.file is None:
                fits(int(np.prod(full)), f"{self.where}: {self.count:,} images")
                self.images = np.zeros(full, np.uint8)
            else:
                self.images = _mapped(self.file, full)
        return self.images


def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        return np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    except OSError as error:
        raise ReproodError(
            f"Cannot write {file}: {error.strerror}; free some space or choose a writable folder."
        ) from error


def part_rows(image_bytes: int) -> int:
    """Return the number of images of a size in bytes that are worked on at a time: at least one."""
    return max(1, PART // max(1, image_bytes))


@contextmanager
def parts_file(out: Path) -> Iterator[Path]:
    """Yield the path of a file for the images of a split while it is prepared in the folder `out`.

    At the end the file is removed, and so are folders that did not exist before and are empty after an error.
    """
    absent = [folder for folder in (out, *out.parents) if not folder.exists()]
    parts = out / "images.part"
    try:
        yield parts
    finally:
        parts.unlink(missing_ok=True)
        for folder in absent:
            with suppress(OSError):  # it does not exist, or holds the split
                folder.rmdir()
