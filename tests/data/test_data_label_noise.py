"""Label noise and its reference values (those are in test_data_styles): draws, extremes, small trusted shares."""

import subprocess
import sys

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.data.label_noise import corrupt_labels, corruption_matrix, gold_rows


def test_one_draw_for_each_label_in_order() -> None:
    """Drawn by hand: a uniform number each, looked up in the cumulated row of the label's class."""
    labels = np.random.default_rng(0).integers(0, 5, 300)
    matrix = corruption_matrix(5, "uniform", 0.7, seed=9)
    random = np.random.RandomState(9)
    wanted = []
    for label in labels:
        draw, total, noisy = random.random_sample(), matrix[label, 0], 0
        while draw >= total:
            noisy += 1
            total += matrix[label, noisy]
        wanted.append(noisy)
    found = corrupt_labels(labels, 5, "uniform", 0.7, seed=9)
    assert found.dtype == np.int64
    assert found.tolist() == wanted
    assert np.array_equal(found[:100], corrupt_labels(labels[:100], 5, "uniform", 0.7, seed=9))
    assert not np.array_equal(found, corrupt_labels(labels, 5, "uniform", 0.7, seed=10))


def test_global_random_numbers_are_left_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    corrupt_labels(np.arange(4), 4, "flip", 0.5)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("kind", ["uniform", "flip", "hierarchical"])
def test_no_noise_and_nothing_but_noise(kind: str) -> None:
    labels, groups = np.arange(60) % 6, [0, 0, 0, 1, 1, 1]
    assert np.array_equal(corrupt_labels(labels, 6, kind, 0.0, superclasses=groups), labels)
    noisy = corrupt_labels(labels, 6, kind, 1.0, superclasses=groups)
    if kind == "uniform":
        assert (noisy == labels).any()  # drawn from all classes, the right one among them
    else:
        assert (noisy != labels).all()
    if kind == "hierarchical":
        assert np.array_equal(noisy // 3, labels // 3)
    if kind == "flip":
        assert all(len(set(noisy[labels == label])) == 1 for label in range(6))


def test_below_five_percent_every_class_has_as_many_trusted_images() -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(4), 250))
    chosen = gold_rows(labels, 4, 0.04)
    assert chosen.sum() == 40
    for label in range(4):
        rows = np.flatnonzero(labels == label)
        assert np.array_equal(np.flatnonzero(chosen & (labels == label)), rows[:10])
    assert np.array_equal(np.flatnonzero(gold_rows(labels, 4, 0.05)), np.arange(50))


def test_too_few_trusted_images_for_a_class() -> None:
    with pytest.raises(ReproodError, match="leaves class 0 without images; raise 'trusted'"):
        gold_rows(np.arange(100) % 10, 10, 0.04)


def test_without_torch() -> None:
    code = "import sys, reprood.data.label_noise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
