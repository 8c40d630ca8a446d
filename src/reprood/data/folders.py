"""Read encoded images: class folders, MVTec-AD layout, Tiny ImageNet, parquet.

All images go through `prepare.to_array`, so that images of varying size follow one rule.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.archives import is_image, members
from reprood.data.bounds import fits, whole_numbers
from reprood.data.formats import text_of
from reprood.data.generators import ImageData
from reprood.data.prepare import Fit, decode, prepare_boxes, stack, to_array


def image_folder(
    path: Path, channels: int, size: int | None, root: str = "", listing: str = "", flat: bool = False, every: int = 1
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
    """
    if not isinstance(every, int) or every < 1:
        raise ReproodError(f"{path}: the option every of image_folder is {every!r}; expected a number of at least 1.")
    prefix = f"{root.strip('/')}/" if root else ""
    chosen: set[str] | None = None
    if listing:
        lists = [text_of(data, f"{path}: {listing}") for _, data in members(path, lambda name: name == listing)]
        if not lists:
            raise ReproodError(f"{path} has no member {listing}; check whether it is the right archive.")
        chosen = {prefix + line.strip() for line in lists[0].splitlines() if line.strip()}
    if every > 1:
        names = sorted(name for name, _ in _names(path) if name.startswith(prefix) and is_image(name))
        chosen = set(names[::every])

    def wanted(name: str) -> bool:
        return name.startswith(prefix) and is_image(name) and (chosen is None or name in chosen)

    arrays = {name: to_array(decode(data, f"{path}: {name}"), channels, size) for name, data in members(path, wanted)}
    ordered = sorted(arrays.items(), key=lambda item: item[0])
    images = stack((image for _, image in ordered), str(path))
    if flat:
        return ImageData(images, np.full(len(images), -1, np.int64))
    folders = [PurePosixPath(name.removeprefix(prefix)).parts[0] for name, _ in ordered]
    if any(len(PurePosixPath(name.removeprefix(prefix)).parts) < 2 for name, _ in ordered):
        raise ReproodError(f"{path}: an image is outside the class folders; move it, or set the option 'flat: true'.")
    classes = sorted(set(folders))
    if path.is_dir() and chosen is None:
        there = (file for file in (path / root.strip("/")).iterdir() if file.is_dir())
        for empty in sorted(file.name for file in there if file.name not in classes):
            if not empty.startswith((".", "__MACOSX")):
                raise ReproodError(
                    f"{path}: the class folder '{empty}' contains no images; remove it, or name the folder of the "
                    "classes with the option 'root'."
                )
    number = {name: i for i, name in enumerate(classes)}
    return ImageData(images, np.array([number[f] for f in folders], np.int64), classes=tuple(classes))


def _names(path: Path) -> list[tuple[str, None]]:
    names: list[tuple[str, None]] = []

    def note(name: str) -> bool:
        names.append((name, None))
        return False

    for _ in members(path, note):
        raise AssertionError("no member is requested")
    return names


def mvtec(path: Path, channels: int, size: int, part: str, category: str = "", fit: Fit = "crop") -> ImageData:
    """Read the MVTec-AD layout: `train/good`, `test/{good,<defect>}`, `ground_truth/<defect>/<stem>_mask.png`.

    Label 0 = good, then defects in alphabetical order. Extras: masks [N, size, size] in {0, 255}. `fit` as in
    `prepare.to_array`.

    Raises
    ------
    ReproodError
        For a wrong layout, and if the centre crop would remove the whole defect of an image, whose label would then be
        wrong.
    """
    if fit not in ("crop", "stretch"):
        raise ReproodError(f"MVTec-AD layout: fit is '{fit}'; expected crop or stretch.")
    prefix = f"{category}/" if category else ""

    def wanted(name: str) -> bool:
        inside = name.split(prefix, 1)[-1] if prefix and prefix in name else name
        return is_image(name) and prefix in name and inside.startswith((f"{part}/", "ground_truth/"))

    images, masks = {}, {}
    for name, data in members(path, wanted):
        inside = name.split(prefix, 1)[-1] if prefix else name
        if inside.count("/") < 2:
            raise ReproodError(f"{path}: {name} is not in a folder of its kind; expected {part}/<kind>/<image>.")
        top, kind, file = inside.split("/", 2)
        picture = decode(data, f"{path}: {name}")
        if top == "ground_truth":
            masks[kind, PurePosixPath(file).stem.removesuffix("_mask")] = picture
        else:
            images[kind, PurePosixPath(file).stem] = picture
    if not images:
        raise ReproodError(f"{path} has no {prefix}{part}/<kind>/<image>; expected the MVTec-AD layout.")
    defects = sorted({kind for kind, _ in images} - {"good"})
    keys = sorted(images, key=lambda key: (key[0] != "good", key))
    pixels = stack((to_array(images[key], channels, size, fit) for key in keys), str(path))
    regions = np.zeros((len(keys), size, size), np.uint8)
    lost = []
    for row, key in enumerate(keys):
        if key[0] == "good":
            continue
        where = f"{prefix}ground_truth/{key[0]}/{key[1]}_mask.png"
        if key not in masks:
            raise ReproodError(f"{path}: {where} is missing.")
        mask = masks[key].convert("L").point(lambda v: 255 if v else 0)
        if mask.size != images[key].size:
            raise ReproodError(f"{path}: the mask of {key[0]}/{key[1]} is {mask.size}, its image {images[key].size}.")
        if mask.getbbox() is None:
            continue  # the publisher labels the image as defective but marks no pixel
        regions[row] = _region(to_array(mask, 1, size, fit)[..., 0])
        if not regions[row].any():
            lost.append(where)
    if lost:
        raise ReproodError(
            f"{path}: the centre crop removes the whole defect of {len(lost)} of {len(keys)} images (the first is "
            f"{lost[0]}); add the option 'fit: stretch' to the data set's splits."
        )
    labels = np.array([0 if kind == "good" else defects.index(kind) + 1 for kind, _ in keys], np.int64)
    return ImageData(pixels, labels, {"masks": regions}, ("good", *defects))


