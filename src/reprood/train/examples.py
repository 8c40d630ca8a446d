"""Pictures of what methods do to training images, for the report. Part of the predict stage, because it needs torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reprood.core.files import atomic_path
from reprood.data.arrays import load_split, write_npz
from reprood.engine.problem import channel_statistics
from reprood.engine.seeds import hashed_seed
from reprood.images.augment import normalise
from reprood.methods import registry
from reprood.train.run import parse_config

COUNT = 10


def draw_examples(records: Mapping[str, Mapping[str, Any]], train: Path, out: Path) -> None:
    """Write `<method>` uint8 [10, H, W, C] for every method that changes images, and `original`.

    Parameters
    ----------
    records : mapping
        Method (row of the tables) -> its training record.
    train : Path
        The benchmark's training split.
    out : Path
        The .npz file.
    """
    split = load_split(train)
    images = np.array(split.images[:COUNT])
    mean, std = channel_statistics(split.images)
    normalised = normalise(torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1))), mean, std)
    shown = {"original": images}
    for name, record in records.items():
        module = registry.method(record["use"])
        if not hasattr(module, "illustrate"):
            continue
        config = parse_config(record)
        rows = []
        for k in range(COUNT):  # a batch shares one rectangle, so each picture comes from a batch of its own
            generator = torch.Generator().manual_seed(hashed_seed("examples", k))
            rows.append(module.illustrate(normalised, config, generator)[k])
        pixels = torch.stack(rows) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
        whole = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        changed = whole.contiguous().numpy()
        if not np.array_equal(changed, images):
            shown[name] = changed
    with atomic_path(out) as temporary:
        write_npz(temporary, shown)
