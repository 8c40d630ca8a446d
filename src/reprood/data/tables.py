"""Read tables of encoded images: parquet as Hugging Face writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.bounds import fits, whole_numbers
from reprood.data.formats import text_of
from reprood.data.generators import ImageData
from reprood.data.prepare import eight_bits, opened, orientation, prepare_boxes, stack, to_array
from reprood.data.tally import Tally


def parquet(
    path: Path,
    channels: int,
    size: int | None,
    image: str = "image",
    label: str = "",
    bbox: str = "bbox",
    flat: bool = False,
) -> ImageData:
    """Read parquet in Hugging Face's layout: `image` struct<bytes, path>, `label` int64, optionally `bbox`.

    A bbox is x0, y0, x1, y1 in pixels. Class names are those of the column's ClassLabel, or one per line in the
    schema's metadata under `class_names`.

    Parameters
    ----------
    path : Path
        The file.
    channels, size : int
        Stored format; `size` is needed if images differ in size.
    image, label, bbox : str
        Names of the columns; `label` "": the column `label`, if there is one.
    flat : bool
        Read the images without labels.

    Raises
    ------
    ReproodError
        If it is no such file, or if it is not clear which column holds the labels.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    tally = Tally()
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        label = _label_column(schema, path, image, label, flat)
        if size is not None:
            fits(file.metadata.num_rows * size * size * channels, f"{path}: {file.metadata.num_rows:,} images")
        columns = [name for name in (image, label, bbox) if name in schema.names]
        for name in schema.names:
            if name not in columns:
                tally.add(f"columns of {path.name} are not read", name)
        images, labels, boxes, row = [], [], [], 0
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            for record in batch.to_pylist():
                where = f"{path}: record {row}"
                stored = opened(_bytes_of(record[image], where, image), where)
                if orientation(stored) != 1:
                    tally.add("images have an orientation tag, which is ignored", f"record {row} of {path.name}")
                picture = eight_bits(stored, where)
                images.append(to_array(picture, channels, size))
                labels.append(record[label] if label else -1)
                if bbox in columns:
                    ends = box_of(record[bbox])
                    if ends is None:
                        raise ReproodError(f"{path}: record {row} has no bbox of 4 numbers (x0, y0, x1, y1).")
                    box = np.asarray([ends], np.float32)
                    boxes.append(box[0] if size is None else prepare_boxes(box, picture.height, picture.width, size)[0])
                row += 1
    except (ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise ReproodError(f"{path} is not a readable parquet file ({error}).") from error
    classes = _class_names(schema, label, path)
    numbers = _numbers(labels, label, classes, path, tally)
    extras = {"boxes": np.stack(boxes)} if boxes else {}
    return ImageData(stack(images, str(path)), numbers, extras, classes, tally.notes())


def _label_column(schema: Any, path: Path, image: str, label: str, flat: bool) -> str:
    """Return the name of the column with the labels; "" for none."""
    from pyarrow import types

    listed = ", ".join(schema.names)
    if image not in schema.names:
        raise ReproodError(
            f"{path} has the columns {listed}; expected '{image}' with encoded bytes: name it with the option 'image'."
        )
    if flat:
        return ""
    integers = [name for name in schema.names if types.is_integer(schema.field(name).type)]
    if not label and "label" not in schema.names:
        if integers:
            raise ReproodError(
                f"{path} has no column 'label', and the columns {listed}; name that of the labels with the option "
                f"'label' (for example 'label: {integers[0]}'), or set 'flat: true' for images without labels."
            )
        return ""
    name = label or "label"
    if name not in schema.names:
        raise ReproodError(f"{path} has no column '{name}'; it has: {listed}.")
    if name not in integers:
        raise ReproodError(f"{path}: '{name}' is {schema.field(name).type} and must be whole numbers.")
    return name


def _numbers(labels: list[int | None], label: str, classes: tuple[str, ...], path: Path, tally: Tally) -> np.ndarray:
    """Return the labels as int64 [N], -1 where there is none."""
    missing = [row for row, one in enumerate(labels) if one is None]
    if missing:
        tally.add("images have no label", f"record {missing[0]} of {path.name}", len(missing))
    if not label and labels:
        tally.add("images are read without labels", path.name, len(labels))
    given = [-1 if one is None else one for one in labels]
    numbers = whole_numbers(np.array(given), f"{path}: {label or 'label'}") if given else np.zeros(0, np.int64)
    if classes and len(numbers) and numbers.max() >= len(classes):
        bad = int(np.argmax(numbers >= len(classes)))
        raise ReproodError(f"{path}: record {bad} has label {numbers[bad]}, but there are {len(classes)} classes.")
    return numbers


def _class_names(schema: Any, label: str, path: Path) -> tuple[str, ...]:
    """Return the names of the classes: of the column's ClassLabel, or of the metadata `class_names`."""
    metadata = schema.metadata or {}
    lines = text_of(metadata.get(b"class_names", b""), f"{path}: class_names").split("\n")
    names = tuple(line for line in lines if line)
    if names or not label:
        return names
    try:
        record = json.loads(metadata.get(b"huggingface", b"null"))
        feature = record["info"]["features"][label]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()
    found = feature.get("names") if isinstance(feature, Mapping) else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def box_of(values: object) -> list[float] | None:
    """Return four finite numbers, or None if `values` are not that."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    try:
        box = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return box if np.isfinite(box).all() else None


def _bytes_of(image: object, where: str, column: str) -> bytes:
    """Return the encoded bytes of a cell."""
    data = image.get("bytes") if isinstance(image, dict) else image
    if data is None:
        raise ReproodError(f"{where} has no image bytes.")
    if not isinstance(data, bytes):
        raise ReproodError(f"{where}: the column '{column}' contains {type(data).__name__}; expected encoded bytes.")
    return data
