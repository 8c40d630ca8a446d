"""Corrupted copies of a test set: every corruption at every severity, made once and stored like any split.

A part of the data stage in a module of its own, because the corruptions are tensor operations shared with training:
it needs torch, and nothing else of the data stage does.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reprood.config.suite import Corruptions
from reprood.data.arrays import load_split, save_split
from reprood.engine.seeds import hashed_seed
from reprood.images.corruptions.batch import corrupt

CHUNK = 500


def make_corrupted(test: Path, options: Corruptions, out: Path) -> None:
    """Write the split of corrupted test images.

    Parameters
    ----------
    test : Path
        The benchmark's test split.
    options : Corruptions
        Names, severities, strengths, number of images.
    out : Path
        Its images are ordered by corruption, then severity, then row; extras hold `corruption` (position in the list
        `corruptions` of meta.json), `severity` and `row` (of the test split). The draws depend on the corruption, the
        severity and the image's place, so the same test set gives the same bytes.
    """
    split = load_split(test)
    count = len(split) if options.limit is None else min(options.limit, len(split))
    images = torch.from_numpy(np.array(np.moveaxis(split.images[:count], 3, 1), order="C"))
    made: list[np.ndarray] = []
    for name in options.names:
        for severity in options.severities:
            parts = []
            for start in range(0, count, CHUNK):
                seed = hashed_seed("corrupted", options.strengths, name, severity, start)
                generator = torch.Generator().manual_seed(seed)
                chunk = images[start : start + CHUNK]
                parts.append(corrupt(chunk, name, severity, generator, strengths=options.strengths))
            made.append(np.moveaxis(torch.cat(parts).numpy(), 1, 3))
        print(
            f"{out}: {name} at {len(options.severities)} severities, {count} images each", file=sys.stderr, flush=True
        )
    copies = len(options.severities)
    extras = {
        "corruption": np.repeat(np.arange(len(options.names)), copies * count),
        "severity": np.tile(np.repeat(np.array(options.severities), count), len(options.names)),
        "row": np.tile(np.arange(count), len(options.names) * copies),
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
        "corruptions": list(options.names),
        "severities": list(options.severities),
        "strengths": options.strengths,
    }
    labels = np.tile(split.labels[:count], len(options.names) * copies)
    save_split(out, np.ascontiguousarray(np.concatenate(made)), labels, extras, meta)
