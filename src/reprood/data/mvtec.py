"""Read the MVTec-AD layout: pictures of one kind of object, without and with defects, and masks of the defects."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.archives import is_image, left_out, members
from reprood.data.generators import ImageData
from reprood.data.masks import read_mask
from reprood.data.prepare import Fit, eight_bits, opened, orientation, stack, to_array, upright
from reprood.data.tally import Tally

TOPS = ("train", "test", "ground_truth")
Key = tuple[str, str]  # kind (good or a defect), name inside its folder without suffix


@dataclass(frozen=True)
class _Picture:
    """A picture, shrunk, with its name and its size (width, height) and orientation tag before."""

    pixels: np.ndarray
    name: str
    size: tuple[int, int]
    tag: int


@dataclass(frozen=True)
class _Mask:
    """A mask, shrunk to values in {0, 255}, with its name, its size before and whether it marked anything."""

    region: np.ndarray
    name: str
    size: tuple[int, int]
    marks: bool


def mvtec(path: Path, channels: int, size: int, part: str, category: str = "", fit: Fit = "crop") -> ImageData:
    """Read the MVTec-AD layout: `train/good`, `test/{good,<defect>}`, `ground_truth/<defect>/<stem>_mask.png`.

    Images are shrunk as they are read. Orientation tags are honoured, because masks are drawn on pictures as they are
    shown. Label 0 = good, then defects in alphabetical order. Extras: masks [N, size, size] in {0, 255}.

    Parameters
    ----------
    path : Path
        Folder or archive.
    channels, size : int
        Stored format.
    part : str
        `train` or `test`.
    category : str
        The folder above `train`, `test` and `ground_truth`, wherever it is; "" if they are at the top.
    fit : {"crop", "stretch"}
        As in `prepare.to_array`.

    Raises
    ------
    ReproodError
        For a wrong layout, for a mask that is missing or could belong to two pictures, and if the centre crop would
        remove the whole defect of an image, whose label would then be wrong.
    """
    if fit not in ("crop", "stretch"):
        raise ReproodError(f"MVTec-AD layout: fit is '{fit}'; expected crop or stretch.")
    tally, above = Tally(), set[str]()
    pictures: dict[Key, list[_Picture]] = {}
    masks: dict[Key, _Mask] = {}

    def wanted(name: str) -> bool:
        above.update(_above(name, part))
        inside = _inside(name, category)
        if inside is None or not inside.startswith((f"{part}/", "ground_truth/")):
            return False
        if not is_image(name):
            tally.add(left_out(name), name)
        return is_image(name)

    for name, data in members(path, wanted):
        inside = PurePosixPath(_inside(name, category) or name)
        if len(inside.parts) < 3:
            raise ReproodError(f"{path}: {name} is not in a folder of its kind; expected {part}/<kind>/<image>.")
        key = inside.parts[1], PurePosixPath(*inside.parts[2:]).with_suffix("").as_posix()
        where = f"{path}: {name}"
        if inside.parts[0] == "ground_truth":
            _keep_mask(masks, (key[0], key[1].removesuffix("_mask")), _mask(data, name, where, size, fit), path)
        else:
            pictures.setdefault(key, []).append(_picture(data, name, where, channels, size, fit))
    if not pictures:
        raise ReproodError(_nothing(path, part, category, above))
    _require_one_each(pictures, path)
    keys = sorted(pictures, key=lambda key: (key[0] != "good", key))
    rows = [(key, picture) for key in keys for picture in sorted(pictures[key], key=lambda one: one.name)]
    regions = _regions(rows, masks, path, size, category, tally)
    defects = sorted({kind for kind, _ in pictures} - {"good"})
    labels = np.array([0 if key[0] == "good" else defects.index(key[0]) + 1 for key, _ in rows], np.int64)
    for _, picture in rows:
        if picture.tag != 1:
            tally.add("images have an orientation tag, which is honoured", picture.name)
    pixels = stack((picture.pixels for _, picture in rows), str(path))
    return ImageData(pixels, labels, {"masks": regions}, ("good", *defects), tally.notes())


def _inside(name: str, category: str) -> str | None:
    """Return the part of a name below the category's folder, a whole folder name; None if it is outside."""
    if not category:
        return name
    parts, own = PurePosixPath(name).parts, PurePosixPath(category).parts
    for start in range(len(parts) - len(own)):
        below = parts[start + len(own) :]
        if parts[start : start + len(own)] == own and below[0] in TOPS:
            return "/".join(below)
    return None


