"""A method's own scores and anomaly maps, where its record has them (see `reprood.methods.base`)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.seeds import hashed_seed
from reprood.data.arrays import Split
from reprood.engine.problem import ImageSet
from reprood.evaluate.map_codec import LEVELS, pack_maps
from reprood.methods.base import Batches, Method
from reprood.predict.forward import Stored


@dataclass(frozen=True)
class Native:
    """A method with its trained model and what it fitted.

    Attributes
    ----------
    method : Method
    model : nn.Module
    config : pydantic model
    state : mapping
        Tensors fitted on the training images.
    numbers : mapping
        Numbers chosen on validation images; they are stored with the predictions.
    """

    method: Method[Any, Any]
    model: nn.Module
    config: Any
    state: Mapping[str, Tensor]
    numbers: Mapping[str, float]

    @property
    def fitted(self) -> dict[str, Any]:
        """Tensors and numbers by name."""
        return {**self.state, **self.numbers}

    def scores(self, stored: Stored) -> dict[str, Tensor]:
        """Return the method's own scores of a split, float64 [N]; empty if it has none."""
        scores = self.method.scores
        if scores is None:
            return {}
        assert stored.batches is not None
        parts = [scores(self.model, images, self.config, self.fitted) for images in stored.batches()]
        return {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}

    def maps(self, stored: Stored) -> Tensor | None:
        """Return anomaly maps of a split, float64 [N, H, W] on the CPU; None if the method has none."""
        anomaly_maps = self.method.anomaly_maps
        if anomaly_maps is None:
            return None
        assert stored.batches is not None
        return torch.cat(
            [anomaly_maps(self.model, part, self.config, self.fitted).double().cpu() for part in stored.batches()]
        )


def fit_native(
    method: Method[Any, Any],
    model: nn.Module,
    config: Any,
    train: Batches | None,
    validation: Stored,
    labels: Tensor,
    name: str,
) -> Native:
    """Fit what the method's own scores need.

    Parameters
    ----------
    method : Method
        The record with the capabilities.
    model : nn.Module
        Trained, in evaluation mode.
    config : pydantic model
        The method's settings.
    train : callable or None
        Iterates over the training images with their labels; required by methods with `fit_on_train`.
    validation : Stored
        In-distribution validation images.
    labels : int64 Tensor [N]
        Their labels.
    name : str
        Name of the run; seeds the generator of the fit.

    Raises
    ------
    ReproodError
        If the method is fitted on training images and there are none, or if two fitted values share a name.
    """
    state: dict[str, Tensor] = {}
    if method.fit_on_train is not None:
        if train is None:
            raise ReproodError(f"{name}: the method is fitted on training images; prediction needs the split train.")
        generator = torch.Generator().manual_seed(hashed_seed("fit on train", name))
        state = method.fit_on_train(model, train, config, generator)
    numbers: dict[str, float] = {}
    if method.fit_scores is not None:
        assert validation.batches is not None
        images = ImageSet(torch.cat(list(validation.batches())), labels)
        numbers = method.fit_scores(model, images, config, state)
    shared = sorted(set(state) & set(numbers))
    if shared:
        raise ReproodError(f"{name}: fit_on_train and fit_scores both return '{shared[0]}'; rename one.")
    return Native(method, model, config, state, numbers)


def with_labels(batches: Callable[[], Iterable[Tensor]], labels: Tensor) -> Batches:
    """Return an iterator factory over batches of images with the labels (int64 [N]) of their rows."""

    def labelled() -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for images in batches():
            yield images, labels[start : start + len(images)]
            start += len(images)

    return labelled


def map_columns(
    native: Native, splits: Mapping[str, Stored], arrays: Mapping[str, Split]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Return the columns `map` and `mask` (bytes) of the test split and the OOD sets, and how to read them.

    Maps are quantised on one linear scale for the whole run, so that metrics can pool all pixels (see
    `reprood.evaluate.map_codec`); masks are packed bits, row by row.

    Raises
    ------
    ReproodError
        If a split has no masks, or maps have the wrong shape or are not finite.
    """
    by_split: dict[str, Tensor] = {}
    for split, stored in splits.items():
        maps = native.maps(stored)
        if maps is None:
            return {}, {}
        shape = arrays[split].images.shape[:3]
        if tuple(maps.shape) != shape or not bool(torch.isfinite(maps).all()):
            raise ReproodError(f"The anomaly maps of {split} have the shape {tuple(maps.shape)}; expected {shape}.")
        if "masks" not in arrays[split].extras:
            raise ReproodError(f"{arrays[split].folder} has no masks; 'segmentation' needs images with masks.")
        by_split[split] = maps
    low = min(float(maps.min()) for maps in by_split.values())
    high = max(float(maps.max()) for maps in by_split.values())
    scale = LEVELS / (high - low) if high > low else 0.0
    columns = {}
    for split, maps in by_split.items():
        levels = ((maps - low) * scale).round().to(torch.int32).numpy().astype(np.uint16)
        regions = np.asarray(arrays[split].extras["masks"]) > 0
        masks = np.packbits(regions.reshape(len(regions), -1), axis=1)
        columns[split] = {"map": _objects(pack_maps(levels)), "mask": _objects([row.tobytes() for row in masks])}
    side = next(iter(by_split.values())).shape[1]
    return columns, {"side": side, "low": low, "high": high, "levels": LEVELS}


def _objects(rows: list[bytes]) -> np.ndarray:
    """Return byte strings as a column of a table."""
    column = np.empty(len(rows), dtype=object)
    column[:] = rows
    return column
