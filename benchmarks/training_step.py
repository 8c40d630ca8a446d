"""Images per CPU-second of training itself: the project's `fit` against a loop written the usual way.

The usual way: a DataLoader over PIL images, float32 in the default memory format, the loss read at every step.

Run: python benchmarks/training_step.py [--repeats N] [--json FILE]
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Row, arguments, compare, show
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from training_input import Pictures, pictures

from reprood.engine.device import Precision
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.nets import resnet, wrn
from reprood.nets.classifier import Classifier

CLASSES = 10
Task = tuple[str, dict[str, Callable[[], int]]]


def usual(images: torch.Tensor, backbone: Callable[[], nn.Module], batch: int) -> Callable[[], int]:
    """Run one epoch of the usual training loop."""
    stored = images.permute(0, 2, 3, 1).contiguous().numpy()
    size, channels = stored.shape[1], stored.shape[3]
    transform = transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * channels, [0.25] * channels),
        ]
    )
    batches = DataLoader(Pictures(stored, transform), batch_size=batch, shuffle=True)
    model = Classifier(backbone(), CLASSES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def epoch() -> int:
        total = 0.0
        for content, labels in batches:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(content), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        return len(stored)

    return epoch


def fitted(
    images: torch.Tensor, backbone: Callable[[], nn.Module], batch: int, precision: Precision, channels_last: bool
) -> Callable[[], int]:
    """Run one epoch of `reprood.engine.fit`, with its checkpoint and history."""
    labels = torch.arange(len(images)) % CLASSES
    channels = images.shape[1]
    training_set = ImageSet(images, labels)
    problem = Problem(
        train=training_set,
        validation=training_set,
        auxiliary={},
        classes=CLASSES,
        channels=channels,
        size=images.shape[-1],
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        backbone=backbone,
    )
    training = Training(epochs=1, batch_size=batch, lr=0.01, schedule="constant", nesterov=True, weight_decay=5e-4)
    model = Classifier(backbone(), CLASSES)
    number = itertools.count()

    def epoch() -> int:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(
                name=f"speed/{precision}/{next(number)}",
                root_seed=0,
                state=Path(folder),
                device=torch.device("cpu"),
                precision=precision,
                channels_last=channels_last,
            )
            fit(
                model,
                lambda network, content: functional.cross_entropy(network(content.images), content.labels),
                training_set,
                training,
                run,
                problem=problem,
            )
        return len(images)

    return epoch


def network(title: str, shape: tuple[int, int], build: Callable[[], nn.Module], count: int, batch: int) -> Task:
    size, channels = shape
    images = torch.from_numpy(pictures(count, size, channels)).permute(0, 3, 1, 2).contiguous()
    return title, {
        "DataLoader loop, fp32": usual(images, build, batch),
        "fit, fp32": fitted(images, build, batch, "fp32", channels_last=False),
        "fit, bf16, channels last": fitted(images, build, batch, "bf16", channels_last=True),
    }


def main() -> None:
    options = arguments(__doc__ or "", repeats=3)
    rows: list[Row] = []
    with seeded(0):
        tasks = [
            network(
                "WRN-10-1, stem stride 2, 28 x 28 x 1",
                (28, 1),
                lambda: wrn.build(1, depth=10, width=1, stem_stride=2),
                4096,
                128,
            ),
            network("WRN-16-1, 32 x 32 x 3", (32, 3), lambda: wrn.build(3, depth=16, width=1), 1024, 128),
            network("ResNet-18, 32 x 32 x 3", (32, 3), lambda: resnet.build(3, depth=18), 192, 32),
        ]
        for title, ways in tasks:
            rows += compare(title, ways, options.repeats)
    show(rows, options.json)


if __name__ == "__main__":
    main()
