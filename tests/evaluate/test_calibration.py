"""Calibration errors and temperature scaling against plain computations."""

import numpy as np
import pytest
from scipy.special import log_softmax

from reprood.core.errors import ReproodError
from reprood.evaluate.calibration import (
    TEMPERATURES,
    Confidence,
    fit_temperature,
    replicate_calibration,
    rms_calibration_error,
)


def rms_by_hand(confidence: np.ndarray, right: np.ndarray, size: int) -> float:
    order = np.argsort(confidence, kind="stable")
    full = max(len(order) // size, 1)
    bins = [order[i * size : (i + 1) * size] for i in range(full - 1)] + [order[(full - 1) * size :]]
    parts = [len(rows) / len(order) * (confidence[rows].mean() - right[rows].mean()) ** 2 for rows in bins]
    return float(np.sqrt(sum(parts)))


@pytest.mark.parametrize("count", [7, 100, 250, 999])
def test_the_rms_error_is_the_sum_over_bins(count: int) -> None:
    random = np.random.default_rng(count)
    confidence = np.round(random.uniform(0.2, 1, count), 2)  # with ties
    right = random.uniform(size=count) < confidence**2
    expected = rms_by_hand(confidence, right.astype(float), 100)
    assert rms_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)


def test_the_fitted_temperature_is_the_best_of_a_fine_grid_and_undoes_a_scaling() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(2000, 5))
    labels = np.array([random.choice(5, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    found = fit_temperature(3 * logits, labels)
    assert found == pytest.approx(3, rel=0.1)
    grid = np.linspace(2, 4, 2001)
    losses = [-log_softmax(3 * logits / t, axis=1)[np.arange(2000), labels].mean() for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=0.001)
    assert fit_temperature(logits, logits.argmax(axis=1)) == pytest.approx(TEMPERATURES[0], rel=1e-3)


def test_replicates_see_the_same_draw_and_scatter_around_the_observed_error() -> None:
    random = np.random.default_rng(1)
    values = random.uniform(0.5, 1, 1000)
    run = Confidence(values, random.uniform(size=1000) < values - 0.2)
    found = replicate_calibration([[run], [run, run]], "ece15", np.random.default_rng(2), 50)
    assert np.array_equal(found.resampled[0][:, 0], found.resampled[1][:, 1])
    assert found.observed[0][0] == pytest.approx(0.2, abs=0.04)
    assert np.abs(found.resampled[0] - found.observed[0]).max() < 0.08
    assert (found.n_id, found.n_ood) == (1000, 0)
    with pytest.raises(ReproodError, match="same test images"):
        replicate_calibration([[run], [Confidence(values[:5], run.right[:5])]], "ece15", np.random.default_rng(2), 2)
