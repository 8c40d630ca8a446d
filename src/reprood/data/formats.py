"""Read fixed binary formats: IDX, CIFAR's binary archives, SVHN's .mat, .npy/.npz, CSV of digits.

Every reader returns `ImageData`, and its errors name the file and the record. Nothing here can execute code: no
pickles, and archives are read member by member.
"""

import math
import re
import struct
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import DAMAGED, INTACT, members, unpacked
from reprood.data.arrays import array_of, read_array, read_npz
from reprood.data.bounds import SINGLE, whole_numbers
from reprood.data.generators import ImageData
from reprood.data.tally import Tally

IDX_UINT8 = 0x08


def _uncompressed(path: Path) -> bytes:
    try:
        with closing(unpacked(path, SINGLE)) as stream:
            return stream.read()
    except DAMAGED as error:
        raise ReproodError(f"{path} is damaged ({error}); {INTACT}.") from error


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read one IDX file (gzipped or not) of uint8 values with `dimensions` axes.

    Raises
    ------
    ReproodError
        For a wrong magic number or a truncated file.
    """
    data = _uncompressed(path)
    header = 4 + 4 * dimensions
    if len(data) < header or data[:2] != b"\0\0" or data[2] != IDX_UINT8 or data[3] != dimensions:
        raise ReproodError(
            f"{path} is not an IDX file of uint8 with {dimensions} axes (it begins with "
            f"{data[:4].hex() or 'nothing'}); check whether it is the right file."
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, 4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise ReproodError(
            f"{path} has {len(data)} bytes, but its header states {expected}; it is truncated or damaged."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def idx(images: Path, labels: Path) -> ImageData:
    """Read a pair of files in MNIST's format."""
    pixels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(numbers):
        raise ReproodError(
            f"{images} has {len(pixels)} images and {labels} has {len(numbers)} labels; they do not belong together."
        )
    return ImageData(pixels[..., None], numbers.astype(np.int64))


def text_of(data: bytes, where: str) -> str:
    """Decode UTF-8 text.

    Raises
    ------
    ReproodError
        If it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ReproodError(
            f"{where} is not UTF-8 text ({error.reason}); check whether it is the right file."
        ) from error


def cifar_binary(path: Path, pattern: str, names_file: str, label_bytes: int = 1) -> ImageData:
    """Read CIFAR-10/100's binary archive: records of label bytes and 3,072 values, channels first.

    The last label of a record is used.

    Parameters
    ----------
    path : Path
        The .tar.gz.
    pattern : str
        Regular expression for the base names of the members, e.g. ``data_batch_[1-5].bin``.
    names_file : str
        Base name of the member with the class names.
    label_bytes : int
        1 (CIFAR-10) or 2 (CIFAR-100: coarse, fine).
    """
    if label_bytes not in (1, 2):
        raise ReproodError(
            f"{path}: the option label_bytes is {label_bytes!r}; expected 1 (CIFAR-10) or 2 (CIFAR-100)."
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise ReproodError(f"{path}: the option pattern '{pattern}' is not a regular expression ({error}).") from error
    parts: dict[str, bytes] = {}
    names: tuple[str, ...] = ()
    for name, data in members(path, lambda n: bool(re.fullmatch(pattern, Path(n).name)) or Path(n).name == names_file):
        if Path(name).name == names_file:
            names = tuple(line for line in text_of(data, f"{path}: {name}").split("\n") if line.strip())
        else:
            parts[name] = data
    if not parts:
        raise ReproodError(f"{path} has no member that matches {pattern}; check whether it is the right archive.")
    record = label_bytes + 3072
    blocks = []
    for name in sorted(parts):
        if len(parts[name]) % record or not parts[name]:
            raise ReproodError(
                f"{path}: {name} has {len(parts[name])} bytes, not a multiple of {record}; it is damaged."
            )
        blocks.append(np.frombuffer(parts[name], np.uint8).reshape(-1, record))
    table = np.concatenate(blocks)
    labels = table[:, label_bytes - 1].astype(np.int64)
    if names and labels.max() >= len(names):
        row = int(np.argmax(labels >= len(names)))
        raise ReproodError(f"{path}: record {row} has label {labels[row]}, but there are {len(names)} classes.")
    images = table[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ImageData(np.ascontiguousarray(images), labels, classes=names)


def svhn_mat(path: Path) -> ImageData:
    """Read SVHN's cropped digits: X uint8 [32, 32, 3, N], y [N, 1] with 10 for the digit 0.

    Raises
    ------
    ReproodError
        If it is not such a file.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"], content["y"]
    except (
        MatReadError, ValueError, KeyError, IndexError, NotImplementedError, OSError, TypeError, AttributeError,
        OverflowError, MemoryError, RecursionError, zlib.error, struct.error,
    ) as error:  # fmt: skip
        raise ReproodError(f"{path} is not an SVHN file with X and y ({error}); {INTACT}.") from error
    labels = whole_numbers(labels, f"{path}: y")
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.shape[3] != len(labels):
        raise ReproodError(
            f"{path}: X has shape {images.shape} and y has {len(labels)} values; expected [32, 32, 3, N]."
        )
    if images.dtype != np.uint8:
        raise ReproodError(f"{path}: X has type {images.dtype}; expected uint8.")
    wrong = np.flatnonzero((labels < 0) | (labels > 10))
    if len(wrong):
        raise ReproodError(
            f"{path}: record {wrong[0]} has label {labels[wrong[0]]}; expected 1 to 10 (10 is the digit 0)."
        )
    return ImageData(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10, classes=tuple("0123456789"))


