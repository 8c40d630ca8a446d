"""Read folders of encoded images: a folder for each class, and Tiny ImageNet.

All images go through `prepare.to_array`, so that images of varying size follow one rule.
"""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import is_hidden, is_image, left_out, members
from reprood.data.formats import text_of
from reprood.data.generators import ImageData
from reprood.data.prepare import decode, eight_bits, opened, orientation, stack, to_array
from reprood.data.rows import Rows
from reprood.data.tables import box_of
from reprood.data.tally import Tally


def image_folder(
    path: Path,
    channels: int,
    size: int | None,
    root: str = "",
    listing: str = "",
    flat: bool = False,
    every: int = 1,
    nested: bool = False,
    file: Path | None = None,
) -> ImageData:
    """Read `<class>/<image>` from a folder, zip or tar, or images without classes if `flat`.

    Parameters
    ----------
    path : Path
        Folder or archive.
    channels, size : int
        Stored format; `size` is needed if images differ in size.
    root : str
        Folder inside the archive, e.g. ``dtd/images``.
    listing : str
        Member with one relative image name per line; only these are read.
    flat : bool
        Read every image below `root`, with label -1.
    every : int
        Read only every `every`-th name of the sorted list: a fixed, small subset of a large set.
    nested : bool
        All images are deeper than the class folders, which are the first ones below `root`.
    file : Path, optional
        As in `Rows`; a compressed tar is then read twice.
    """
    if not isinstance(every, int) or every < 1:
        raise ReproodError(f"{path}: the option every of image_folder is {every!r}; expected a number of at least 1.")
    prefix = f"{root.strip('/')}/" if root else ""
    tally, tops = Tally(), set[str]()
    chosen = _chosen(path, prefix, listing, every)

    def wanted(name: str) -> bool:
        tops.add(name.split("/")[0])
        if not name.startswith(prefix) or name == listing:
            return False
        if not is_image(name):
            tally.add(left_out(name), name)
            return False
        return chosen is None or name in chosen

    ordered = sorted(_names(path, wanted))
    if not ordered:
        raise ReproodError(_nothing(path, prefix, tops, tally))
    place = {name: row for row, name in enumerate(ordered)}
    rows = Rows(len(ordered), str(path), file)
    for name, data in members(path, place.__contains__):
        picture = opened(data, f"{path}: {name}")
        if orientation(picture) != 1:
            tally.add("images have an orientation tag, which is ignored", name)
        rows.put(place[name], to_array(eight_bits(picture, f"{path}: {name}"), channels, size))
    if chosen is not None and (absent := sorted(chosen - place.keys())):
        tally.add(f"names of {listing} are not there", absent[0], len(absent))
    images = rows.all()
    if flat:
        return ImageData(images, np.full(len(images), -1, np.int64), notes=tally.notes())
    folders = _class_folders(path, ordered, prefix, nested, tally)
    classes = sorted(set(folders))
    if path.is_dir() and chosen is None:
        _require_images(path, root, classes)
    if len(classes) == 1:
        tally.add("images all belong to one class", classes[0], len(images))
    number = {name: i for i, name in enumerate(classes)}
    return ImageData(images, np.array([number[f] for f in folders], np.int64), {}, tuple(classes), tally.notes())


def _chosen(path: Path, prefix: str, listing: str, every: int) -> set[str] | None:
    """Return the names that a listing or `every` selects; None: all."""
    if listing and every > 1:
        raise ReproodError(f"{path}: the options listing and every of image_folder exclude each other; keep one.")
    if listing:
        lists = [text_of(data, f"{path}: {listing}") for _, data in members(path, lambda name: name == listing)]
        if not lists:
            raise ReproodError(f"{path} has no member {listing}; check whether it is the right archive.")
        return {prefix + line.strip() for line in lists[0].splitlines() if line.strip()}
    if every > 1:
        names = sorted(_names(path, lambda name: name.startswith(prefix) and is_image(name)))
        return set(names[::every])
    return None


