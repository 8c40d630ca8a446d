"""Other code bases' metric rules against scikit-learn and against loops, with ties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from reprood.evaluate import variants

TIED = hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(0, 12).map(float))
PAIRS = st.tuples(TIED, TIED)


def joined(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]


@settings(max_examples=300, deadline=None)
@given(PAIRS)
def test_trapezoid_area_equals_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = joined(*pair)
    for ood_positive in (False, True):
        y, s = (1 - truth, -scores) if ood_positive else (truth, scores)
        precision, recall, _ = sklearn_metrics.precision_recall_curve(y, s)
        area = sklearn_metrics.auc(recall, precision)
        assert variants.trapezoid_aupr(*pair, ood_positive=ood_positive) == pytest.approx(area, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_nearest_recall_by_a_loop(pair: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = pair
    best, rate = np.inf, np.nan
    vertices = []
    for t in np.unique(np.r_[inside, outside]):  # from strict to loose: OOD is positive
        vertices.append((np.mean(outside <= t), np.mean(inside <= t)))
        if vertices[-1][0] == 1:
            break
    for recall, false in vertices[::-1]:
        if abs(recall - 0.95) < best:
            best, rate = abs(recall - 0.95), false
    assert variants.oe_fpr(inside, outside) == pytest.approx(rate, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(PAIRS, st.randoms(use_true_random=False))
def test_oscr_by_a_loop(pair: tuple[np.ndarray, np.ndarray], chance: object) -> None:
    inside, outside = pair
    right = np.array([chance.random() < 0.6 for _ in inside])  # type: ignore[attr-defined]
    points = [(0.0, 0.0)]
    for t in np.unique(np.r_[inside, outside])[::-1]:
        points.append((float(np.mean(outside >= t)), float(np.mean(right & (inside >= t)))))
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))
    assert variants.oscr(inside, right, outside) == pytest.approx(area, abs=1e-12)


def test_arpl_is_pessimistic_on_ties_and_below_100_on_perfect_separation() -> None:
    assert variants.arpl_metrics(np.zeros(5), np.zeros(4))["AUROC"] == 0.0
    perfect = variants.arpl_metrics(np.arange(40) + 100.0, np.arange(20.0))
    assert perfect["AUROC"] == pytest.approx(100)
    assert perfect["AUIN"] == pytest.approx(98.75)
    assert variants.arpl_oscr(np.array([3.0, 2.0]), np.array([True, True]), np.array([1.0])) < 1
