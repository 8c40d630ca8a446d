"""Training images as methods transform them, for the report; part of the predict stage, because it needs torch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reprood.core.files import atomic_path
from reprood.core.seeds import hashed_seed
from reprood.data.arrays import Split, load_split, write_npz
from reprood.data.image_index import holds_index, load_index, read_picture
from reprood.data.streamed import evaluation_crop
from reprood.engine.problem import channel_statistics
from reprood.engine.streaming import IMAGENET_MEAN, IMAGENET_STD
from reprood.images.augment import normalise
from reprood.methods import registry
from reprood.train.run import parse_config

COUNT = 10
FROST = "frost_"  # auxiliary sets that corruptions use


def first_images(split: Split) -> np.ndarray:
    """Return the first images of a split, uint8 [10, H, W, C]; those of an index as in the evaluation."""
    if not holds_index(split.meta):
        return np.array(split.images[:COUNT])
    size = int(split.meta["preparation"]["size"])
    paths = [os.fsdecode(path) for path in load_index(split).paths[:COUNT]]
    return np.stack([np.asarray(evaluation_crop(read_picture(path), size)) for path in paths])


def draw_examples(records: Mapping[str, Mapping[str, Any]], data: Path, out: Path) -> None:
    """Write an array `<method>`, uint8 [10, H, W, C], for every method that changes images, and `original`.

    Methods that change images of an auxiliary set are shown on these: `outliers` unchanged, and `outliers.<method>`.

    Parameters
    ----------
    records : mapping
        Method (row of the tables) -> training record.
    data : Path
        Folder of the benchmark's splits.
    out : Path
        The .npz file.
    """
    split = load_split(data / "train")
    images = {"original": first_images(split)}
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if holds_index(split.meta) else channel_statistics(split.images)
    arrays = dict(images)
    for name, record in records.items():
        method = registry.method(record["use"])
        if method.illustrate is None:
            continue
        shown = "original"
        if method.illustrates_outliers:
            shown, source = "outliers", next(s for s in record["auxiliary"] if not s.startswith(FROST))
            if shown not in images:
                images[shown] = arrays[shown] = first_images(load_split(data / source))
        normalised = normalise(torch.from_numpy(np.ascontiguousarray(np.moveaxis(images[shown], 3, 1))), mean, std)
        config = parse_config(record)
        rows = []
        for k in range(COUNT):  # a batch may share one rectangle, so each image is taken from another batch
            generator = torch.Generator().manual_seed(hashed_seed("examples", k))
            rows.append(method.illustrate(normalised, config, generator)[k])
        pixels = torch.stack(rows) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
        integers = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
        changed = integers.permute(0, 2, 3, 1).contiguous().numpy()
        if not np.array_equal(changed, images[shown]):
            arrays[name if shown == "original" else f"{shown}.{name}"] = changed
    with atomic_path(out) as temporary:
        write_npz(temporary, arrays)
