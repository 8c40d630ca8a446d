"""Read the image lists of OpenOOD: text files with a path and a label on each line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.generators import ImageData
from reprood.data.prepare import decode, stack, to_array


def image_list(
    folder: Path, channels: int, size: int | None, listing: str, root: str = "", classes: Sequence[str] = ()
) -> ImageData:
    """Read the images that a list names, in its order; a label of -1 means that there is none.

    Parameters
    ----------
    folder : Path
        Folder with lists and images.
    channels, size : int
        Stored format; `size` is needed if images differ in size.
    listing : str
        The list, relative to `folder`, such as ``benchmark_imglist/cifar10/test_cifar10.txt``.
    root : str
        Folder, relative to `folder`, to which the paths in the list refer, such as ``images_classic``.
    classes : sequence of str
        Names in the order of the labels.

    Raises
    ------
    ReproodError
        When the list or an image is missing, a line has no label, or a path leads out of the folder.
    """
    path = folder / listing
    if not path.is_file():
        raise ReproodError(f"There is no list {path}; correct the option listing, or unpack the lists in {folder}.")
    base = (folder / root).resolve()
    arrays, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.lstrip("-").isdigit():
            raise ReproodError(f"{path}, line {number}: expected a path and a label, found {line.strip()[:80]!r}.")
        file = (base / name).resolve()
        if not file.is_relative_to(base):
            raise ReproodError(f"{path}, line {number}: {name} leads out of {base}.")
        if not file.is_file():
            raise ReproodError(f"{path}, line {number}: there is no image {file}; correct the option root.")
        arrays.append(to_array(decode(file.read_bytes(), str(file)), channels, size))
        labels.append(int(label))
    if not arrays:
        raise ReproodError(f"{path} names no image.")
    return ImageData(stack(iter(arrays), str(path)), np.array(labels, np.int64), {}, tuple(classes))
