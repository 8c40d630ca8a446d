"""Read the captions of MS-COCO: captions_<set>.json and a folder of images.

X. Chen et al.: Microsoft COCO Captions: Data Collection and Evaluation Server, arXiv 1504.00325.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.data.photographs import CaptionedImages, read_photograph


class Coco(BaseModel):
    """MS-COCO in folders of the user.

    Attributes
    ----------
    folder : str
        The folder with `annotations` and the folders of images.
    train, test : str
        Names of the sets: `annotations/captions_<name>.json` and the folder `<name>`.
    limit : int or None
        Use only the first images of either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = "data/coco"
    train: str = "train2014"
    test: str = "val2014"
    limit: int | None = Field(default=None, ge=1)

    def described_by(self) -> list[str]:
        """Return the files of captions of either set, relative to the folder."""
        return [f"annotations/captions_{name}.json" for name in (self.train, self.test)]

    def images(self) -> list[str]:
        """Return the folders of images of either set, relative to the folder."""
        return [self.train, self.test]


def read_coco_captions(annotations: Path, images: Path, channels: int = 3, limit: int | None = None) -> CaptionedImages:
    """Read the captions of a set, in the order of its images; images are read when they are used.

    Parameters
    ----------
    annotations : Path
        The file `captions_<set>.json`: "images" with id and file_name, "annotations" with image_id and caption.
    images : Path
        Folder of the image files.
    channels : {1, 3}
        Grey or colour.
    limit : int or None
        Read only the first images.

    Raises
    ------
    ReproodError
        If a file is missing, the JSON is not in COCO's form, or a caption belongs to no image.
    """
    record = _record(annotations)
    names: dict[int, tuple[str, int, int]] = {}
    for number, row in enumerate(_rows(record, "images", annotations)):
        name = _field(row, "file_name", str, f"{annotations}: image {number}")
        if Path(name).name != name or not name:
            raise ReproodError(f"{annotations}: image {number} has the file name {name[:60]!r}; expected a plain name.")
        size = (int(row.get("width") or 0), int(row.get("height") or 0))
        names[_field(row, "id", int, f"{annotations}: image {number}")] = (name, *size)
    captions: dict[int, list[str]] = {}
    for number, row in enumerate(_rows(record, "annotations", annotations)):
        where = f"{annotations}: annotation {number}"
        image, caption = _field(row, "image_id", int, where), _field(row, "caption", str, where)
        if image not in names:
            raise ReproodError(f"{where} belongs to the image {image}, which the file does not list; restore the file.")
        if not caption.strip():
            raise ReproodError(f"{where} has an empty caption; restore the file from the archive.")
        captions.setdefault(image, []).append(caption.strip())
    left_out = len(names) - len(captions)
    chosen = [image for image in names if image in captions][:limit]
    if not chosen:
        raise ReproodError(f"{annotations} holds no image with a caption; give it the file captions_<set>.json.")
    paths = [images / names[image][0] for image in chosen]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ReproodError(
            f"{absent[0]} does not exist, and neither do {len(absent) - 1} further images of {annotations.name}; "
            "unpack the images there, or set the study's folders."
        )

    def read(row: int) -> np.ndarray:
        _, width, height = names[chosen[row]]
        return read_photograph(paths[row], channels, width=width, height=height)

    notes = [f"{annotations.name}: SHA-256 {sha256_file(annotations)}."]
    notes += [f"{left_out} images of {annotations.name} have no caption and are left out."] * bool(left_out)
    return CaptionedImages(read, [tuple(captions[image]) for image in chosen], tuple(notes))


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise ReproodError(
            f"{path} cannot be read ({error.strerror}); unpack the annotations of MS-COCO there, or set the study's "
            "folders."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReproodError(f"{path} is not valid JSON ({error}); restore the file from the archive.") from error
    if not isinstance(record, dict):
        raise ReproodError(f"{path} holds no object; expected one with 'images' and 'annotations'.")
    return record


def _rows(record: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = record.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ReproodError(f"{path} has no list '{key}'; expected the file captions_<set>.json of MS-COCO.")
    return rows


def _field(row: dict[str, Any], key: str, kind: type[Any], where: str) -> Any:
    value = row.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ReproodError(f"{where}: {key} is {str(value)[:40]!r}; expected {kind.__name__}. Restore the file.")
    return value
