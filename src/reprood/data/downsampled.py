"""Read downsampled ImageNet: .npz files with flat images, in parts.

P. Chrabaszcz, I. Loshchilov, F. Hutter: A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets,
arXiv 1707.08819. The same batches are published as pickles, which are not read: a pickle can execute code.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import INTACT
from reprood.data.arrays import array_of
from reprood.data.bounds import array_header, whole_numbers
from reprood.data.generators import ImageData
from reprood.data.rows import Rows, part_rows

CHANNELS = 3
PICKLE = b"\x80"
BROKEN = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def downsampled_imagenet(
    paths: Sequence[Path], names: Sequence[str], classes: int = 1000, file: Path | None = None
) -> ImageData:
    """Read the batches of a split, one after the other.

    Parameters
    ----------
    paths : sequence of Path
        .npz files with `data`, uint8 [n, 3 S S], each image channel by channel, and `labels`, [n] from 1 on. S is the
        same in all.
    names : sequence of str
        Their names, for messages.
    classes : int
        Number of classes.
    file : Path, optional
        As in `Rows`; then one part of a batch is in memory at a time.

    Returns
    -------
    ImageData
        Images [N, S, S, 3]; labels 0 to `classes` - 1.

    Raises
    ------
    ReproodError
        For a file of another form, a damaged one, and labels outside of 1 to `classes`.
    """
    shapes = [_shape(path, name) for path, name in zip(paths, names, strict=True)]
    widths = {width for _, width in shapes}
    if len(widths) > 1:
        raise ReproodError(
            f"{', '.join(names)}: rows have {' and '.join(map(str, sorted(widths)))} values; name batches of one size."
        )
    side = isqrt(widths.pop() // CHANNELS)
    rows = Rows(sum(count for count, _ in shapes), ", ".join(names), file)
    labels, start = [], 0
    for path, name, (count, width) in zip(paths, names, shapes, strict=True):
        labels.append(_labels(path, name, count, classes))
        for part in _parts(path, name, count, width):
            pictures = part.reshape(-1, CHANNELS, side, side).transpose(0, 2, 3, 1)
            rows.extend(start, pictures)
            start += len(pictures)
    return ImageData(rows.all(), np.concatenate(labels))


@contextmanager
def _member(path: Path, name: str, array: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open one array of a batch; yields a stream and its size in bytes."""
    with open(path, "rb") as stream:
        if stream.read(1) == PICKLE:
            raise ReproodError(
                f"{name} is a pickle, which is not read because it can execute code; fetch the same batches in the "
                "format npz."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            if array not in members:
                raise ReproodError(
                    f"{name} has no array '{array}'; it has: {', '.join(members) or 'none'}. Expected a batch of "
                    "downsampled ImageNet with data and labels."
                )
            with archive.open(members[array]) as member:
                yield member, members[array].file_size  # type: ignore[misc]
    except BROKEN as error:
        raise ReproodError(f"{name} is damaged, or no batch of downsampled ImageNet ({error}); {INTACT}.") from error


def _shape(path: Path, name: str) -> tuple[int, int]:
    """Return the shape of a batch's data."""
    with _member(path, name, "data") as (stream, size):
        shape, kind = array_header(stream, size)
        _require_rows(stream, name)
    if len(shape) != 2 or kind != np.uint8 or shape[1] != CHANNELS * isqrt(shape[1] // CHANNELS) ** 2 or not shape[1]:
        raise ReproodError(
            f"{name}: data have type {kind} and shape {shape}; expected uint8 [N, 3072], or another 3 S S columns."
        )
    return shape[0], shape[1]


def _require_rows(stream: BinaryIO, name: str) -> None:
    """Reject data that are stored column by column, whose bytes would be read as rows of other images.

    An array of one row or one column has the same bytes in both orders.
    """
    form = np.lib.format
    readers = {1: form.read_array_header_1_0, 2: form.read_array_header_2_0}
    stream.seek(0)
    shape, by_column, _ = readers[form.read_magic(stream)[0]](stream)
    if by_column and min(shape, default=0) > 1:
        raise ReproodError(
            f"{name}: data are stored column by column (Fortran's order); write them again with numpy.savez and "
            "data=numpy.ascontiguousarray(data)."
        )


def _labels(path: Path, name: str, count: int, classes: int) -> np.ndarray:
    """Return the labels of a batch, int64 [n] from 0 on."""
    with _member(path, name, "labels") as (stream, _):
        labels = whole_numbers(array_of(stream.read(), f"{name}: labels"), f"{name}: labels")
    if len(labels) != count:
        raise ReproodError(f"{name} has {len(labels)} labels for {count} images; {INTACT}.")
    wrong = np.flatnonzero((labels < 1) | (labels > classes))
    if len(wrong):
        raise ReproodError(
            f"{name}: record {wrong[0]} has label {labels[wrong[0]]}; expected 1 to {classes}, as published."
        )
    return labels - 1


def _parts(path: Path, name: str, count: int, width: int) -> Iterator[np.ndarray]:
    """Yield the rows of a batch's data, in parts of uint8 [n, width]."""
    step = part_rows(width)
    with _member(path, name, "data") as (stream, size):
        array_header(stream, size)
        for start in range(0, count, step):
            rows = min(step, count - start)
            yield np.frombuffer(stream.read(rows * width), np.uint8).reshape(rows, width)
