"""Ranks, top-k error and calibration error."""

import numpy as np
import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.evaluate.classification import expected_calibration_error, top_k_error
from reprood.predict.forward import label_ranks


def ranks_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return label_ranks(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()


def test_ranks_and_errors_by_hand() -> None:
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [5.0, 5.0, 1.0]])
    ranks = ranks_of(logits, np.array([0, 2, 0, 1]))
    assert ranks.tolist() == [0, 2, 2, 1]
    assert [top_k_error(ranks, k) for k in (1, 2, 3, 5)] == [75.0, 50.0, 0.0, 0.0]


def test_rank_zero_is_argmax_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 3, (500, 4)).astype(float)
    labels = rng.integers(0, 4, 500)
    assert ((ranks_of(logits, labels) == 0) == (logits.argmax(1) == labels)).all()


def test_refuses_samples_without_labels() -> None:
    with pytest.raises(ReproodError, match="2 of 3 samples have no label"):
        top_k_error(np.array([0, -1, -1]), 1)
    with pytest.raises(ReproodError, match="at least one sample"):
        top_k_error(np.array([]), 1)


def test_calibration_error_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    confidence = np.concatenate([rng.uniform(0.1, 1, 2000), [0.0, 1.0, 1 / 15, 2 / 15]])
    right = rng.random(len(confidence)) < confidence**2
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if b == 0:
            inside |= confidence == 0
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error(np.ones(10), np.arange(10) < 7) == pytest.approx(0.3)


def test_calibration_error_refuses_what_is_no_probability() -> None:
    with pytest.raises(ReproodError, match=r"\[0, 1\]"):
        expected_calibration_error(np.array([0.2, 1.5]), np.array([True, False]))
    with pytest.raises(ReproodError, match=r"\[0, 1\]"):
        expected_calibration_error(np.array([np.nan]), np.array([True]))
