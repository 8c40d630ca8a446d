"""Reject a benchmark whose splits overlap, contain duplicates, or were prepared differently.

Images are compared by content, after preparation; those of streamed benchmarks by their files. Some public sets
contain a few exact copies; these are counted in `lint.json`, and rejected above `TOLERANCE`. An auxiliary image in a
test set is always rejected.
"""

import hashlib
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.data.image_index import holds_index

TOLERANCE = 0.01  # fraction of a split's images


def image_hashes(images: np.ndarray) -> np.ndarray:
    """Return a 16-byte digest of each image's bytes, [N] of type V16."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images], dtype="V16")


def split_hashes(splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
    """Return what the images of each split are compared by: digests of their files if all are streamed, else pixels."""
    streamed = all("digest" in split.extras for split in splits.values())
    return {name: split.extras["digest"] if streamed else image_hashes(split.images) for name, split in splits.items()}


def _duplicates(hashes: np.ndarray) -> tuple[int, list[int]]:
    """Return how many images are copies of an earlier one, and the rows of the first three."""
    _, first = np.unique(hashes, return_index=True)
    copies = np.setdiff1d(np.arange(len(hashes)), first)
    return len(copies), copies[:3].tolist()


def lint_benchmark(splits: Mapping[str, Split], benchmark: Benchmark, *, classifies: bool = False) -> dict[str, Any]:
    """Check a benchmark's splits against each other.

    Parameters
    ----------
    splits : mapping
        Every split of the benchmark by name.
    benchmark : Benchmark
        `allow` may list `published_resize`, `duplicates:<split>` or `overlap:<split>:<split>`.
    classifies : bool
        Whether the classification of test images is evaluated, which needs two classes.

    Returns
    -------
    dict
        Numbers of images, duplicates and overlaps, what was allowed, and notes on what could not be compared.

    Raises
    ------
    ReproodError
        All findings in one message, with numbers and example rows.
    """
    findings: list[str] = []
    hashes = split_hashes(splits)
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
    different, notes = _class_names(splits, benchmark)
    findings += different
    if classifies and len(np.unique(splits["train"].labels)) == 1:
        named = ", ".join(splits["train"].meta.get("classes") or ["0"])
        findings.append(
            f"split train has a single class ({named}), so that every classification is right: was a folder around "
            "the class folders taken for a class? If one class is meant, leave 'classification' out of 'evaluations'"
        )
    if findings:
        raise ReproodError(
            f"The benchmark '{benchmark.title}' is rejected: {'; '.join(findings)}. Choose other rows or data sets, "
            "or list an exception under 'allow' with a reason in 'note'."
        )
    return {
        "images": {name: len(split) for name, split in splits.items()},
        "duplicates": duplicates,
        "overlaps": overlaps,
        "allowed": list(benchmark.allow),
        "content": {name: split.meta["content"] for name, split in splits.items()},
        **({"notes": notes} if notes else {}),
    }


def _prepared_differently(splits: Mapping[str, Split], benchmark: Benchmark) -> list[str]:
    findings = []
    shape = (benchmark.preparation.size, benchmark.preparation.size, benchmark.preparation.channels)
    rules = {}
    for name, split in splits.items():
        if not holds_index(split.meta) and (split.images.shape[1:] != shape or split.images.dtype != np.uint8):
            findings.append(
                f"split {name}: images are {split.images.shape[1:]} {split.images.dtype}, expected {shape} uint8"
            )
        record = split.meta.get("preparation", {})
        rules[name] = (record.get("rule"), record.get("size"), record.get("channels"))
        if record.get("published_resize") and "published_resize" not in benchmark.allow:
            findings.append(f"split {name}: its publisher resized it by another rule, which a detector can exploit")
        if record.get("naive_resize") and "naive_resize" not in benchmark.allow:
            findings.append(f"split {name}: it is shrunk without antialiasing, which a detector can exploit")
    if len(set(rules.values())) > 1:
        findings.append(f"splits were prepared by different rules: {rules}")
    return findings


def _labels(splits: Mapping[str, Split], benchmark: Benchmark) -> list[str]:
    findings = []
    classes = set(np.unique(splits["train"].labels).tolist())
    if classes != set(range(len(classes))):
        findings.append(f"split train: labels are {sorted(classes)}, expected 0 to {len(classes) - 1} without gaps")
    for name, split in splits.items():
        present = set(np.unique(split.labels).tolist())
        if benchmark.role(name) == "auxiliary" and benchmark.auxiliary[name].labelled:
            if min(present) < 0:
                findings.append(f"split {name}: a labelled auxiliary split has images without a label")
        elif benchmark.role(name) in ("ood", "auxiliary"):
            if present != {-1}:
                findings.append(f"split {name}: an OOD or auxiliary split must have only the label -1")
        elif present != classes:
            findings.append(f"split {name}: classes {sorted(classes ^ present)} are not in both this split and train")
    return findings


def _class_names(splits: Mapping[str, Split], benchmark: Benchmark) -> tuple[list[str], list[str]]:
    """Compare the classes of the training split by name with those of the validation and the test split.

    Returns
    -------
    findings, notes : list of str
        What is wrong, and what could be compared by number only.
    """
    findings, notes = [], []
    trained = list(splits["train"].meta.get("classes") or [])
    for name in ("validation", "test"):
        own = list(splits[name].meta.get("classes") or [])
        if not own or not trained or own == trained:
            continue
        unnamed = [one for one in ("train", name) if _unnamed(splits[one])]
        same = getattr(benchmark, name).dataset == benchmark.train.dataset
        if len(unnamed) == 1 or (unnamed and not same):
            notes.append(f"classes of train and {name} are compared by number: {', '.join(unnamed)} has no names")
        else:
            findings.append(
                f"split {name}: its classes are {own[:10]} and those of train {trained[:10]}, so that one number means "
                "two classes; give both the same classes in the same order (rename folders, or list 'classes' in the "
                "catalogue)"
            )
    return findings, notes


def _unnamed(split: Split) -> bool:
    """Return whether the names of the classes are only their numbers in the data set."""
    names = list(split.meta["classes"])
    numbers = (split.meta.get("rows") or {}).get("classes") or range(len(names))
    return names == [str(number) for number in numbers]
