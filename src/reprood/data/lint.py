"""The linter: refuses a benchmark whose splits overlap, are duplicated, or were prepared differently.

Images are compared by content, after preparation. Some public sets hold a few exact copies; these are counted in
`lint.json`, and refused above `TOLERANCE`. An auxiliary image in a test set is refused always.
"""

import hashlib
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from reprood.config.suite import Benchmark
from reprood.core.errors import ReproodError
from reprood.data.arrays import Split

TOLERANCE = 0.01  # share of a split's images


def image_hashes(images: np.ndarray) -> np.ndarray:
    """A 16-byte digest of each image's bytes; [N] of type S16."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images], dtype="V16")


def _duplicates(hashes: np.ndarray) -> tuple[int, list[int]]:
    """How many images are copies of an earlier one, and where the first three stand."""
    _, first = np.unique(hashes, return_index=True)
    copies = np.setdiff1d(np.arange(len(hashes)), first)
    return len(copies), copies[:3].tolist()


def lint_benchmark(splits: Mapping[str, Split], benchmark: Benchmark) -> dict[str, Any]:
    """Check a benchmark's splits against each other.

    Parameters
    ----------
    splits : mapping
        Every split of the benchmark by name.
    benchmark : Benchmark
        Its record; `allow` may list `published_resize`, `duplicates:<split>` or `overlap:<split>:<split>`.

    Returns
    -------
    dict
        Counts of images, duplicates and overlaps, and what was allowed.

    Raises
    ------
    ReproodError
        Every finding in one message, with counts and example rows.
    """
    findings: list[str] = []
    hashes = {name: image_hashes(split.images) for name, split in splits.items()}
    duplicates, overlaps = {}, {}
    for name in splits:
        count, rows = _duplicates(hashes[name])
        duplicates[name] = count
        if count > TOLERANCE * len(hashes[name]) and f"duplicates:{name}" not in benchmark.allow:
            findings.append(f"split {name}: {count} of {len(hashes[name])} images are copies (rows {rows})")
    for first, second in combinations(splits, 2):
        shared = np.flatnonzero(np.isin(hashes[second], hashes[first]))
        if not len(shared):
            continue
        pair = f"{first}:{second}"
        overlaps[pair] = len(shared)
        roles = {benchmark.role(first), benchmark.role(second)}
        limit = 0.0 if roles >= {"auxiliary", "ood"} or roles >= {"auxiliary", "test"} else TOLERANCE
        small = min(len(splits[first]), len(splits[second]))
        if len(shared) > limit * small and f"overlap:{pair}" not in benchmark.allow:
            findings.append(
                f"splits {first} and {second} share {len(shared)} images (rows {shared[:3].tolist()} of {second})"
            )
    findings += _prepared_differently(splits, benchmark) + _labels(splits, benchmark)
    if findings:
        raise ReproodError(
            f"The benchmark '{benchmark.title}' is refused: {'; '.join(findings)}. Choose other rows or data sets, "
            "or list an exception under 'allow' with a reason in 'note'."
        )
    return {
        "images": {name: len(split) for name, split in splits.items()},
        "duplicates": duplicates,
        "overlaps": overlaps,
        "allowed": list(benchmark.allow),
        "content": {name: split.meta["content"] for name, split in splits.items()},
    }


def _prepared_differently(splits: Mapping[str, Split], benchmark: Benchmark) -> list[str]:
    findings = []
    shape = (benchmark.preparation.size, benchmark.preparation.size, benchmark.preparation.channels)
    rules = {}
    for name, split in splits.items():
        if split.images.shape[1:] != shape or split.images.dtype != np.uint8:
            findings.append(
                f"split {name}: images are {split.images.shape[1:]} {split.images.dtype}, expected {shape} uint8"
            )
        record = split.meta.get("preparation", {})
        rules[name] = (record.get("rule"), record.get("size"), record.get("channels"))
        if record.get("published_resize") and "published_resize" not in benchmark.allow:
            findings.append(f"split {name}: its publisher resized it by another rule, which a detector can see")
        if record.get("naive_resize") and "naive_resize" not in benchmark.allow:
            findings.append(f"split {name}: it is shrunk without antialiasing, which a detector can see")
    if len(set(rules.values())) > 1:
        findings.append(f"splits were prepared by different rules: {rules}")
    return findings


def _labels(splits: Mapping[str, Split], benchmark: Benchmark) -> list[str]:
    findings = []
    classes = set(np.unique(splits["train"].labels).tolist())
    if classes != set(range(len(classes))):
        findings.append(f"split train: labels are {sorted(classes)}, expected 0 to {len(classes) - 1} without gaps")
    for name, split in splits.items():
        found = set(np.unique(split.labels).tolist())
        if benchmark.role(name) == "auxiliary" and benchmark.auxiliary[name].labelled:
            if min(found) < 0:
                findings.append(f"split {name}: a labelled auxiliary split has images without a label")
        elif benchmark.role(name) in ("ood", "auxiliary"):
            if found != {-1}:
                findings.append(f"split {name}: an OOD or auxiliary split must have label -1 only")
        elif found != classes:
            findings.append(f"split {name}: classes {sorted(classes ^ found)} are not in both it and train")
    return findings
