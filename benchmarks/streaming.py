"""Streamed training images: images per second next to torchvision's reference loader, and memory while a set streams.

Run: python benchmarks/streaming.py [--repeats N] [--workers N] [--images N] [--gigabytes G] [--json FILE]

Both loaders read the same folder of JPEG files of ImageNet's usual size (500 x 375, about 110 kB) with the same number
of processes, and give normalised float32 batches. The reference is that of torchvision's references/classification:
`ImageFolder`, the transforms of `presets.py` (random resized crop, flip, conversion, normalisation, per image) and a
`DataLoader`. Ours normalises whole batches in the training process, whose time counts.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from measure import cpu_seconds, machine, options_of, parser_of
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import InterpolationMode

from reprood.data.image_index import ImageIndex
from reprood.data.index_reader import read_index
from reprood.engine.streaming import IMAGENET_MEAN, IMAGENET_STD, Epoch, Pictures, load
from reprood.images.augment import normalise

SIZE, BATCH, CLASSES = 224, 64, 10
DIFFERENT = 64  # pictures that are drawn; the files of a large set repeat them
REFERENCE, OURS = "torchvision's reference loader", "reprood, streamed"


@dataclass(frozen=True)
class Speed:
    """One loader: median images per second and per CPU-second of all processes, and how many times the reference."""

    loader: str
    per_second: float
    ratio: float
    per_cpu_second: float
    cpu_ratio: float


@dataclass(frozen=True)
class Memory:
    """Memory while a set streams once, in MB: of all processes, shared pages counted once (proportional set size).

    Attributes
    ----------
    gigabytes, images : float, int
        Size of the set.
    before : float
        Before the first image.
    quarters : tuple of float
        Largest value in each quarter of the images.
    """

    gigabytes: float
    images: int
    before: float
    quarters: tuple[float, ...]


def draw(seed: int) -> bytes:
    """Return a JPEG file of 500 x 375 pixels and about 110 kB: blurred noise with finer noise on it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(6))
    pixels = 3.5 * (np.asarray(coarse, np.float32) - 127) + 127 + rng.normal(0, 17, (375, 500, 3))
    path = Path(tempfile.gettempdir()) / f"streaming-{os.getpid()}-{seed}.jpg"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)
    data = path.read_bytes()
    path.unlink()
    return data


def write_set(folder: Path, images: int) -> int:
    """Write a folder of class folders with `images` files; return their size in bytes."""
    drawn = [draw(seed) for seed in range(min(DIFFERENT, images))]
    for number in range(images):
        path = folder / f"n{number % CLASSES:08d}" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % len(drawn)])
    return sum(len(drawn[number % len(drawn)]) for number in range(images))


def reference(folder: Path, workers: int, turn: int) -> Iterator[torch.Tensor]:
    """Yield one epoch of torchvision's reference loader."""
    steps = [
        transforms.RandomResizedCrop(SIZE, interpolation=InterpolationMode.BILINEAR, antialias=True),
        transforms.RandomHorizontalFlip(0.5),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    ]
    data = ImageFolder(str(folder), transforms.Compose(steps))
    torch.manual_seed(turn)
    sampler = torch.utils.data.RandomSampler(data)
    for images, _ in DataLoader(data, batch_size=BATCH, sampler=sampler, num_workers=workers):
        yield images