def _region(shrunk: np.ndarray) -> np.ndarray:
    """Binarise a shrunk mask to {0, 255}: pixels covered by more than half, or the most covered ones if none is."""
    region = shrunk > min(127, int(shrunk.max()) - 1) if shrunk.any() else shrunk > 0
    return region * np.uint8(255)


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
                box = _box(fields[-4:])
                if len(fields) < 5 or box is None:
                    raise ReproodError(f"{path}: {name} has the line '{line[:60]}'; expected a name and a box.")
                own = PurePosixPath(name).name.removesuffix("_boxes.txt")
                notes[fields[0]] = (own if part == "train" else fields[1], box)
        elif is_image(name):
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


def _box(values: object) -> list[float] | None:
    """Return four finite numbers, or None if `values` are not that."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    try:
        box = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return box if np.isfinite(box).all() else None


def _bytes_of(image: object, where: str) -> bytes:
    """Return the encoded bytes of a cell."""
    data = image.get("bytes") if isinstance(image, dict) else image
    if data is None:
        raise ReproodError(f"{where} has no image bytes.")
    if not isinstance(data, bytes):
        raise ReproodError(f"{where}: the column 'image' contains {type(data).__name__}; expected encoded bytes.")
    return data


def parquet(path: Path, channels: int, size: int | None) -> ImageData:
    """Read parquet in Hugging Face's layout: `image` struct<bytes, path>, `label` int64, optionally `bbox`.

    A `bbox` is x0, y0, x1, y1 in pixels. Class names, one per line, may be in the schema's metadata under
    `class_names`.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException, types

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        if "image" not in schema.names:
            raise ReproodError(
                f"{path} has the columns {', '.join(schema.names)}; expected 'image' with encoded bytes."
            )
        if "label" in schema.names and not types.is_integer(schema.field("label").type):
            raise ReproodError(f"{path}: 'label' is {schema.field('label').type} and must be whole numbers.")
        if size is not None:
            fits(file.metadata.num_rows * size * size * channels, f"{path}: {file.metadata.num_rows:,} images")
        columns = [name for name in ("image", "label", "bbox") if name in schema.names]
        images, labels, boxes, row = [], [], [], 0
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            for record in batch.to_pylist():
                where = f"{path}: record {row}"
                picture = decode(_bytes_of(record["image"], where), where)
                images.append(to_array(picture, channels, size))
                labels.append(record.get("label", -1))
                if "bbox" in columns:
                    ends = _box(record["bbox"])
                    if ends is None:
                        raise ReproodError(f"{path}: record {row} has no bbox of 4 numbers (x0, y0, x1, y1).")
                    box = np.asarray([ends], np.float32)
                    boxes.append(box[0] if size is None else prepare_boxes(box, picture.height, picture.width, size)[0])
                row += 1
    except (ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise ReproodError(f"{path} is not a readable parquet file ({error}).") from error
    names = text_of((schema.metadata or {}).get(b"class_names", b""), f"{path}: class_names")
    classes = tuple(line for line in names.split("\n") if line)
    given = [-1 if label is None else label for label in labels]
    numbers = whole_numbers(np.array(given), f"{path}: label") if given else np.zeros(0, np.int64)
    if classes and len(numbers) and numbers.max() >= len(classes):
        bad = int(np.argmax(numbers >= len(classes)))
        raise ReproodError(f"{path}: record {bad} has label {numbers[bad]}, but there are {len(classes)} classes.")
    extras = {"boxes": np.stack(boxes)} if boxes else {}
    return ImageData(stack(images, str(path)), numbers, extras, classes)