def _images(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        raise ReproodError(
            f"{where} has the shape {array.shape}, which is that of one image [H, W, C]; expected [N, H, W] or "
            "[N, H, W, 1 or 3]: add the axis N in front, or name the right array."
        )
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[3] not in (1, 3):
        raise ReproodError(
            f"{where} has type {array.dtype} and shape {array.shape}; expected uint8 [N, H, W] or [N, H, W, 1 or 3]."
        )
    return array


def _unlabelled(images: np.ndarray, name: str) -> ImageData:
    """Return images without labels, and say so."""
    tally = Tally()
    tally.add("images are read without labels", name, len(images))
    return ImageData(images, np.full(len(images), -1, np.int64), notes=tally.notes())


def npy(images: Path, labels: Path | None = None) -> ImageData:
    """Read an array of images [N, H, W] or [N, H, W, C] and, optionally, one of labels [N]."""
    pixels = _images(read_array(images, mmap=True), str(images))
    if labels is None:
        return _unlabelled(pixels, images.name)
    numbers = whole_numbers(read_array(labels), str(labels))
    if len(numbers) != len(pixels):
        raise ReproodError(f"{labels} has {len(numbers)} labels for {len(pixels)} images of {images}.")
    return ImageData(pixels, numbers)


def npz(path: Path, images: str = "images", labels: str = "", flat: bool = False) -> ImageData:
    """Read an archive with an array of images and one of labels.

    Parameters
    ----------
    path : Path
        The archive.
    images, labels : str
        Names of the arrays; `labels` "": the array `labels`, if there is one.
    flat : bool
        Read the images without labels.

    Raises
    ------
    ReproodError
        If an array is missing or has another form, or if it is not clear which one holds the labels.
    """
    arrays = read_npz(path)
    listed = ", ".join(arrays)
    if images not in arrays:
        raise ReproodError(f"{path} has no array '{images}'; it has: {listed}; name it with the option 'images'.")
    pixels = _images(arrays[images], f"{path}: {images}")
    if labels and labels not in arrays:
        raise ReproodError(f"{path} has no array '{labels}' of labels; it has: {listed}.")
    if flat:
        return _unlabelled(pixels, path.name)
    name = labels or "labels"
    if name not in arrays:
        fitting = [key for key, array in arrays.items() if key != images and array.size == len(pixels)]
        if fitting:
            raise ReproodError(
                f"{path} has no array 'labels'; it has: {listed}; name the labels' with the option 'labels' (for "
                f"example 'labels: {fitting[0]}'), or set 'flat: true' for images without labels."
            )
        return _unlabelled(pixels, path.name)
    numbers = whole_numbers(arrays[name], f"{path}: {name}")
    if len(numbers) != len(pixels):
        raise ReproodError(f"{path}: {len(numbers)} labels for {len(pixels)} images.")
    tally = Tally()
    for other in arrays:
        if other not in (images, name):
            tally.add(f"arrays of {path.name} are not read", other)
    return ImageData(pixels, numbers.astype(np.int64), notes=tally.notes())


def npy_archive(path: Path, images: str | list[str], labels: str) -> ImageData:
    """Read .npy members of an archive in the format of CIFAR-10-C: five severities one after the other.

    Parameters
    ----------
    path : Path
        The archive.
    images : str or list of str
        One corruption's images, or several corruptions', one after the other; the extra `corruption` is then the
        place in this list.
    labels : str
        The labels of any one of them.
    """
    names = [images] if isinstance(images, str) else images
    arrays = {}
    for name, data in members(path, {*names, labels}.__contains__):
        arrays[name] = array_of(data, f"{path}: {name}")
    for name in (*names, labels):
        if name not in arrays:
            raise ReproodError(f"{path} has no member {name}; check whether it is the right archive.")
    numbers = whole_numbers(arrays[labels], f"{path}: {labels}")
    parts = [_images(arrays.pop(name), name) for name in names]
    for name, pixels in zip(names, parts, strict=True):
        if len(pixels) % 5 or len(numbers) != len(pixels):
            raise ReproodError(
                f"{path}: {name} has {len(pixels)} images and {labels} {len(numbers)} labels; expected 5 equal parts."
            )
    severity = np.tile(np.repeat(np.arange(1, 6), len(numbers) // 5), len(parts))
    extras = {"severity": severity}
    if not isinstance(images, str):
        extras["corruption"] = np.repeat(np.arange(len(parts)), len(numbers))
    return ImageData(np.concatenate(parts) if len(parts) > 1 else parts[0], np.tile(numbers, len(parts)), extras)


def digits_csv(path: Path, label: str = "") -> ImageData:
    """Read a CSV file of digits: 784 pixels (0..255) and the label in each row.

    Parameters
    ----------
    path : Path
        The file; a first row with names is skipped.
    label : {"", "first", "last"}
        Where the label is; "": where the first row says `label`, else last.

    Raises
    ------
    ReproodError
        For another form, and if the last column cannot be the labels.
    """
    if label not in ("", "first", "last"):
        raise ReproodError(f"{path}: the option label of digits_csv is '{label}'; expected first or last.")
    try:
        lines = _uncompressed(path).decode().split("\n")
        names, rows = _header([line.strip() for line in lines if line.strip()])
        if not rows:
            raise ValueError("it has no rows")
        table = np.loadtxt(rows, delimiter=",", dtype=np.float64)
    except ValueError as error:
        raise ReproodError(f"{path} is not a table of numbers ({error}); {INTACT}.") from error
    table = np.atleast_2d(table)
    if table.shape[1] != 785:
        raise ReproodError(f"{path} has shape {table.shape}; expected rows of 784 pixels in 0..255 and a label.")
    if not (np.isfinite(table).all() and table.min() >= 0 and table.max() <= 255 and (table == table.round()).all()):
        raise ReproodError(f"{path} has values other than whole pixels in 0..255 and whole labels; {INTACT}.")
    first = label == "first" or (not label and names[:1] == ["label"])
    if not (label or "label" in (*names[:1], *names[-1:])) and _label_is_first(table):
        raise ReproodError(
            f"{path}: the last column, where the label is expected, is {table[0, -1]:g} in all rows, and the first "
            "column has whole numbers from 0 to 9; set the option 'label: first' (or 'label: last')."
        )
    pixels = table[:, 1:] if first else table[:, :784]
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    return ImageData(images, table[:, 0 if first else 784].astype(np.int64), classes=tuple("0123456789"))


def _header(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the names in the first row, if it has no numbers, and the other rows."""
    names = [name.strip("\"' \ufeff").lower() for name in lines[0].split(",")] if lines else []
    if any(name.replace(".", "", 1).isdigit() for name in names):
        return [], lines
    return names, lines[1:]


def _label_is_first(table: np.ndarray) -> bool:
    """Return whether the last of several columns is constant and the first one is not, with values of 0 to 9."""
    last, first = table[:, -1], table[:, 0]
    return len(table) > 1 and bool((last == last[0]).all()) and len(np.unique(first)) > 1 and first.max() <= 9