def _above(name: str, part: str) -> Iterable[str]:
    """Return the folder above `part` in a name, if there is one."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[: parts.index(part)])] if part in parts[1:-1] else []


def _nothing(path: Path, part: str, category: str, above: Iterable[str]) -> str:
    """Return the message for a layout without images."""
    folders = sorted(above)
    expected = f"{category}/" if category else ""
    found = f"it has {part}/ below {', '.join(folders[:5])}" if folders else "expected the MVTec-AD layout"
    advice = "; name one of them with the option 'category'" if folders else ""
    return f"{path} has no {expected}{part}/<kind>/<image>; {found}{advice}."


def _picture(data: bytes, name: str, where: str, channels: int, size: int, fit: Fit) -> _Picture:
    stored = opened(data, where)
    tag = orientation(stored)
    shown = upright(eight_bits(stored, where), tag)
    return _Picture(to_array(shown, channels, size, fit), name, shown.size, tag)


def _mask(data: bytes, name: str, where: str, size: int, fit: Fit) -> _Mask:
    marked = read_mask(data, where)
    image = Image.fromarray(marked * np.uint8(255))
    return _Mask(_region(to_array(image, 1, size, fit)[..., 0]), name, image.size, bool(marked.any()))


def _keep_mask(masks: dict[Key, _Mask], key: Key, mask: _Mask, path: Path) -> None:
    if key in masks:
        raise ReproodError(
            f"{path}: {masks[key].name} and {mask.name} are both a mask of {'/'.join(key)}; remove one of them."
        )
    masks[key] = mask


def _require_one_each(pictures: dict[Key, list[_Picture]], path: Path) -> None:
    """Raise ReproodError if a mask could belong to two pictures, or two pictures have one name."""
    for (kind, _), same in pictures.items():
        names = {picture.name.rpartition("/")[0] for picture in same}
        if len(same) > 1 and (kind != "good" or len(names) > 1):
            raise ReproodError(
                f"{path}: {same[0].name} and {same[1].name} are the same picture to the reader; remove one of them, or "
                "give the whole name of the category's folder."
            )


def _regions(
    rows: list[tuple[Key, _Picture]], masks: dict[Key, _Mask], path: Path, size: int, category: str, tally: Tally
) -> np.ndarray:
    """Return the masks of pictures, uint8 [N, size, size]; black for good ones."""
    regions = np.zeros((len(rows), size, size), np.uint8)
    lost = []
    for row, (key, picture) in enumerate(rows):
        if key[0] == "good":
            continue
        name = f"{category}/ground_truth/{'/'.join(key)}_mask.png".lstrip("/")
        if key not in masks:
            raise ReproodError(f"{path}: {name} is missing.")
        mask = masks[key]
        if mask.size != picture.size:
            turned = f" (its orientation tag {picture.tag} is honoured; remove the tag, or turn the mask)"
            raise ReproodError(
                f"{path}: the mask of {'/'.join(key)} is {mask.size}, its image {picture.size}"
                f"{turned if picture.tag != 1 else ''}."
            )
        if not mask.marks:
            tally.add("images are labelled as defective, and their masks mark no pixel", mask.name)
            continue
        regions[row] = mask.region
        if mask.region.all():
            tally.add("masks mark every pixel", mask.name)
        if not mask.region.any():
            lost.append(name)
    if lost:
        raise ReproodError(
            f"{path}: the centre crop removes the whole defect of {len(lost)} of {len(rows)} images (the first is "
            f"{lost[0]}); add the option 'fit: stretch' to the data set's splits."
        )
    used = {key for key, _ in rows}
    if any(kind != "good" for kind, _ in used):
        for key in sorted(masks.keys() - used):
            tally.add("masks belong to no image and are left out", masks[key].name)
    return regions


def _region(shrunk: np.ndarray) -> np.ndarray:
    """Binarise a shrunk mask to {0, 255}: pixels covered by more than half, or the most covered ones if none is."""
    region = shrunk > min(127, int(shrunk.max()) - 1) if shrunk.any() else shrunk > 0
    return region * np.uint8(255)
