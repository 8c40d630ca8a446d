"""Anomaly maps and boxes that were computed elsewhere, as the columns of the predict stage. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.evaluate.localisation import ENDS
from reprood.evaluate.map_codec import LEVELS, pack_maps
from reprood.predict.boxes import box_columns, true_boxes

BOXES = ("cam", "cam_true", "cam_minmax", "cam_true_minmax")  # of the predicted and the right class, by two rules

Columns = dict[str, dict[str, np.ndarray]]
Given = Mapping[str, Mapping[str, np.ndarray]]
Splits = Mapping[str, Split]


def given_maps(outputs: Given, splits: Splits, paths: Mapping[str, Path]) -> tuple[Columns, dict[str, Any]]:
    """Return the columns `map` and `mask` (bytes) of the test split and the OOD sets, and how to read them.

    Maps are quantised on one linear scale for the whole run, as in `reprood.predict.native.map_columns`.

    Parameters
    ----------
    outputs : mapping
        Split -> arrays, of which `map` [N, H, W] is used: higher = more anomalous, at the size of the split's images.
    splits : mapping
        The prepared splits of the same names, with masks.
    paths : mapping
        Their files, for messages.

    Returns
    -------
    columns, facts
        Empty when no split has maps: then only image scores are evaluated.

    Raises
    ------
    ReproodError
        When only some splits have maps, a map does not fit, or a split has no masks.
    """
    having = [name for name, values in outputs.items() if "map" in values]
    if not having:
        return {}, {}
    without = [name for name in outputs if name not in having]
    if without:
        raise ReproodError(
            f"{paths[having[0]]} has maps and {paths[without[0]]} has none; give 'map' for the test split and "
            "every OOD set, or for none."
        )
    maps = {name: _map(values["map"], splits[name], paths[name]) for name, values in outputs.items()}
    low, high = min(float(one.min()) for one in maps.values()), max(float(one.max()) for one in maps.values())
    scale = LEVELS / (high - low) if high > low else 0.0
    columns: Columns = {}
    for name, values in maps.items():
        if "masks" not in splits[name].extras:
            raise ReproodError(f"{splits[name].folder} has no masks to compare maps with; leave the maps out.")
        levels = ((values - low) * scale).round().astype(np.uint16)
        regions = np.asarray(splits[name].extras["masks"]) > 0
        masks = np.packbits(regions.reshape(len(regions), -1), axis=1)
        columns[name] = {"map": _objects(pack_maps(levels)), "mask": _objects([row.tobytes() for row in masks])}
    side = next(iter(maps.values())).shape[1]
    return columns, {"side": side, "low": low, "high": high, "levels": LEVELS}


def _map(values: np.ndarray, split: Split, path: Path) -> np.ndarray:
    shape = split.images.shape[:3]
    if values.shape != shape or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ReproodError(
            f"{path}: map is {values.dtype} of shape {values.shape}; expected finite numbers of shape {shape}, the "
            "size of the prepared images (resize the maps)."
        )
    return values.astype(np.float64)


def _objects(rows: list[bytes]) -> np.ndarray:
    """Return byte strings as a column of a table."""
    column = np.empty(len(rows), dtype=object)
    column[:] = rows
    return column


def given_boxes(values: Mapping[str, np.ndarray], test: Split, path: Path) -> dict[str, np.ndarray]:
    """Return the true and the given boxes of the test images as columns; see `box_columns`.

    Parameters
    ----------
    values : mapping
        `cam_x0`, `cam_y0`, `cam_x1`, `cam_y1` [N], the box of the predicted class in pixels (ends exclusive), and
        `cam_true_*`, that of the right class; both again as `cam_minmax_*` and `cam_true_minmax_*` by the second rule
        of `reprood.predict.localise.boxes_of` (the same boxes where there is one rule only).
    test : Split
        With true boxes.
    path : Path
        File of `values`, for messages.

    Raises
    ------
    ReproodError
        When a column is missing or is not made of whole pixels of the image.
    """
    true = true_boxes(test)
    side = test.images.shape[1]
    columns: dict[str, np.ndarray] = {}
    for name in (f"{kind}_{end}" for kind in BOXES for end in ENDS):
        if name not in values:
            raise ReproodError(
                f"{path} has no {name}; 'localisation' needs the boxes {', '.join(BOXES)}, each with the ends "
                f"{', '.join(ENDS)}."
            )
        column = np.asarray(values[name])
        whole = column.shape == (len(true),) and column.dtype.kind in "fiu" and bool((column == np.floor(column)).all())
        if not whole or column.min() < 0 or column.max() > side:
            raise ReproodError(f"{path}: {name} must hold {len(true):,} whole numbers from 0 to {side} (pixels).")
        columns[name] = column.astype(np.int32)
    found = {kind: np.stack([columns[f"{kind}_{end}"] for end in ENDS], axis=1) for kind in BOXES}
    for kind, boxes in found.items():
        if bool((boxes[:, 2:] < boxes[:, :2]).any()):
            raise ReproodError(f"{path}: some boxes {kind} end before they begin; expected x0 <= x1 and y0 <= y1.")
    return box_columns(true, found)