def ours(index: ImageIndex, workers: int, turn: int) -> Iterator[torch.Tensor]:
    """Yield one epoch of the streamed loader."""
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(turn))
    epoch = Epoch(order, BATCH, 0, -(-len(index) // BATCH), ("benchmark", turn))
    for images in load(Pictures(index, SIZE), epoch, workers):
        yield normalise(images, IMAGENET_MEAN, IMAGENET_STD)


def read(folder: Path) -> ImageIndex:
    return read_index({"train": folder}, {}, (), "benchmark")


def speed(folder: Path, workers: int, repeats: int) -> list[Speed]:
    """Run one epoch of each loader in turn, `repeats` times after one warm-up."""
    index = read(folder)
    ways: dict[str, Callable[[int], Iterator[torch.Tensor]]] = {
        REFERENCE: lambda turn: reference(folder, workers, turn),
        OURS: lambda turn: ours(index, workers, turn),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started, spent = time.perf_counter(), cpu_seconds()
            seen = sum(len(images) for images in way(turn))
            assert seen == len(index)
            rates = seen / (time.perf_counter() - started), seen / (cpu_seconds() - spent)
            found[name] += [rates] if turn else []
    rows = []
    for name, values in found.items():
        pairs = list(zip(values, found[REFERENCE], strict=True))
        rows.append(
            Speed(
                loader=name,
                per_second=statistics.median(wall for wall, _ in values),
                ratio=statistics.median(own[0] / base[0] for own, base in pairs),
                per_cpu_second=statistics.median(cpu for _, cpu in values),
                cpu_ratio=statistics.median(own[1] / base[1] for own, base in pairs),
            )
        )
    return rows


def proportional_megabytes() -> float:
    """Return the memory of this process and its children, shared pages divided among those that use them."""
    processes = [os.getpid()]
    for process in processes:
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def memory(folder: Path, size: int, workers: int) -> Memory:
    """Stream a set once; sample the memory four times a second."""
    index = read(folder)
    before, quarters, done, ended = proportional_megabytes(), [0.0] * 4, [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            quarter = min(4 * done[0] // len(index), 3)
            quarters[quarter] = max(quarters[quarter], proportional_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for batch in ours(index, workers, 0):
        done[0] += len(batch)
    ended.set()
    watcher.join()
    return Memory(size / 1e9, len(index), before, tuple(quarters))


def bound(workers: int) -> float:
    """Return the MB that the loader may add to those of the process: two batches per worker, the one in the step.

    A batch is held as bytes by its worker until it is taken, and as float32 in the training process. Each worker has
    100 MB of its own: images that are being decoded, and pages of the training process that it has changed.
    """
    batch = BATCH * 3 * SIZE**2 / 2**20
    return workers * (2 * batch + 100) + 6 * batch


def show(speeds: list[Speed], memories: list[Memory], options: argparse.Namespace) -> None:
    """Print the tables; write them as JSON if that is asked for."""
    print(f"\n{machine()}, {options.workers} workers, batches of {BATCH}\n")
    print("| loader | images per second | ratio | images per CPU-second | ratio |\n|---|---:|---:|---:|---:|")
    for row in speeds:
        cpu = f"{row.per_cpu_second:,.0f} | {row.cpu_ratio:.2f}"
        print(f"| {row.loader} | {row.per_second:,.0f} | {row.ratio:.2f} | {cpu} |")
    print("\n| set, GB | images | before, MB | added in each quarter, MB | bound, MB |\n|---:|---:|---:|---:|---:|")
    for one in memories:
        added = ", ".join(f"{value - one.before:,.0f}" for value in one.quarters)
        limit = f"{bound(options.workers):,.0f}"
        print(f"| {one.gigabytes:.2f} | {one.images:,} | {one.before:,.0f} | {added} | {limit} |")
    if options.json is not None:
        content = {"machine": machine(), "workers": options.workers, "speed": [asdict(row) for row in speeds]}
        content["memory"] = [asdict(row) for row in memories]
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=5)
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (default 2)")
    parser.add_argument("--images", type=int, default=1024, help="images of the set for the speed (default 1024)")
    parser.add_argument("--gigabytes", type=float, default=0.1, help="size of the set for the memory (default 0.1)")
    parser.add_argument("--folder", type=Path, help="where the sets are written (default: the folder for such files)")
    options = options_of(parser)
    root = Path(tempfile.mkdtemp(prefix="streaming-", dir=options.folder))
    try:
        write_set(root / "small", options.images)
        speeds = speed(root / "small", options.workers, options.repeats)
        each = write_set(root / "one", DIFFERENT) / DIFFERENT
        size = write_set(root / "large", round(options.gigabytes * 1e9 / each))
        show(speeds, [memory(root / "large", size, options.workers)], options)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
