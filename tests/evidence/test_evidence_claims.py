"""Which claims are open, and what their next look needs."""

import math
from pathlib import Path

import fabricate
import pandas as pd
import pytest
from toy_paper import PAPER

from reprood.config.looks import Looks
from reprood.evidence.choose import Look
from reprood.evidence.claims import next_looks, outcomes, planned, replicates
from reprood.evidence.loop import State
from reprood.pipeline.plan import Plan

LOOKS = Looks(looks=(3, 5, 10), weights=(0.2, 0.3, 0.5))
ARMS = (("toy", "good"), ("toy", "erm"))


def row(claim="c1", **changes) -> dict:
    return {
        "paper": "toy", "claim": claim, "exploratory": False, "kind": "difference", "benchmark": "toy",
        "verdict": "open", "reason": "", "effect": 0.05, "standard_error": 0.01, "freedom": 2.0, "n_seeds": 3,
        "margin": 0.0, "relevant": math.nan, "better": "higher", "sample_error": 0.0, "sample_freedom": 99.0, **changes,
    }  # fmt: skip


def looks(*rows, **changes):
    return next_looks(pd.DataFrame(rows), [PAPER], fabricate.suite(**changes), LOOKS)


def test_an_open_claim_has_its_remaining_looks():
    second, third = looks(row())
    assert (second.claim, second.arms, second.number, second.replicates) == ("toy/c1", ARMS, 2, 5)
    assert (third.claim, third.arms, third.number, third.replicates) == ("toy/c1", ARMS, 3, 10)
    assert 0.0 < second.value < third.value < 1.0


def test_test_images_limit_what_replicates_can_decide():
    alone = looks(row())[-1].value
    shared = looks(row(standard_error=math.hypot(0.01, 0.03), sample_error=0.03))[-1].value
    assert shared < alone


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "supported at reduced scale"},
        {"verdict": "contradicted"},
        {"verdict": "smaller than relevant"},
        {"verdict": "baseline not representative"},
        {"verdict": "not judged at this scale"},
        {"reason": "given up: p = 0.5"},
        {"reason": "the runs did not store the score", "standard_error": math.nan},
    ],
)
def test_replicates_cannot_help(changes):
    assert looks(row(**changes)) == []


def test_before_the_first_look_the_value_is_one():
    (found,) = looks(row(reason="2 of 3 replicates for the first look", standard_error=math.nan), seeds=[0, 1])
    assert (found.number, found.replicates, found.value) == (1, 3, 1.0)


def test_the_arm_with_the_fewest_replicates_counts():
    suite = fabricate.suite().model_copy(update={"replicates": {"toy": {"good": 10}}})
    assert replicates(suite) == {("toy", "erm"): 3, ("toy", "good"): 10, ("toy", "same"): 3, ("toy", "broken"): 3}
    found, *_ = next_looks(pd.DataFrame([row()]), [PAPER], suite, LOOKS)
    assert found == Look("toy/c1", ARMS, 2, 5, found.value)


def test_after_the_last_look_there_is_none():
    assert looks(row(n_seeds=10), seeds=list(range(10))) == []


def test_a_larger_effect_is_worth_more_and_a_larger_family_less():
    (small, _), (large, _) = looks(row(effect=0.04)), looks(row(effect=0.08))
    assert small.value < large.value
    one, *_ = looks(row(effect=0.08), row("c0", verdict="contradicted"))
    two, *_ = looks(row(effect=0.08), row("c0", verdict="baseline not representative"))
    assert two.value < one.value == large.value


def test_planned_numbers_only_grow():
    known = {"toy": {"erm": 5}, "other": {"erm": 3}}
    assert planned({("toy", "erm"): 3, ("toy", "good"): 10, ("toy", "same"): 0}, known) == {
        "toy": {"erm": 5, "good": 10},
        "other": {"erm": 3},
    }


def test_outcomes_count_claims_that_are_given_up_apart():
    table = pd.DataFrame(
        [row(), row("c0", reason="given up: p = 0.5"), row("c2", exploratory=True), row("c3", verdict="contradicted")]
    )
    assert outcomes(table).to_dict() == {"open": 1, "open, given up": 1, "contradicted": 1}


def test_what_is_planned_for_a_selection_is_kept_when_more_is_planned(tmp_path):
    root = Path(__file__).parents[2]

    def state() -> State:
        return State(Plan({"suite": "quick", "claims": "main"}, root, work=tmp_path), tmp_path, (), None)

    for name, arms in (("first", ["cutmix", "erm"]), ("second", ["godin_c"])):
        state().plan_looks([Look(name, tuple(("fashion_ood", arm) for arm in arms), 2, 10, 0.5, False)])
    numbers = state().have
    assert [numbers["fashion_ood", arm] for arm in ("cutmix", "erm", "godin_c")] == [10, 10, 10]
