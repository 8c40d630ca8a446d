"""Outliers in addition to ID batches: which rows are read, in which order, and the errors when there are none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import image_set, problem, run

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.outliers import first_row, outlier_batches, outlier_set
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.training import Training


@pytest.mark.golden
def test_offsets_reference() -> None:
    golden = load("hood", "outlier_offset")
    count, epochs = int(golden["n_outliers"]), int(golden["epochs"])
    ours = [first_row(count, epochs, epoch) for epoch in range(epochs)]
    np.testing.assert_array_equal(ours, golden["offset"])


def numbered(count: int) -> Problem:
    """Outliers whose only pixel is their row."""
    images = torch.arange(count).view(-1, 1, 1, 1).to(torch.uint8)
    return replace(problem(40), auxiliary={"numbers": ImageSet(images, torch.full((count,), -1))})


def batch(epoch: int, step: int, size: int = 4) -> Batch:
    empty = torch.empty(size)
    return Batch(empty, empty, empty, torch.Generator(), epoch, step, 0.0)


def rows(count: int, order: str, tmp_path, epoch: int, steps: int, size: int = 4) -> list[int]:
    training = Training(epochs=4, batch_size=4)
    outliers = outlier_batches(numbered(count), training, run(tmp_path), name="", order=order)
    return [row for step in range(steps) for row in outliers(batch(epoch, step, size)).flatten().tolist()]


def test_sequential_reading_starts_at_equal_distances_and_wraps_round(tmp_path) -> None:
    assert rows(100, "sequential", tmp_path, 0, 2) == list(range(16))
    assert rows(100, "sequential", tmp_path, 1, 2) == list(range(25, 41))
    assert rows(30, "sequential", tmp_path, 3, 2) == [*range(22, 30), *range(8)]
    assert rows(5, "sequential", tmp_path, 0, 1) == [0, 1, 2, 3, 4, 0, 1, 2]


def test_random_reading_meets_every_outlier_once_before_any_again(tmp_path) -> None:
    first, second = (rows(30, "random", tmp_path, epoch, 4) for epoch in (0, 1))
    assert sorted(first[:30]) == sorted(second[:30]) == list(range(30))
    assert first[30:] == first[:2]
    assert first != second
    assert first == rows(30, "random", tmp_path, 0, 4)


def test_a_short_last_batch_has_as_many_outliers_as_a_full_one(tmp_path) -> None:
    training = Training(epochs=4, batch_size=4)
    outliers = outlier_batches(numbered(100), training, run(tmp_path), name="numbers", order="sequential")
    assert outliers(batch(0, 3, size=1)).flatten().tolist() == list(range(24, 32))


def test_which_set() -> None:
    one, two = image_set(5), image_set(6)
    assert outlier_set(replace(problem(9), auxiliary={"a": one}), "", "here") is one
    assert outlier_set(replace(problem(9), auxiliary={"a": one, "b": two}), "b", "here") is two
    photographs = {"frost_imagenet": two, "frost_cifar": two}  # no outliers
    assert outlier_set(replace(problem(9), auxiliary={**photographs, "a": one}), "", "here") is one
    for auxiliary, name, message in (
        ({}, "", "needed from one auxiliary set; the benchmark has none"),
        ({"a": one, "b": two}, "", "needed from one auxiliary set; the benchmark has a, b"),
        ({"a": one}, "c", "the auxiliary set 'c'; the benchmark has a"),
    ):
        with pytest.raises(ReproodError, match=f"here: .*{message}"):
            outlier_set(replace(problem(9), auxiliary=auxiliary), name, "here")
