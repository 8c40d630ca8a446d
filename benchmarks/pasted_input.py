"""Images per CPU-second of CutMix and CutPaste: batched on tensors against the papers' way, image by image with PIL.

CutMix: the authors' loop takes a batch from a PIL DataLoader (crop, flip) and exchanges one box; every batch is mixed
here. CutPaste, 3-way: the usual re-implementation jitters each PIL image, cuts, jitters, turns and pastes its patches,
and normalises the three views; all three are counted.

Run: python benchmarks/pasted_input.py [--repeats N] [--json FILE]
"""

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from measure import Row, arguments, compare, show
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from training_input import BATCH, Pictures, batched, pictures

from reprood.images.augment import normalise, random_crop, random_flip
from reprood.methods.cutmix import cutmix_batch, draw_centre, draw_lambda, rand_box
from reprood.methods.cutpaste.jitter import random_jitter
from reprood.methods.cutpaste.paste import random_cutpaste, random_scar

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]


def usual_cutmix(images: np.ndarray) -> Callable[[], int]:
    """Run the training loop of the authors' release up to the network: lambda from NumPy, boxes exchanged in place."""
    size = images.shape[1]
    transform = transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def epoch() -> int:
        seen = 0
        generator = np.random.default_rng(0)
        for content, _ in DataLoader(Pictures(images, transform), batch_size=BATCH, shuffle=True):
            side = int(size * math.sqrt(1 - generator.beta(1, 1)))
            row, column = generator.integers(size), generator.integers(size)
            rows = slice(max(row - side // 2, 0), min(row + side // 2, size))
            columns = slice(max(column - side // 2, 0), min(column + side // 2, size))
            partner = torch.randperm(len(content))
            content[:, :, rows, columns] = content[partner, :, rows, columns]
            seen += len(content)
        return seen

    return epoch


def our_cutmix(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, flip, normalise and exchange boxes."""
    images = normalise(random_flip(random_crop(batch, 4, generator), generator), MEAN, STD)
    size = (images.shape[2], images.shape[3])
    box, _ = rand_box(size, draw_lambda(1.0, generator), draw_centre(size, generator))
    return cutmix_batch(images, box, torch.randperm(len(images), generator=generator))


class ThreeViews:
    """A normal image, one with a pasted patch, one with a scar."""

    def __init__(self, width: tuple[float, float], height: tuple[float, float]) -> None:
        self.width, self.height = width, height
        self.jitter = transforms.ColorJitter(0.1, 0.1, 0.1, 0.1)
        self.finish = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
        self.draw = random.Random(0)

    def __call__(self, picture: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        """Return three tensors [C, H, W]."""
        jittered = self.jitter(picture)
        return self.finish(jittered), self.finish(self._patched(jittered)), self.finish(self._scarred(jittered))

    def _cut(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        left = int(self.draw.uniform(0, picture.width - width))
        top = int(self.draw.uniform(0, picture.height - height))
        patch: Image.Image = self.jitter(picture.crop((left, top, left + width, top + height)))
        return patch

    def _patched(self, picture: Image.Image) -> Image.Image:
        area = self.draw.uniform(0.02, 0.15) * picture.width * picture.height
        aspect = math.exp(self.draw.uniform(math.log(0.3), math.log(1 / 0.3)))
        width, height = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        patch = self._cut(picture, width, height)
        left, top = (
            int(self.draw.uniform(0, picture.width - width)),
            int(self.draw.uniform(0, picture.height - height)),
        )
        pasted = picture.copy()
        pasted.paste(patch, (left, top))
        return pasted

    def _scarred(self, picture: Image.Image) -> Image.Image:
        width, height = round(self.draw.uniform(*self.width)), round(self.draw.uniform(*self.height))
        patch = self._cut(picture, width, height).convert("RGBA").rotate(self.draw.uniform(-45, 45), expand=True)
        left = int(self.draw.uniform(0, picture.width - patch.width))
        top = int(self.draw.uniform(0, picture.height - patch.height))
        pasted = picture.copy()
        pasted.paste(patch, (left, top), patch.split()[-1])
        return pasted


def usual_cutpaste(images: np.ndarray, views: ThreeViews) -> Callable[[], int]:
    """Run one epoch of a DataLoader with 32 images per batch, as in the paper."""

    def epoch() -> int:
        seen = 0
        for content, _ in DataLoader(Pictures(images, views), batch_size=32, shuffle=True):
            seen += len(torch.cat(content))
        return seen

    return epoch


def our_cutpaste(
    width: tuple[float, float], height: tuple[float, float]
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Compute the three views of a batch of `uint8` images."""

    def views(batch: Tensor, generator: torch.Generator) -> Tensor:
        jittered = random_jitter(batch, generator, 0.1)
        pasted = random_cutpaste(jittered, generator)
        scarred = random_scar(jittered, generator, width, height)
        return normalise(torch.cat([jittered, pasted, scarred]), MEAN, STD)

    return views


def cutmix(count: int, size: int, repeats: int) -> list[Row]:
    images = pictures(count, size, 3)
    ways = {
        "PIL DataLoader, box exchanged in place": usual_cutmix(images),
        "reprood, batched": batched(images, our_cutmix),
    }
    return compare(f"CutMix, {size} x {size} x 3", ways, repeats)


def cutpaste(count: int, size: int, scar: tuple[tuple[float, float], tuple[float, float]], repeats: int) -> list[Row]:
    images = pictures(count, size, 3)
    ways = {
        "PIL DataLoader, image by image": usual_cutpaste(images, ThreeViews(*scar)),
        "reprood, batched": batched(images, our_cutpaste(*scar), 32),
    }
    return compare(f"CutPaste, three views, {size} x {size} x 3", ways, repeats)


def main() -> None:
    options = arguments(__doc__ or "", repeats=5)
    rows = cutmix(2048, 32, options.repeats)
    rows += cutpaste(192, 64, ((2, 5), (8, 20)), options.repeats)
    rows += cutpaste(96, 256, ((2, 16), (10, 25)), options.repeats)
    show(rows, options.json)


if __name__ == "__main__":
    main()
