"""Check untrusted data files before memory is allocated: sizes, memory, integer labels, printable names."""

import math
import os
import tokenize
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from reprood.core.errors import ReproodError

MEMBER = 1 << 30  # largest unpacked size in bytes of one file in an archive, or of one read
UNPACKED = 4 << 30  # unpacked size in bytes that is allowed for any archive
SINGLE = 256 << 20  # and for any compressed file
RATIO = 200  # larger unpacked sizes are allowed up to this multiple of the packed size
NAME = 200  # characters of a class name
# Exceptions besides ValueError from numpy's header parser, which evaluates headers as Python literals.
UNPARSABLE = (
    SyntaxError, TypeError, RecursionError, MemoryError, OverflowError, LookupError, AttributeError,
    tokenize.TokenError,
)  # fmt: skip


def gib(size: int) -> str:
    """Format a number of bytes in GiB."""
    return f"{size / 2**30:,.1f} GiB"


def fits(size: int, where: str) -> None:
    """Reject a size that exceeds the memory of this machine.

    Raises
    ------
    ReproodError
        If `size` bytes are more than the machine's memory.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ReproodError(
            f"{where} would need {gib(size)}, but this machine has {gib(memory)} of memory; use a part of it or a "
            "smaller 'size', or check the file."
        )


class Bounded:
    """A readable stream that raises `ReproodError` when it yields more than `most` bytes (a decompression bomb)."""

    def __init__(self, stream: BinaryIO, most: int, where: str) -> None:
        self.stream, self.most, self.where = stream, most, where

    def _within(self, size: int, limit: int) -> None:
        if size > limit:
            raise ReproodError(
                f"{self.where} unpacks to {gib(size)} or more, but at most {gib(limit)} are allowed; the file is "
                "rejected."
            )

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        self._within(size, MEMBER)
        data = self.stream.read(min(MEMBER, self.most - self.tell()) + 1 if size < 0 else size)
        self._within(len(data), MEMBER)
        self._within(self.stream.tell(), self.most)
        return data

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        if whence == os.SEEK_SET:
            self._within(position, self.most)
        return self.stream.seek(position, whence)

    def tell(self) -> int:
        """Return the current position."""
        return self.stream.tell()

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()


def most_of(packed: int, least: int = UNPACKED) -> int:
    """Return the number of bytes to which a compressed file or archive of `packed` bytes may unpack."""
    return max(least, RATIO * packed)


def array_header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and dtype of an .npy file of `size` bytes, and check that its data are complete.

    Raises
    ------
    ValueError
        If it is not such a file, is shorter than its header states, or contains objects.
    """
    form = np.lib.format
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    version = form.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the format is not supported")
    try:
        shape, _, kind = readers[version](stream)
    except UNPARSABLE as error:
        raise ValueError(f"its header cannot be parsed: {type(error).__name__}") from error
    if kind.hasobject:
        raise ValueError("it contains objects")
    if any(isinstance(side, bool) or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError(f"its header states the shape {str(shape)[:60]}")
    stated, available = math.prod(shape) * kind.itemsize, size - stream.tell()
    if stated > available:
        raise ValueError(f"its header states {stated} bytes of data, but there are {available}")
    return shape, kind


def whole_numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Convert labels to int64 [N].

    Raises
    ------
    ReproodError
        If they are not integers of at most 63 bits. Fractions, NaN, text, dates and booleans are not converted.
    """
    labels = np.asarray(values)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all():
        exact = np.abs(labels) < 2**53  # some programs write integers as floating point
        labels = labels.astype(np.int64) if exact.all() else labels
    if labels.dtype.kind not in "iu" or (len(labels) and int(labels.max()) > np.iinfo(np.int64).max):
        raise ReproodError(
            f"{where}: the labels are of type {values.dtype} and must be whole numbers; correct the file."
        )
    return labels.astype(np.int64).ravel()


def plain_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Check that class names can be displayed.

    Raises
    ------
    ReproodError
        For an empty name, one of more than 200 characters or with a control character, and for a repeated name.
    """
    checked = tuple(names)
    for number, name in enumerate(checked):
        if not name.isprintable() or not 0 < len(name) <= NAME:
            raise ReproodError(
                f"{where}: the name of class {number} is {name[:40]!r}; expected 1 to {NAME} characters and no control "
                "character; rename it."
            )
    if len(set(checked)) < len(checked):
        repeated = next(name for name in checked if checked.count(name) > 1)
        raise ReproodError(f"{where}: two classes are named {repeated!r}; give each its own name.")
    return checked
