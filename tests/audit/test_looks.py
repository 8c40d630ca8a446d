"""Looks, the correction of main claims, futility and projections: on numbers with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reprood.audit.claims import Claim
from reprood.audit.comparisons import Finding, Piece
from reprood.audit.decide import holm
from reprood.audit.looks import Judged, correct, given_up, judge_at, stages
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.audit.projection import Result, probability, projected_p
from reprood.config.looks import Look, Looks
from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.resample import Replicates

LOOKS = Looks(looks=(5, 10, 20, 40), weights=(0.1, 0.2, 0.3, 0.4))
CLAIM = Claim.model_validate(
    {"id": "c", "statement": "S.", "kind": "difference", "metric": "area", "study": "toy", "better": "higher",
     "sides": [{"method": "a"}, {"method": "b"}]}
)  # fmt: skip
PAPER = Paper.model_validate(
    {"id": "toy", "title": "T", "authors": "A", "venue": "V", "year": 2020, "summary": "S", "method": "M", "arms": {},
     "claims": [CLAIM.model_dump()]}
)  # fmt: skip


def piece(first: np.ndarray, second: np.ndarray) -> Piece:
    values = [np.asarray(first, float), np.asarray(second, float)]
    found = Replicates(values, [np.tile(one, (2, 1)) for one in values], 0, 0)
    return Piece((Part("a", "-"), Part("b", "-")), ("s", "s"), tuple(range(len(first))), found, "higher")


def finding(p: float, smaller: float = 1.0) -> Finding:
    return Finding(None, Interval(0, -1, 1, 0.95, 1, 5, 0, 0, 4), ("a", "b"), (0, 0), p, smaller)


def judged(*p: float, smaller: tuple[float, ...] = ()) -> Judged:
    pairs = zip(p, smaller or (1.0,) * len(p), strict=True)
    return Judged(LOOKS.stages()[: len(p)], tuple(finding(a, b) for a, b in pairs))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"looks": (2, 4)}, "ascending numbers of replicates from 3 on"),
        ({"looks": (5, 5)}, "ascending"),
        ({"weights": (0.5,)}, "need as many weights"),
        ({"weights": (0.5, 0.4)}, "sum is 1"),
        ({"weights": (1.2, -0.2)}, "positive"),
        ({"futility": 1.0}, "futility"),
    ],
)
def test_looks_that_make_no_sense(change, words):
    with pytest.raises(ValueError, match=words):
        Looks.model_validate({"looks": (5, 10), "weights": (0.5, 0.5), **change})


def test_a_look_uses_exactly_its_first_replicates():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1.0, 1, 12), rng.normal(0, 1, 12)
    found = judge_at(CLAIM, PAPER, [piece(first, second)], range(12), LOOKS.reached(12))
    assert [look.replicates for look in found.looks] == [5, 10]
    for n, one, weight in zip((5, 10), found.findings, (0.1, 0.2), strict=True):
        theirs = stats.ttest_rel(first[:n], second[:n])
        assert one.p == pytest.approx(theirs.pvalue)
        ends = theirs.confidence_interval(1 - 0.05 * weight)
        assert (one.interval.low, one.interval.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(min(1.0, found.findings[0].p / 0.1, found.findings[1].p / 0.2))


def test_the_reported_look_decides_or_is_the_last():
    assert judged(0.004, 0.03).reported()[0].number == 1
    assert judged(0.006, 0.009).reported()[0].number == 2
    assert judged(0.006, 0.9).reported()[0].number == 2, "0.06 is not below 5 %, so the last look counts"
    assert judged(0.9, 0.9, smaller=(1.0, 0.001)).reported(smaller=True)[0].number == 2
    assert judged(0.5).p == 1.0


def test_looks_that_are_reached():
    assert stages(LOOKS, 4, fixed=False) == ()
    assert stages(LOOKS, 4, fixed=True) == (Look(0, 4, 1.0),), "a study's number of seeds is fixed"
    assert [look.number for look in stages(LOOKS, 25, fixed=True)] == [1, 2, 3]
    assert stages(None, 3, fixed=False) == (Look(0, 3, 1.0),)


def test_claims_that_are_not_run_count_with_one():
    alone = correct([judged(0.003)])[0]
    assert (alone.decided, alone.p) == (True, pytest.approx(0.03))
    outcomes = correct([judged(0.003), None])
    assert (outcomes[0].decided, outcomes[0].p) == (False, pytest.approx(0.06))
    assert (outcomes[1].decided, outcomes[1].smaller, outcomes[1].p) == (False, False, 1.0)


def test_smaller_than_relevant_has_bonferronis_level_and_no_decision():
    """Its p is 0.02 / 0.1 over the looks, times the number of claims."""
    one = judged(0.9, smaller=(0.004,))
    assert correct([one])[0].smaller
    assert not correct([one, None])[0].smaller
    decided = correct([judged(0.001, smaller=(0.001,))])[0]
    assert (decided.decided, decided.smaller) == (True, False)


def test_holm_keeps_a_reserve_for_the_other_hypotheses():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # factors 3, 2 / (1 - 1/6), 1 / (1 - 2/6)
    assert holm([0.01, 0.04, 0.02], beside=3) == pytest.approx([0.03, 0.06, 0.048])
    assert holm([0.01, 0.04, 0.02], beside=1) == pytest.approx([0.03, 0.048, 0.048])


def test_the_reserve_counts_claims_that_state_a_relevant_effect():
    first, second = judged(0.0001), judged(0.0012, smaller=(1.0,))
    assert [outcome.p for outcome in correct([first, second])] == pytest.approx([0.002, 0.012])
    family = [replace(one, relevant=True) for one in (first, second)]
    # p of the other hypothesis may be 1 and it is tested all the same: the second factor is 1 / (1 - 1 / 4)
    assert [outcome.p for outcome in correct(family)] == pytest.approx([0.002, 0.016])


def test_projection_to_more_replicates():
    result = Result(1.0, 1.0, 4, 5, "difference", "higher", 0.0, relevant=3.0)
    decided, smaller = projected_p(result, 20)
    assert decided == pytest.approx(2 * stats.t.sf(2.0, 19))
    assert smaller == pytest.approx(2 * stats.t.sf(4.0, 19))
    units = Result(1.0, 1.0, 4, 10, "difference", "higher", 0.0)
    assert units.freedom_with(40) == 4, "five classes stay five"


def test_the_predictive_probability_is_that_of_a_simulation():
    """Effect of one standard error at n = 5, judged at n = 10: draw means and variances from their posterior."""
    result = Result(0.5, 0.4, 4, 5, "difference", "higher", 0.0)
    rng = np.random.default_rng(1)
    base = rng.normal(size=5)
    base = 0.5 + (base - base.mean()) / base.std(ddof=1) * 0.4 * np.sqrt(5)
    hits, trials = 0, 4000
    for _ in range(trials):
        sigma = np.sqrt(0.16 * 5 * 4 / rng.chisquare(4))
        mu = 0.5 + sigma * rng.normal() / np.sqrt(5)
        hits += stats.ttest_1samp(np.append(base, rng.normal(mu, sigma, 5)), 0).pvalue < 0.05
    assert probability(result, 10, 0.95) == pytest.approx(hits / trials, abs=0.03)
    sure = Result(5.0, 0.4, 4, 5, "difference", "higher", 0.0)
    assert probability(sure, 10, 0.95) > 0.99
    against = Result(-5.0, 0.4, 4, 5, "difference", "higher", 0.0)
    assert probability(against, 10, 0.95) > 0.99, "a contradiction is a decision"
    assert probability(Result(0.0, 0.1, 4, 5, "difference", "higher", 0.0), 10, 0.95) < 0.3
    assert probability(Result(0.0, 0.1, 4, 5, "difference", "higher", 0.0, relevant=1.0), 10, 0.95) > 0.9


@pytest.mark.parametrize(
    ("estimate", "relevant", "gives_up"), [(0.2, 0.0, True), (1.0, 0.0, False), (0.2, 2.0, False), (0.2, 0.3, True)]
)
def test_a_claim_is_given_up_when_many_replicates_would_not_help(estimate, relevant, gives_up):
    """With 40 instead of 5 replicates the standard error of 1 becomes 0.354."""
    found = Finding(None, Interval(estimate, -9, 9, 0.95, 1.0, 5, 0, 0, 4), ("a", "b"), (0, 0), 0.5, better="higher")
    claim = CLAIM.model_copy(update={"relevant": relevant})
    text = given_up(claim, Judged(LOOKS.stages()[:1], (found,)), LOOKS)
    assert bool(text) == gives_up
    if text:
        assert text.startswith("given up: even 40 replicates")
    assert not given_up(claim, Judged(LOOKS.stages(), (found,) * 4), LOOKS), "the last look is no time to give up"
