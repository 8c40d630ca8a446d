"""Images per CPU-second that reach a network: batched augmentation on tensors against a DataLoader over PIL images.

Run: python benchmarks/training_input.py [--repeats N] [--json FILE]
"""

from collections.abc import Callable

import numpy as np
import torch
from measure import Row, arguments, compare, show
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reprood.images.augment import normalise, random_crop, random_flip, to_float
from reprood.methods.csi.simclr import random_resized_crop
from reprood.methods.csi.views import coloured

BATCH = 128


class Pictures(Dataset[tuple[object, int]]):
    """An array of images as torchvision's CIFAR-10 gives them: one PIL image at a time through a transform."""

    def __init__(self, images: np.ndarray, transform: Callable[[Image.Image], object]) -> None:
        self.images = images if images.shape[-1] == 3 else images[..., 0]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.transform(Image.fromarray(self.images[index])), index % 10


class TwoViews:
    """The same random transform, twice."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __call__(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """Return two tensors [C, H, W]."""
        return self.transform(picture), self.transform(picture)


def pictures(count: int, size: int, channels: int) -> np.ndarray:
    """Return `uint8` noise [N, H, W, C]; the content does not change the speed."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def loader(images: np.ndarray, transform: Callable[[Image.Image], object], workers: int) -> Callable[[], int]:
    """Run one epoch of a DataLoader whose workers end with it, so that their time counts."""

    def epoch() -> int:
        seen = 0
        batches = DataLoader(Pictures(images, transform), batch_size=BATCH, shuffle=True, num_workers=workers)
        for content, _ in batches:
            seen += sum(map(len, content)) if isinstance(content, list) else len(content)
        return seen

    return epoch


def batched(
    images: np.ndarray, augment: Callable[[Tensor, torch.Generator], Tensor], batch: int = BATCH
) -> Callable[[], int]:
    """Run one shuffled epoch over `uint8` images in memory as [N, C, H, W]."""
    stored = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)

    def epoch() -> int:
        seen = 0
        for rows in torch.randperm(len(stored), generator=generator).split(batch):  # type: ignore[no-untyped-call]
            seen += len(augment(stored.index_select(0, rows), generator))
        return seen

    return epoch


def crop_and_flip(count: int, size: int, channels: int, repeats: int) -> list[Row]:
    images = pictures(count, size, channels)
    mean, std = [0.49, 0.48, 0.45][:channels], [0.25, 0.24, 0.26][:channels]
    usual = transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )

    def ours(batch: Tensor, generator: torch.Generator) -> Tensor:
        return normalise(random_flip(random_crop(batch, 4, generator), generator), mean, std)

    return compare(
        f"crop + flip, {size} x {size} x {channels}",
        {
            "PIL DataLoader, 0 workers": loader(images, usual, 0),
            "PIL DataLoader, 1 worker": loader(images, usual, 1),
            "reprood, batched": batched(images, ours),
        },
        repeats,
    )


def two_views(count: int, size: int, repeats: int) -> list[Row]:
    """Measure two views; both count as images, and both sides normalise inside the network, as CSI does."""
    images = pictures(count, size, 3)
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
    usual = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([jitter], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
        ]
    )

    def ours(batch: Tensor, generator: torch.Generator) -> Tensor:
        views = coloured(to_float(batch).repeat(2, 1, 1, 1), generator)
        return random_resized_crop(views, generator, flip=0.5)

    return compare(
        f"SimCLR, two views, {size} x {size} x 3",
        {
            "PIL DataLoader, 0 workers": loader(images, TwoViews(usual), 0),
            "PIL DataLoader, 1 worker": loader(images, TwoViews(usual), 1),
            "reprood, batched": batched(images, ours),
        },
        repeats,
    )


def main() -> None:
    options = arguments(__doc__ or "", repeats=5)
    rows = crop_and_flip(4096, 32, 3, options.repeats)
    rows += crop_and_flip(4096, 28, 1, options.repeats)
    rows += two_views(1024, 32, options.repeats)
    show(rows, options.json)


if __name__ == "__main__":
    main()
