"""What a method itself says about images: its own scores and its maps of where an image is anomalous.

A method's module may define, besides `build` and `train`,

- `fit_on_train(model, batches, config, generator) -> dict[str, Tensor]`: what scoring needs of the training images (a
  density, a bank of features); `batches()` runs over (normalised images [B, C, H, W], labels [B]) of the train split;
- `fit_scores(model, validation, config[, fitted]) -> dict[str, float]`: numbers chosen on ID validation images;
  `fitted` is passed when there is `fit_on_train`;
- `scores(model, images, config, fitted) -> dict[str, Tensor]`: float64 [B] each, higher = more in-distribution; the
  first one is shown first in the report;
- `anomaly_maps(model, images, config, fitted) -> Tensor`: [B, H, W], higher = more anomalous.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.detectors.table import Stored
from reprood.engine.problem import ImageSet
from reprood.engine.seeds import hashed_seed
from reprood.evaluate.map_codec import LEVELS, pack_maps

Labelled = Callable[[], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Native:
    """A method with its model, and what it fitted.

    Attributes
    ----------
    module : ModuleType
    model : nn.Module
    config : pydantic model
    state : mapping
        Tensors fitted on the training images.
    numbers : mapping
        Numbers chosen on validation images; they are recorded with the predictions.
    """

    module: ModuleType
    model: nn.Module
    config: Any
    state: Mapping[str, Tensor]
    numbers: Mapping[str, float]

    @property
    def fitted(self) -> dict[str, Any]:
        """Tensors and numbers under their names."""
        return {**self.state, **self.numbers}

    def scores(self, stored: Stored) -> dict[str, Tensor]:
        """The method's own scores of a split, float64 [N]; none without `scores`."""
        if not hasattr(self.module, "scores"):
            return {}
        assert stored.batches is not None
        parts = [self.module.scores(self.model, images, self.config, self.fitted) for images in stored.batches()]
        return {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}

    def maps(self, stored: Stored) -> Tensor | None:
        """Anomaly maps of a split, float64 [N, H, W] on the CPU; None without `anomaly_maps`."""
        if not hasattr(self.module, "anomaly_maps"):
            return None
        assert stored.batches is not None
        return torch.cat(
            [
                self.module.anomaly_maps(self.model, images, self.config, self.fitted).double().cpu()
                for images in stored.batches()
            ]
        )


def fit_native(
    module: ModuleType,
    model: nn.Module,
    config: Any,
    train: Labelled | None,
    validation: Stored,
    labels: Tensor,
    name: str,
) -> Native:
    """Fit what the method's own scores need.

    Parameters
    ----------
    module, model, config
        The method's module, its trained model in evaluation mode, its settings.
    train : callable or None
        Runs over the training images with their labels; needed when the module has `fit_on_train`.
    validation : Stored
        ID validation images, with `labels` int64 [N].
    name : str
        Of the run, from which the fitting's generator is seeded.

    Raises
    ------
    ReproodError
        When the method fits on training images and there are none.
    """
    state: dict[str, Tensor] = {}
    further: tuple[dict[str, Tensor], ...] = ()
    if hasattr(module, "fit_on_train"):
        if train is None:
            raise ReproodError(f"{name}: the method is fitted on training images; prediction needs the split train.")
        generator = torch.Generator().manual_seed(hashed_seed("fit on train", name))
        state = module.fit_on_train(model, train, config, generator)
        further = (state,)
    numbers: dict[str, float] = {}
    if hasattr(module, "fit_scores"):
        assert validation.batches is not None
        images = ImageSet(torch.cat(list(validation.batches())), labels)
        numbers = module.fit_scores(model, images, config, *further)
    doubled = sorted(set(state) & set(numbers))
    if doubled:
        raise ReproodError(f"{name}: fit_on_train and fit_scores both give '{doubled[0]}'; rename one.")
    return Native(module, model, config, state, numbers)


def with_labels(batches: Callable[[], Iterable[Tensor]], labels: Tensor) -> Labelled:
    """Batches of images with the labels (int64 [N]) of their rows."""

    def labelled() -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for images in batches():
            yield images, labels[start : start + len(images)]
            start += len(images)

    return labelled


def map_columns(
    native: Native, splits: Mapping[str, Stored], arrays: Mapping[str, Split]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Columns `map` and `mask` (bytes) of the test split and the OOD sets, and what is needed to read them.

    A map is stored in whole levels of one linear scale for the whole run, so that metrics pool all pixels (see
    `reprood.evaluate.map_codec`); a mask as packed bits, row by row.

    Raises
    ------
    ReproodError
        When a split has no masks, or maps are of the wrong shape or not finite.
    """
    found: dict[str, Tensor] = {}
    for split, stored in splits.items():
        maps = native.maps(stored)
        if maps is None:
            return {}, {}
        shape = arrays[split].images.shape[:3]
        if tuple(maps.shape) != shape or not bool(torch.isfinite(maps).all()):
            raise ReproodError(f"The anomaly maps of {split} have the shape {tuple(maps.shape)}; expected {shape}.")
        if "masks" not in arrays[split].extras:
            raise ReproodError(f"{arrays[split].folder} has no masks; 'segmentation' needs images with masks.")
        found[split] = maps
    low = min(float(maps.min()) for maps in found.values())
    high = max(float(maps.max()) for maps in found.values())
    scale = LEVELS / (high - low) if high > low else 0.0
    columns = {}
    for split, maps in found.items():
        levels = ((maps - low) * scale).round().to(torch.int32).numpy().astype(np.uint16)
        regions = np.asarray(arrays[split].extras["masks"]) > 0
        masks = np.packbits(regions.reshape(len(regions), -1), axis=1)
        columns[split] = {"map": _objects(pack_maps(levels)), "mask": _objects([row.tobytes() for row in masks])}
    side = next(iter(found.values())).shape[1]
    return columns, {"side": side, "low": low, "high": high, "levels": LEVELS}


def _objects(rows: list[bytes]) -> np.ndarray:
    """Strings of bytes as a column of a table."""
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found
