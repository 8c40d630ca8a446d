"""Families of benchmarks: members are not copies of one another, and open-set splits are the published ones."""

import json
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import golden_files
import numpy as np
import pytest

from reprood.config.benchmark import Benchmark
from reprood.config.load import load_suite
from reprood.config.suite import Suite

ROOT = Path(__file__).resolve().parents[2]
SUITES = sorted(path.stem for path in (ROOT / "config" / "suites").glob("*.yaml"))

# family -> the published list of splits, and whether its rows are of known or of unknown classes
PUBLISHED = {
    "cifar10_open_set": ("AUROC_cifar10", "train"),
    "cifar10_open_set_f": ("F1_cifar10", "train"),
    "mnist_open_set": ("AUROC_mnist", "train"),
    "mnist_open_set_f": ("F1_mnist", "train"),
    "svhn_open_set": ("AUROC_svhn", "train"),
    "svhn_open_set_f": ("F1_svhn", "train"),
    "cifar_plus_10": ("AUROC_cifar100_10", "unknown"),
    "cifar_plus_10_f": ("F1_cifar100_10", "unknown"),
    "cifar_plus_50": ("AUROC_cifar100_50", "unknown"),
    "cifar_plus_50_f": ("F1_cifar100_50", "unknown"),
    "tiny_imagenet_open_set": ("AUROC_tiny_imagenet", "train"),
}
KNOWN_OF_PLUS = {"cifar_plus_10": "AUROC", "cifar_plus_50": "AUROC", "cifar_plus_10_f": "F1", "cifar_plus_50_f": "F1"}
CLASSES = {"cifar10": 10, "mnist": 10, "svhn": 10, "fashion_mnist": 10, "tiny_imagenet": 200}


@cache
def suite_of(name: str) -> Suite:
    return load_suite(name, ROOT)


def families() -> list[tuple[str, str]]:
    return [(suite, family) for suite in SUITES for family in suite_of(suite).families()]


def question(benchmark: Benchmark) -> str:
    """What a member asks, whatever its name, and in whatever order its classes are numbered."""

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: plain(v, k) for k, v in value.items() if k not in ("title", "note", "member")}
        return sorted(value) if key == "classes" and value is not None else value

    return json.dumps(plain(benchmark.model_dump(mode="json")), sort_keys=True)


def copies(suite: Suite, family: str) -> list[tuple[str, str]]:
    questions = {name: question(suite.benchmarks[name]) for name in suite.families()[family]}
    return [(a, b) for a, b in combinations(questions, 2) if questions[a] == questions[b]]


@pytest.mark.parametrize(("name", "family"), families())
def test_members_are_not_copies(name, family) -> None:
    suite = suite_of(name)
    assert len(suite.families()[family]) > 1
    assert copies(suite, family) == []


def test_copies_are_refused_in_any_order() -> None:
    """And what differs in known or unknown classes alone is none."""

    def member(known: list[int], unknown: list[int]) -> dict[str, Any]:
        part = {"classes": known}
        return {"train": part, "validation": part, "test": part, "ood": {"unknown": {"classes": unknown}}}

    source = {"dataset": "letters", "split": "train"}
    record = {
        "title": "Letters",
        "preparation": {"size": 28, "channels": 1},
        **dict.fromkeys(("train", "validation", "test"), source),
        "ood": {"unknown": {**source, "shift": "near"}},
        "members": {
            "a": member([0, 1, 2], [3, 4]),
            "b": member([2, 0, 1], [4, 3]),
            "c": member([0, 1, 2], [3, 5]),
            "d": member([0, 1, 3], [3, 4]),
        },
    }
    suite = {
        "title": "t", "scale": "reduced", "seeds": [0], "benchmarks": {"f": record},
        "methods": {"erm": {"use": "erm", "label": "CE"}}, "runs": [{"benchmark": "f", "methods": ["erm"]}],
    }  # fmt: skip
    with pytest.raises(ValueError, match="the members a and b are the same"):
        Suite.model_validate(suite)
    del record["members"]["b"]
    assert copies(Suite.model_validate(suite), "f") == []


@pytest.mark.parametrize("name", SUITES)
def test_known_and_unknown_classes_are_apart(name) -> None:
    for benchmark in suite_of(name).benchmarks.values():
        if "open_set" not in benchmark.evaluations:
            continue
        known = benchmark.train
        if known.classes is None:  # all classes are known, and the unknown images are of another kind
            others = [(one.dataset, one.style) for one in benchmark.ood.values()]
            assert (known.dataset, known.style) not in others, benchmark.title
            continue
        assert benchmark.validation.classes == known.classes == benchmark.test.classes
        for unknown in benchmark.ood.values():
            if unknown.dataset != known.dataset:
                continue
            assert unknown.classes is not None
            assert not set(known.classes) & set(unknown.classes), benchmark.title
            if known.dataset in CLASSES:
                assert sorted((*known.classes, *unknown.classes)) == list(range(CLASSES[known.dataset]))


@pytest.mark.golden
def test_published_splits() -> None:
    """Known classes are numbered by their place in the list, so the order matters there."""
    lists = golden_files.load("dias", "class_splits")
    suites = [suite_of(name) for name in SUITES]
    for family, (key, role) in PUBLISHED.items():
        names = [(suite, suite.families()[family]) for suite in suites if family in suite.families()]
        assert names, f"no suite has {family}"
        for suite, members in names:
            benchmarks = [suite.benchmarks[member] for member in members]
            found = [(one.train if role == "train" else one.ood["unknown"]).classes for one in benchmarks]
            assert [list(row or ()) for row in found] == lists[key].tolist(), family
            if family in KNOWN_OF_PLUS:
                known = lists[f"{KNOWN_OF_PLUS[family]}_cifar100"].tolist()
                assert [list(one.train.classes or ()) for one in benchmarks] == known


@pytest.mark.golden
def test_equal_lists_of_splits_are_one_family() -> None:
    """The code's lists for Tiny ImageNet are the same for both metrics: one family serves both."""
    lists = golden_files.load("dias", "class_splits")
    keys = {key: (role, lists[key].tolist()) for key, role in PUBLISHED.values()}
    assert lists["AUROC_tiny_imagenet"].tolist() == lists["F1_tiny_imagenet"].tolist()
    for (name, first), (other, second) in combinations(keys.items(), 2):
        if name.split("_", 1)[1] == other.split("_", 1)[1]:
            assert first != second, f"{name} and {other} would be the same trainings"


@pytest.mark.golden
def test_no_published_split_occurs_twice() -> None:
    lists = golden_files.load("dias", "class_splits")
    for key, rows in lists.items():
        if key.split("_", 1)[1] == "cifar100":  # the same known classes in every split
            continue
        sets = [tuple(np.sort(row)) for row in rows]
        assert len(set(sets)) == len(sets), key
        assert all(len(set(row)) == len(row) for row in sets), key
