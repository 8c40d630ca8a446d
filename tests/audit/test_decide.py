"""Decisions from intervals: p values and the correction for many claims."""

import numpy as np
import pytest
from scipy import stats

from reprood.audit.claims import largest
from reprood.audit.decide import holm, judge, p_values, two_sided
from reprood.evaluate.bootstrap import Interval


@pytest.mark.parametrize(
    ("kind", "better", "low", "high", "margin", "holds"),
    [
        ("difference", "higher", 0.1, 0.2, 0, True),
        ("difference", "higher", -0.1, 0.2, 0, None),
        ("difference", "higher", -0.2, -0.1, 0, False),
        ("difference", "lower", -0.2, -0.1, 0, True),
        ("difference", "higher", 0.1, 0.2, 0.15, None),
        ("non_inferior", "higher", -0.1, 0.2, 0.15, True),
        ("non_inferior", "lower", -0.2, 0.1, 0.15, True),
        ("non_inferior", "lower", 0.16, 0.3, 0.15, False),
        ("equivalent", "higher", -0.1, 0.1, 0.15, True),
        ("equivalent", "higher", -0.1, 0.2, 0.15, None),
        ("equivalent", "higher", 0.2, 0.3, 0.15, False),
    ],
)
def test_judge(kind, better, low, high, margin, holds):
    assert judge(kind, Interval((low + high) / 2, low, high, 0.95, 0, 3, 10, 10), better, margin) is holds


# --- p values and the correction for many claims ---


@pytest.mark.parametrize("kind", ["difference", "non_inferior", "equivalent"])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_p_values_say_what_the_interval_says(kind, better):
    """Below 5 % exactly when the 95 % interval decides."""
    chance = np.random.default_rng(3)
    seen = set()
    for _ in range(300):
        estimate, error, freedom, margin = chance.normal(0, 2), chance.uniform(0.1, 1), chance.uniform(2, 30), 1.0
        half = stats.t.ppf(0.975, freedom) * error
        found = Interval(estimate, estimate - half, estimate + half, 0.95, error, 3, 10, 10, freedom)
        holds = judge(kind, found, better, margin)
        inside, outside = p_values(kind, found, better, margin)
        assert (two_sided([(inside, outside)]) < 0.05) == (holds is not None)
        if holds is not None:
            assert (inside < outside) == holds
        seen.add(holds)
    assert seen == {True, False, None}


def test_an_interval_without_width_is_certain():
    found = Interval(1.0, 1.0, 1.0, 0.95, 0.0, 3, 10, 10)
    assert (found.above(0.5), found.above(1.0), found.below(1.5), found.below(1.0)) == (0.0, 1.0, 0.0, 1.0)


def test_a_claim_of_several_steps_holds_when_all_do_and_is_denied_by_one():
    assert two_sided([(0.001, 0.9), (0.02, 0.7)]) == pytest.approx(0.04)
    assert two_sided([(0.9, 0.001), (0.4, 0.6)]) == pytest.approx(0.004)
    assert two_sided([(0.6, 0.5)]) == 1.0


def test_holm_against_its_definition():
    """The k-th smallest of m p values is multiplied by m - k + 1, never below one before it (Holm 1979)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("metric", "top"), [("top1_error", 100.0), ("auroc", 1.0)])
def test_intervals_stay_in_the_possible_range(metric, top):
    """Three members that disagree give t intervals that reach beyond a difference of 100 points."""
    wide = Interval(0.78 * top, 0.14 * top, 1.42 * top, 0.95, 0.15 * top, 3, 10, 10, 2.0)
    cut = wide.within(-top, top)
    assert (cut.low, cut.high) == (wide.low, top)
    assert [cut.above(0.1 * top), cut.below(0.1 * top)] == [wide.above(0.1 * top), wide.below(0.1 * top)]
    assert largest(metric) == top
    assert largest(metric, study="a_study") == np.inf
