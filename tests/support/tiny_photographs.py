"""Tiny copies of Pascal VOC and MS-COCO captions in the formats of the originals."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

BOX = (3, 4, 20, 18)  # as VOC counts: from 1, both ends included


def save_jpeg(path: Path, width: int, height: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def voc_object(name: str, box: tuple[float, ...] = BOX, difficult: int = 0) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox>"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
    )


def voc_annotation(*objects: str, width: int = 32, height: int = 24) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def save_voc(folder: Path, count: int = 4, width: int = 32, height: int = 24) -> Path:
    """VOC2007 with `count` images in trainval and as many in test: an image k has a dog and, if k is odd, a car."""
    root = folder / "VOC2007"
    for part, split in enumerate(("trainval", "test")):
        names = [f"{100 * part + number:06d}" for number in range(count)]
        for number, name in enumerate(names):
            save_jpeg(root / "JPEGImages" / f"{name}.jpg", width, height, 100 * part + number)
            objects = [voc_object("dog")] + [voc_object("car", (10, 2, 30, 20), int(number == 1))] * (number % 2)
            (root / "Annotations").mkdir(exist_ok=True)
            text = voc_annotation(*objects, width=width, height=height)
            (root / "Annotations" / f"{name}.xml").write_text(text)
        lists = root / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        (lists / f"dog_{split}.txt").write_text("".join(f"{name}  1\n" for name in names))
    return folder


def coco_record(name: str, count: int, width: int = 32, height: int = 24) -> dict:
    images = [{"id": 7 + n, "file_name": f"{name}_{n}.jpg", "width": width, "height": height} for n in range(count)]
    captions = [("A dog near a red car.", "a dog, and a car"), ("Two cats.", "2 cats on a sofa")]
    rows = [(image, text) for image in range(count) for text in captions[image % 2]]
    annotations = [{"id": n, "image_id": 7 + image, "caption": text} for n, (image, text) in enumerate(rows)]
    return {"images": images, "annotations": annotations}


def save_coco(folder: Path, count: int = 4, width: int = 32, height: int = 24) -> Path:
    """The sets train and val, with `count` images and two captions for each."""
    for part, name in enumerate(("train", "val")):
        for number in range(count):
            save_jpeg(folder / name / f"{name}_{number}.jpg", width, height, 100 * part + number)
        (folder / "annotations").mkdir(exist_ok=True)
        record = json.dumps(coco_record(name, count, width, height))
        (folder / "annotations" / f"captions_{name}.json").write_text(record)
    return folder
