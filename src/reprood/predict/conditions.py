"""Evaluate a trained model on changed copies of the test set: corrupted, attacked, occluded, mixed in pairs.

Every copy is evaluated in evaluation mode and fp32. Logits are stored per image, so that errors under a condition can
be resampled image by image like any other.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprood.attacks.options import Attack
from reprood.attacks.table import run_attack
from reprood.config.perturbations import Between, Corruptions, Occlusion
from reprood.core.errors import ReproodError
from reprood.core.seeds import hashed_seed
from reprood.data.arrays import Split
from reprood.images.augment import normalise
from reprood.predict.between import between, partners
from reprood.predict.occlude import occlude

Counter = Callable[[int, str], None]


def _pixels(split: Split, rows: slice | np.ndarray, device: torch.device) -> Tensor:
    """Return images as uint8 [B, C, H, W] on the device."""
    part = np.array(np.moveaxis(split.images[rows], 3, 1), order="C")
    return torch.from_numpy(part).to(device)


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


class ConditionRunner:
    """A model that takes images in [0, 1], batch by batch.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    meta : mapping
        `mean` and `std` of the ID normalisation, in units of [0, 1].
    device : torch.device
    batch_size : int
    count : callable
        Called with the number of images that are done and the name of their condition.
    """

    def __init__(
        self, model: nn.Module, meta: Mapping[str, Any], device: torch.device, batch_size: int, count: Counter
    ) -> None:
        self.model, self.device, self.batch_size, self.count = model, device, batch_size, count
        shape = (1, -1, 1, 1)
        self.mean = torch.tensor(meta["mean"], device=device).view(shape)
        self.std = torch.tensor(meta["std"], device=device).view(shape)
        self.meta = meta

    def classify(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of images in [0, 1]."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.model(normalised)
        return logits

    @torch.no_grad()
    def stored(self, split: Split, rows: slice, name: str) -> Tensor:
        """Return logits of stored images."""
        logits = []
        for part in _slices(rows.stop - rows.start, self.batch_size):
            chosen = slice(rows.start + part.start, rows.start + part.stop)
            images = normalise(_pixels(split, chosen, self.device), self.meta["mean"], self.meta["std"])
            logits.append(self.model(images.contiguous(memory_format=torch.channels_last)))
            self.count(len(images), name)
        return torch.cat(logits)

    def attacked(self, split: Split, labels: Tensor, name: str, attack: Attack, benchmark: str) -> Tensor:
        """Return logits of adversarial images; the starting noise depends on benchmark, attack and batch only."""
        logits = []
        total = len(split) if attack.limit is None else min(attack.limit, len(split))
        for part in _slices(total, self.batch_size):
            images = _pixels(split, part, self.device).float() / 255
            seed = hashed_seed("attack", benchmark, name, part.start)
            generator = torch.Generator(self.device).manual_seed(seed)
            changed = run_attack(attack, self.classify, images, labels[part], generator)
            with torch.no_grad():
                logits.append(self.classify(changed))
            self.count(len(images), f"attacked/{name}")
        return torch.cat(logits)

    @torch.no_grad()
    def occluded(self, split: Split, where: str, side: int, limit: int | None) -> Tensor:
        """Return logits of images with a square hidden, or all around it; hidden pixels have the mean colour."""
        logits = []
        for part in _slices(len(split) if limit is None else min(limit, len(split)), self.batch_size):
            images = normalise(_pixels(split, part, self.device), self.meta["mean"], self.meta["std"])
            hidden = occlude(images, side, where)
            logits.append(self.model(hidden.contiguous(memory_format=torch.channels_last)))
            self.count(len(images), f"occluded/{where}/{side}")
        return torch.cat(logits)

    @torch.no_grad()
    def between(self, split: Split, other: Tensor, kind: str, share: int) -> Tensor:
        """Return logits of the first images, each mixed with the one of the row `other` (int64 [N], on the CPU)."""
        logits = []
        rows = other.numpy()
        for part in _slices(len(rows), self.batch_size):
            images = normalise(_pixels(split, part, self.device), self.meta["mean"], self.meta["std"])
            others = normalise(_pixels(split, rows[part], self.device), self.meta["mean"], self.meta["std"])
            mixed = between(images, others, kind, share)
            logits.append(self.model(mixed.contiguous(memory_format=torch.channels_last)))
            self.count(len(images), f"between/{kind}/{share}")
        return torch.cat(logits)


def run_conditions(
    runner: ConditionRunner,
    test: Split,
    labels: Tensor,
    corrupted: Split | None,
    requests: Mapping[str, Any],
    benchmark: str,
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield every condition, in the order of `config.conditions`: its name, logits of the first test images, labels.

    The labels, int64 [N], are those of the images that were mixed into the test images, so that two answers are right;
    None for other conditions.

    Parameters
    ----------
    runner : ConditionRunner
        The model.
    test : Split
        The test set.
    labels : int64 Tensor [N]
        Its labels, on the device.
    corrupted : Split or None
        The stored corrupted copies, when they are requested.
    requests : mapping
        `corruption`, `attacks`, `occlusion`, `between` of the benchmark.
    benchmark : str
        Its name, for the seeds of the attacks.

    Raises
    ------
    ReproodError
        When the stored copies are not the requested ones.
    """
    if requests.get("corruption"):
        options = Corruptions.model_validate(requests["corruption"])
        if corrupted is None:
            raise ReproodError(f"{benchmark} needs corrupted test images and none are given; run the data stage.")
        yield from ((name, logits, None) for name, logits in _corrupted(runner, corrupted, options))
    for name, record in (requests.get("attacks") or {}).items():
        attack = Attack.model_validate(record)
        yield f"attacked/{name}", runner.attacked(test, labels, name, attack, benchmark), None
    if requests.get("occlusion"):
        holes = Occlusion.model_validate(requests["occlusion"])
        for where in holes.where:
            for side in holes.sides:
                yield f"occluded/{where}/{side}", runner.occluded(test, where, side, holes.limit), None
    if requests.get("between"):
        pairs = Between.model_validate(requests["between"])
        other = partners(len(test) if pairs.limit is None else min(pairs.limit, len(test)), benchmark)
        for kind in pairs.kinds:
            for share in pairs.shares:
                logits = runner.between(test, other, kind, share)
                yield f"between/{kind}/{share}", logits, labels[other.to(labels.device)]


def _corrupted(runner: ConditionRunner, split: Split, options: Corruptions) -> Iterator[tuple[str, Tensor]]:
    stored = (tuple(split.meta["corruptions"]), tuple(split.meta["severities"]), split.meta["strengths"])
    requested = (options.names, options.severities, options.strengths)
    if stored != requested:
        raise ReproodError(f"{split.folder} holds {stored}, and the benchmark requests {requested}; create it again.")
    each = len(split) // (len(options.names) * len(options.severities))
    for i, name in enumerate(options.names):
        for j, severity in enumerate(options.severities):
            start = (i * len(options.severities) + j) * each
            condition = f"corrupted/{name}/{severity}"
            yield condition, runner.stored(split, slice(start, start + each), condition)
