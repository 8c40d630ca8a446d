"""Create corrupted copies of a test set: every corruption at every severity, stored like any other split.

This is the only module of the data stage that needs torch, because the corruptions are tensor operations shared with
training.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reprood.core.seeds import hashed_seed
from reprood.data.arrays import load_split, save_split
from reprood.images.corruption import Corruption, corrupt
from reprood.images.registry import load_corruption

CHUNK = 500  # images that share a generator; part of the seeds


def make_corrupted(
    test: Path,
    out: Path,
    *,
    names: Sequence[str],
    severities: Sequence[int],
    strengths: str = "cifar",
    limit: int | None = None,
    frost: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write the split of corrupted test images.

    Parameters
    ----------
    test : Path
        The benchmark's test split.
    out : Path
        Images are ordered by corruption, then severity, then row. Extras contain `corruption` (index into the list
        `corruptions` of meta.json), `severity` and `row` (of the test split). The random draws depend on the
        corruption, the severity and the position of the image, so the same test set gives the same bytes.
    names : sequence of str
        Corruptions.
    severities : sequence of int
        From 1 to 5.
    strengths : {"cifar", "imagenet"}
        Those of CIFAR-10-C or of ImageNet-C.
    limit : int, optional
        Number of test images to corrupt, from the first on; default: all.
    frost : Path, optional
        Split with crops of photographs of frost; without it the corruption "frost" draws a texture. The key `frost` of
        meta.json is the content of this split, or "drawn".
    progress : callable, optional
        Called with the name of each finished corruption.
    """
    split = load_split(test)
    count = len(split) if limit is None else min(limit, len(split))
    images = torch.from_numpy(np.array(np.moveaxis(split.images[:count], 3, 1), order="C"))
    crops = (
        None if frost is None else torch.from_numpy(np.array(np.moveaxis(load_split(frost).images, 3, 1), order="C"))
    )
    copies: list[np.ndarray] = []
    for name in names:
        corruption: Corruption = load_corruption(name)
        for severity in severities:
            parts = []
            for start in range(0, count, CHUNK):
                seed = hashed_seed("corrupted", strengths, name, severity, start)
                generator = torch.Generator().manual_seed(seed)
                chunk = images[start : start + CHUNK]
                parts.append(corrupt(chunk, corruption, severity, generator, strengths=strengths, frost=crops))
            copies.append(np.moveaxis(torch.cat(parts).numpy(), 1, 3))
        if progress is not None:
            progress(name)
    extras = {
        "corruption": np.repeat(np.arange(len(names)), len(severities) * count),
        "severity": np.tile(np.repeat(np.array(severities), count), len(names)),
        "row": np.tile(np.arange(count), len(names) * len(severities)),
    }
    meta: dict[str, Any] = {
        key: split.meta[key]
        for key in ("title", "source", "licence", "citation", "name", "classes", "preparation")
        if key in split.meta
    }
    meta |= {
        "split": "corrupted",
        "role": "corrupted",
        "from": split.meta["content"],
        "corruptions": list(names),
        "severities": list(severities),
        "strengths": strengths,
        **({"frost": "drawn" if frost is None else load_split(frost).meta["content"]} if "frost" in names else {}),
    }
    labels = np.tile(split.labels[:count], len(names) * len(severities))
    save_split(out, np.ascontiguousarray(np.concatenate(copies)), labels, extras, meta)