def _names(path: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Return the wanted names of a folder or archive, without reading contents."""
    names: list[str] = []

    def note(name: str) -> bool:
        if wanted(name):
            names.append(name)
        return False

    for _ in members(path, note):
        raise AssertionError("no member is requested")
    return names


def _nothing(path: Path, prefix: str, tops: set[str], tally: Tally) -> str:
    """Return the message for a folder or archive in which no image was read."""
    found = ", ".join(sorted(top for top in tops if not is_hidden(top))[:5]) or "no file"
    reasons = f"; {'; '.join(tally.notes())}" if tally.notes() else ""
    where = f" below '{prefix}'" if prefix else ""
    return f"{path}: there are no images{where}; it has {found}{reasons}; correct the file, 'root' or 'listing'."


def _class_folders(path: Path, names: Sequence[str], prefix: str, nested: bool, tally: Tally) -> list[str]:
    """Return the class folder of each image.

    Raises
    ------
    ReproodError
        If an image is outside of them, or if all images are deeper: a folder around them may have been taken for one.
    """
    parts = [PurePosixPath(name.removeprefix(prefix)).parts for name in names]
    outside = [name for name, one in zip(names, parts, strict=True) if len(one) < 2]
    if outside:
        raise ReproodError(
            f"{path}: an image is outside the class folders ({outside[0]}); move it, or set the option 'flat: true'."
        )
    deeper = [name for name, one in zip(names, parts, strict=True) if len(one) > 2]
    if len(deeper) == len(names) and not nested:
        first = parts[0][0]
        listed = ", ".join(sorted({one[0] for one in parts})[:5])
        raise ReproodError(
            f"{path}: all images are one folder deeper than the class folders would be ({listed}; the first image is "
            f"{names[0]}); set the option 'root: {prefix}{first}' if {first} contains the class folders, or 'nested: "
            "true' if these are the classes."
        )
    if deeper and not nested:
        tally.add("images are in folders inside of their class folder", deeper[0], len(deeper))
    return [one[0] for one in parts]


def _require_images(path: Path, root: str, classes: Sequence[str]) -> None:
    """Raise ReproodError for a class folder without images."""
    there = (file for file in (path / root.strip("/")).iterdir() if file.is_dir())
    for empty in sorted(file.name for file in there if file.name not in classes):
        if not is_hidden(empty):
            raise ReproodError(
                f"{path}: the class folder '{empty}' contains no images; remove it, or name the folder of the "
                "classes with the option 'root'."
            )


def tiny_imagenet(path: Path, part: str, channels: int = 3) -> ImageData:
    """Read Tiny ImageNet's zip: `train/<wnid>/images` with boxes, or `val/images` with `val_annotations.txt`."""
    root = "tiny-imagenet-200"
    inside = f"{root}/{'train' if part == 'train' else 'val'}/"
    wanted = (f"{root}/wnids.txt",)
    pictures: dict[str, np.ndarray] = {}
    notes: dict[str, tuple[str, list[float]]] = {}
    wnids: list[str] = []
    for name, data in members(path, lambda n: n.startswith(inside) or n in wanted):
        if name in wanted:
            wnids = sorted(text_of(data, f"{path}: {name}").split())
        elif name.endswith(".txt"):
            for line in text_of(data, f"{path}: {name}").splitlines():
                fields = line.split("\t")
                box = box_of(fields[-4:])
                if len(fields) < 5 or box is None:
                    raise ReproodError(f"{path}: {name} has the line '{line[:60]}'; expected a name and a box.")
                own = PurePosixPath(name).name.removesuffix("_boxes.txt")
                notes[fields[0]] = (own if part == "train" else fields[1], box)
        elif is_image(name):
            if PurePosixPath(name).name in pictures:
                raise ReproodError(f"{path} has two images named {PurePosixPath(name).name}; check the archive.")
            pictures[PurePosixPath(name).name] = to_array(decode(data, f"{path}: {name}"), channels)
    if not pictures or not wnids:
        raise ReproodError(f"{path} has no {inside}...; check whether it is the right archive.")
    names = sorted(pictures)
    for name in names:
        if name not in notes or notes[name][0] not in wnids:
            raise ReproodError(f"{path}: {name} has no class and box in the annotations; the archive is incomplete.")
    labels = np.array([wnids.index(notes[name][0]) for name in names], np.int64)
    boxes = np.array([notes[name][1] for name in names], np.float32)
    return ImageData(stack((pictures[n] for n in names), str(path)), labels, {"boxes": boxes}, tuple(wnids))
