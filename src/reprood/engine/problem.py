"""A benchmark as a method receives it: images on the device, classes, normalisation, a network to build."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split, load_split


@dataclass(frozen=True)
class ImageSet:
    """Images and labels on one device.

    Attributes
    ----------
    images : Tensor [N, C, H, W]
        uint8 as stored (0..255), or float32 once normalised.
    labels : int64 Tensor [N]
        Class numbers; -1 = none.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Problem:
    """The data and the network of one training.

    Attributes
    ----------
    train, validation : ImageSet
        uint8. Only these (and `auxiliary`) may influence a model or its settings.
    auxiliary : dict of ImageSet
        Unlabelled or outlier data that the benchmark allows in training.
    classes, channels, size : int
        Number of classes, image channels, image side in pixels.
    mean, std : tuple of float
        Per channel, of ID train, in units of [0, 1] images.
    backbone : callable
        Builds an untrained network; call it inside `reprood.engine.seeds.seeded`.
    monitor : dict of ImageSet
        Sets whose error the history records. It includes the test set only so that the papers' best-epoch numbers can
        be shown; no choice is ever based on it.
    trusted : bool Tensor [N] or None
        Training rows whose label is known to be correct, in benchmarks with label noise that have such rows.
    """

    train: ImageSet
    validation: ImageSet
    auxiliary: dict[str, ImageSet]
    classes: int
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backbone: Callable[[], nn.Module]
    monitor: dict[str, ImageSet] = field(default_factory=dict)
    trusted: Tensor | None = None


def image_set(split: Split, device: torch.device) -> ImageSet:
    """Return a stored split [N, H, W, C] on the device as uint8 [N, C, H, W]."""
    images = torch.from_numpy(np.array(np.moveaxis(split.images, 3, 1), order="C"))
    labels = torch.from_numpy(np.array(split.labels, dtype=np.int64))
    return ImageSet(images.to(device), labels.to(device))


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of uint8 images [N, H, W, C], in units of [0, 1].

    Computed from exact counts of the 256 values, so that the result does not depend on the order of a sum.

    Raises
    ------
    ReproodError
        When a channel is constant and so cannot be normalised.
    """
    values = np.arange(256, dtype=np.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[3]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        mean = float(share @ values)
        deviation = float(np.sqrt(share @ (values - mean) ** 2))
        if deviation == 0:
            raise ReproodError(
                f"Channel {channel} of the training images is constant ({mean:.3f}); check the benchmark's data."
            )
        means.append(mean)
        deviations.append(deviation)
    return tuple(means), tuple(deviations)


def load_problem(
    folders: Mapping[str, Path],
    backbone: Callable[[int], nn.Module],
    device: torch.device,
    *,
    auxiliary: tuple[str, ...] = (),
) -> Problem:
    """Load a benchmark's splits to the device.

    Parameters
    ----------
    folders : mapping
        Folders of "train", "validation", "test" and every name in `auxiliary`.
    backbone : callable
        Number of channels -> untrained network.
    device : torch.device
        Where to put the images.
    auxiliary : tuple of str
        Names of the auxiliary sets.

    Raises
    ------
    ReproodError
        When a split is missing or empty, when shapes differ between splits, or labels are not 0..classes - 1.
    """
    splits = {name: load_split(folders[name]) for name in ("train", "validation", "test", *auxiliary)}
    train = splits["train"]
    for split in splits.values():
        shape = split.images.shape
        if len(split.images) == 0:
            raise ReproodError(f"{split.folder} holds no images; prepare the benchmark again.")
        if len(shape) != 4 or split.images.dtype != np.uint8 or shape[1] != shape[2]:
            raise ReproodError(
                f"{split.folder}/images.npy has shape {shape} and type {split.images.dtype}; expected square uint8 "
                "images [N, H, W, C]."
            )
        if shape[1:] != train.images.shape[1:]:
            raise ReproodError(
                f"{split.folder} has images of shape {shape[1:]}, the training images have {train.images.shape[1:]}; "
                "prepare all splits in the same way."
            )
    names = train.meta.get("classes") or []
    classes = len(names) or int(train.labels.max()) + 1
    for name in ("train", "validation", "test"):
        labels = splits[name].labels
        if labels.min() < 0 or labels.max() >= classes:
            raise ReproodError(
                f"{splits[name].folder} has labels from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}."
            )
    mean, std = channel_statistics(train.images)
    channels, size = train.images.shape[3], train.images.shape[1]
    sets = {name: image_set(split, device) for name, split in splits.items()}
    return Problem(
        train=sets["train"],
        validation=sets["validation"],
        auxiliary={name: sets[name] for name in auxiliary},
        classes=classes,
        channels=channels,
        size=size,
        mean=mean,
        std=std,
        backbone=lambda: backbone(channels),
        monitor={"validation": sets["validation"], "test": sets["test"]},
        trusted=_trusted(train, device),
    )


def _trusted(train: Split, device: torch.device) -> Tensor | None:
    marks = train.extras.get("trusted")
    return None if marks is None or not marks.any() else torch.from_numpy(np.array(marks) > 0).to(device)
