"""A small ImageNet: drawn letters as JPEG files of varying shape in the published layouts, with boxes in XML."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from reprood.data.entries import DatasetEntry
from reprood.data.generators import ImageData, objects_on_canvas

WNIDS = ("n01440764", "n01443537", "n01484850")
XML = (
    "<annotation><size><width>{width}</width><height>{height}</height></size><object><name>{wnid}</name><bndbox>"
    "<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object></annotation>"
)


@cache
def _drawings(count: int, size: int, seed: int) -> ImageData:
    letters = 26 * -(-count // len(WNIDS))  # one row in 26 is of a letter
    return objects_on_canvas(np.random.default_rng(seed), letters, size, 3)


def write_images(folder: Path, count: int, size: int = 40, seed: int = 0, flat: bool = False) -> dict[str, str]:
    """Write `count` images to `<wnid>/<wnid>_<number>.JPEG`, or to one folder, and their boxes to `<folder>_boxes`.

    Return the WordNet id of each name. The canvas is cut on the right by up to a quarter where there is no letter.
    """
    drawn = _drawings(count, size, seed)
    rows = np.flatnonzero(drawn.labels < len(WNIDS))[:count]
    found: dict[str, str] = {}
    for number, row in enumerate(rows.tolist()):
        wnid, box = WNIDS[drawn.labels[row]], drawn.extras["boxes"][row]
        width = max(int(box[2]), size - number % (size // 4))
        stem = f"ILSVRC2012_val_{number + 1:08d}" if flat else f"{wnid}_{number}"
        name = f"{stem}.JPEG" if flat else f"{wnid}/{stem}.JPEG"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[row][:, :width]).save(path, format="JPEG", quality=90)
        note = (folder.parent / f"{folder.name}_boxes" / name).with_suffix(".xml")
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(XML.format(width=width, height=size, wnid=wnid, box=box.astype(int).tolist()))
        found[name] = wnid
    assert len(found) == count
    assert len(set(found.values())) == len(WNIDS)
    return found


def entry(root: Path, **splits: dict) -> DatasetEntry:
    """Return a catalogue entry whose files are the folders and files in `root`."""
    files = {path.name: {"path": str(path)} for path in root.iterdir()}
    return DatasetEntry.model_validate({"title": "Tiny", "licence": "none", "files": files, "splits": splits})
