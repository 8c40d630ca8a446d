"""Images per CPU-second through RandAugment: whole batches of tensors against Pillow, one image at a time.

Run: python benchmarks/randaugment.py [--repeats N] [--json FILE]
"""

import random
from collections.abc import Callable

import numpy as np
import torch
from measure import Row, arguments, compare, show
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from PIL.Image import Image as Picture

from reprood.images.randaugment import HOOD_TABLE, RESMOOTH_TABLE, Table, randaugment

BATCH = 256


def affine(picture: Picture, *matrix: float) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


def solarize_add(picture: Picture, value: float) -> Picture:
    raised = np.clip(np.asarray(picture).astype(int) + value, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(raised), 128)


def cutout(picture: Picture, value: float) -> Picture:
    width, height = picture.size
    left = int(max(0, random.uniform(width, 1) - value / 2))
    top = int(max(0, random.uniform(height, 1) - value / 2))
    picture = picture.copy()
    colour = (125, 123, 114) if picture.mode == "RGB" else 123
    ImageDraw.Draw(picture).rectangle((left, top, min(width, left + value), min(height, top + value)), colour)
    return picture


PILLOW: dict[str, Callable[[Picture, float], Picture]] = {
    "Identity": lambda picture, v: picture,
    "ShearX": lambda picture, v: affine(picture, 1, v, 0, 0, 1, 0),
    "ShearY": lambda picture, v: affine(picture, 1, 0, 0, v, 1, 0),
    "TranslateX": lambda picture, v: affine(picture, 1, 0, v * picture.size[0], 0, 1, 0),
    "TranslateY": lambda picture, v: affine(picture, 1, 0, 0, 0, 1, v * picture.size[1]),
    "TranslateXabs": lambda picture, v: affine(picture, 1, 0, v, 0, 1, 0),
    "TranslateYabs": lambda picture, v: affine(picture, 1, 0, 0, 0, 1, v),
    "Rotate": lambda picture, v: picture.rotate(v),
    "AutoContrast": lambda picture, v: ImageOps.autocontrast(picture),
    "Invert": lambda picture, v: ImageOps.invert(picture),
    "Equalize": lambda picture, v: ImageOps.equalize(picture),
    "Solarize": lambda picture, v: ImageOps.solarize(picture, int(v)),
    "SolarizeAdd": solarize_add,
    "Posterize": lambda picture, v: ImageOps.posterize(picture, max(1, int(v))),
    "Color": lambda picture, v: ImageEnhance.Color(picture).enhance(v),
    "Contrast": lambda picture, v: ImageEnhance.Contrast(picture).enhance(v),
    "Brightness": lambda picture, v: ImageEnhance.Brightness(picture).enhance(v),
    "Sharpness": lambda picture, v: ImageEnhance.Sharpness(picture).enhance(v),
    "CutoutAbs": cutout,
}


def one_by_one(images: np.ndarray, table: Table, n: int, m: float) -> Callable[[], int]:
    """Convert an array to a picture, apply `n` operations and convert back, without a loader, in one process."""
    grey = images.shape[-1] == 1

    def epoch() -> int:
        for image in images:
            picture = Image.fromarray(image[..., 0] if grey else image)
            for operation in random.choices(table.operations, k=n):
                value = table.strength(operation.name, m)
                sign = -1 if operation.signed and random.random() < 0.5 else 1
                picture = PILLOW[operation.name](picture, sign * value)
            torch.from_numpy(np.array(picture))
        return len(images)

    return epoch


def batched(images: np.ndarray, table: Table, n: int, m: float) -> Callable[[], int]:
    """Augment batches of `uint8` tensors [B, C, H, W]."""
    stored = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)

    def epoch() -> int:
        for batch in torch.split(stored, BATCH):
            randaugment(batch, table, n, m, generator)
        return len(stored)

    return epoch


def task(name: str, table: Table, n: int, m: float, size: int, channels: int, repeats: int) -> list[Row]:
    source = np.random.default_rng(0)
    images = source.integers(0, 256, (2048, size, size, channels), dtype=np.uint8)
    ways = {"Pillow": one_by_one(images, table, n, m), "reprood, batched": batched(images, table, n, m)}
    return compare(f"{name}, N = {n}, M = {m:g}, {size} x {size} x {channels}", ways, repeats)


def main() -> None:
    options = arguments(__doc__ or "", repeats=5)
    random.seed(0)
    rows = task("ReSmooth", RESMOOTH_TABLE, 2, 28, 32, 3, options.repeats)
    rows += task("ReSmooth", RESMOOTH_TABLE, 2, 28, 28, 1, options.repeats)
    rows += task("HOOD", HOOD_TABLE, 4, 10, 32, 3, options.repeats)
    show(rows, options.json)


if __name__ == "__main__":
    main()
