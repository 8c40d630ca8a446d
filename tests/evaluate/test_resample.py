"""Scores of an ensemble of seeds: means by hand, and what is refused."""

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate.resample import Scores, ensemble, replicate_detection


def test_an_ensemble_has_one_value_for_every_seed() -> None:
    seeds = [
        Scores(np.array([1.0, 5.0]), {"far": np.array([0.0, 3.0, 2.0]), "near": np.array([4.0])}),
        Scores(np.array([5.0, 1.0]), {"far": np.array([4.0, 1.0, 2.0]), "near": np.array([0.0])}),
    ]
    together = ensemble(seeds)
    assert len(together) == 2
    np.testing.assert_array_equal(together[0].in_distribution, [3, 3])
    np.testing.assert_array_equal(together[0].outliers["far"], [2, 2, 2])
    found = replicate_detection([together, seeds], "auroc", np.random.default_rng(0), 10)
    assert found.observed[0].tolist() == [1.0, 1.0]  # each seed alone confuses some
    assert found.observed[1].max() < 1


def test_other_samples_are_refused() -> None:
    seeds = [Scores(np.zeros(2), {"far": np.zeros(size)}) for size in (3, 4)]
    with pytest.raises(ReproodError, match="same test samples"):
        ensemble(seeds)
