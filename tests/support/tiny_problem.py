"""Small random problems, networks and runs for tests of training."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from reprood.data.arrays import save_split
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run


class Net(nn.Module):
    """Convolution, batch norm, ReLU, dropout, mean: features [B, 8]."""

    width = 8

    def __init__(self, channels: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dropout(torch.relu(self.norm(self.conv(images)))).mean((2, 3))


def arrays(count: int, size: int, channels: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images whose brightness depends on the class, uint8 [N, H, W, C], and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    images = rng.normal(60 + 120 * labels[:, None, None, None] / classes, 40, (count, size, size, channels))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def image_set(count: int, size: int = 8, channels: int = 1, classes: int = 3, seed: int = 0) -> ImageSet:
    images, labels = arrays(count, size, channels, classes, seed)
    return ImageSet(torch.from_numpy(np.moveaxis(images, 3, 1).copy()), torch.from_numpy(labels))


def problem(
    count: int = 50, size: int = 8, channels: int = 1, classes: int = 3, dropout: float = 0.0, device: str = "cpu"
) -> Problem:
    def part(n: int, seed: int) -> ImageSet:
        made = image_set(n, size, channels, classes, seed)
        return ImageSet(made.images.to(device), made.labels.to(device))

    validation, test = part(20, 1), part(30, 2)
    return Problem(
        train=part(count, 0),
        validation=validation,
        auxiliary={},
        classes=classes,
        channels=channels,
        size=size,
        mean=(0.4,) * channels,
        std=(0.2,) * channels,
        backbone=lambda: Net(channels, dropout),
        monitor={"validation": validation, "test": test},
    )


def run(state: Path, **changes: object) -> Run:
    values = {
        "name": "bench/method/0",
        "root_seed": 7,
        "state": state,
        "device": torch.device("cpu"),
        "precision": "fp32",
        "checkpoint_seconds": 1e9,
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type]


def save_benchmark(root: Path, count: int = 96, size: int = 16, classes: int = 3) -> Path:
    """Folders train, validation and test as the data stage writes them."""
    for seed, (split, n) in enumerate({"train": count, "validation": 24, "test": 30}.items()):
        images, labels = arrays(n, size, 1, classes, seed)
        names = [f"class {i}" for i in range(classes)]
        save_split(root / split, images, labels, {}, {"name": split, "split": split, "classes": names})
    return root


def settings(use: str = "erm", **training: object) -> dict[str, object]:
    """The record of a training job on `save_benchmark`."""
    return {
        "benchmark": "bench",
        "method": "arm",
        "seed": 0,
        "suite_seed": 0,
        "use": use,
        "settings": {"training": {"epochs": 2, "batch_size": 16, "lr": 0.05, "crop_padding": 2, **training}},
        "backbone": {"name": "wrn", "depth": 10, "width": 0.25, "stem_stride": 2},
        "precision": "fp32",
    }
