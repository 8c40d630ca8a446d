"""What a file of data may ask for: sizes, memory, whole numbers, plain names. Checked before anything is allocated."""

import math
import os
import tokenize
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from reprood.core.errors import ReproodError

MEMBER = 1 << 30  # bytes of one file inside an archive, or of one compressed file, after unpacking
UNPACKED = 4 << 30  # bytes that any archive may unpack to,
SINGLE = 256 << 20  # or any compressed file,
RATIO = 200  # and this many times its own size
NAME = 200  # characters of a class name
# What numpy's reader of headers, which looks at them as Python source, may raise besides ValueError.
UNPARSABLE = (
    SyntaxError, TypeError, RecursionError, MemoryError, OverflowError, LookupError, AttributeError,
    tokenize.TokenError,
)  # fmt: skip


def gib(size: int) -> str:
    """Bytes in GiB for a sentence."""
    return f"{size / 2**30:,.1f} GiB"


def fits(size: int, where: str) -> None:
    """Refuse what this machine could never hold.

    Raises
    ------
    ReproodError
        When `size` bytes are more than the machine's memory.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ReproodError(
            f"{where} would take {gib(size)} and this machine has {gib(memory)} of memory; use a part of it, a smaller "
            "'size', or check the file."
        )


class Bounded:
    """A stream of unpacked bytes that ends with a sentence where a bomb would begin: read, seek and tell."""

    def __init__(self, stream: BinaryIO, most: int, where: str) -> None:
        self.stream, self.most, self.where = stream, most, where

    def _within(self, size: int, limit: int) -> None:
        if size > limit:
            raise ReproodError(
                f"{self.where} unpacks to {gib(size)} or more, and at most {gib(limit)} are read; it is not used."
            )

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        self._within(size, MEMBER)
        data = self.stream.read(min(MEMBER, self.most - self.tell()) + 1 if size < 0 else size)
        self._within(len(data), MEMBER)
        self._within(self.stream.tell(), self.most)
        return data

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        if whence == os.SEEK_SET:
            self._within(place, self.most)
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        """Where it is."""
        return self.stream.tell()

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()


def most_of(packed: int, least: int = UNPACKED) -> int:
    """What a compressed file or archive of `packed` bytes may unpack to."""
    return max(least, RATIO * packed)


def array_header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an .npy file of `size` bytes, and that its data are there and are plain.

    Raises
    ------
    ValueError
        When it is no such file, is shorter than its header says, or holds objects.
    """
    form = np.lib.format
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    version = form.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the format is not read")
    try:
        shape, _, kind = readers[version](stream)
    except UNPARSABLE as error:
        raise ValueError(f"its header cannot be understood: {type(error).__name__}") from error
    if kind.hasobject:
        raise ValueError("it holds objects")
    if any(isinstance(side, bool) or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError(f"its header gives the shape {str(shape)[:60]}")
    asked, there = math.prod(shape) * kind.itemsize, size - stream.tell()
    if asked > there:
        raise ValueError(f"its header asks for {asked} bytes of data and {there} are there")
    return shape, kind


def whole_numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Labels as int64 [N].

    Raises
    ------
    ReproodError
        When they are not whole numbers of at most 63 bits: fractions, NaN, text, dates or booleans are not rounded.
    """
    found = np.asarray(values)
    if found.dtype.kind == "f" and np.isfinite(found).all() and (found == np.round(found)).all():
        whole = np.abs(found) < 2**53  # some programs write whole numbers as floating point
        found = found.astype(np.int64) if whole.all() else found
    if found.dtype.kind not in "iu" or (len(found) and int(found.max()) > np.iinfo(np.int64).max):
        raise ReproodError(
            f"{where}: the labels are of type {values.dtype} and must be whole numbers; correct the file."
        )
    return found.astype(np.int64).ravel()


def plain_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Class names that can be shown.

    Raises
    ------
    ReproodError
        For an empty name, one of more than 200 characters, or one with a control character; and for a name used twice.
    """
    found = tuple(names)
    for number, name in enumerate(found):
        if not name.isprintable() or not 0 < len(name) <= NAME:
            raise ReproodError(
                f"{where}: the name of class {number} is {name[:40]!r}; expected 1 to {NAME} characters and no control "
                "character; rename it."
            )
    if len(set(found)) < len(found):
        doubled = next(name for name in found if found.count(name) > 1)
        raise ReproodError(f"{where}: two classes are named {doubled!r}; give each its own name.")
    return found
