"""Rows of verdicts: looks, the gate on the baseline, the row that counts, and families of members."""

from dataclasses import dataclass

import fabricate
import numpy as np
import pandas as pd
import pytest

from reprood.audit.cases import GATED, NOT_JUDGED, REDUCED, Case, counted
from reprood.audit.claims import Claim
from reprood.audit.explanations import explain, few_members
from reprood.audit.families import FamilyEvidence
from reprood.audit.papers import Paper
from reprood.audit.regime import Regime, unrepresentative
from reprood.audit.studies import StudyEvidence
from reprood.audit.verdicts import audit, name_of
from reprood.config.benchmark import Gate
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates
from reprood.studies.run import Findings, write_findings

SIDES = [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}]
AUROC = {"kind": "difference", "metric": "auroc", "split": "mean_all", "better": "higher", "sides": SIDES}
STUDY = {"kind": "difference", "metric": "area", "study": "toy", "better": "higher"}
ARMS = {name: {"means": name} for name in ("good", "erm", "mixup")}
BENCHMARK = fabricate.SUITE["benchmarks"]["toy"]


def paper(*claims) -> Paper:
    return Paper.model_validate({**fabricate.paper(*claims), "arms": ARMS})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("verdicts")
    fabricate.results(path, runs=[{"benchmark": "toy", "methods": ["erm", "good"]}])
    rng = np.random.default_rng(4)
    values = [
        {"seed": seed, "arm": arm, "metric": "area", "value": 5 * (arm == "good") + rng.normal()}
        for seed in range(6)
        for arm in ("good", "erm")
    ]
    write_findings("areas", Findings(values), path / "studies" / "areas")
    return path


def rows(folder, tmp_path, *claims, **changes) -> pd.DataFrame:
    suite = fabricate.suite(
        runs=[{"benchmark": "toy", "methods": ["erm", "good"]}],
        studies={"areas": {"use": "toy", "title": "Areas", "seeds": list(range(6))}},
        **changes,
    )
    return audit(suite, [paper(*claims)], folder, folder / "studies", tmp_path / "verdicts.csv")


LOOKS = {"looks": [3, 6, 12], "weights": [0.2, 0.3, 0.5]}


def test_a_verdict_names_its_look_and_has_its_level(folder, tmp_path):
    claim = {**STUDY, "sides": [{"method": "good"}, {"method": "erm"}]}
    missing = {**AUROC, "sides": [SIDES[0], {"method": "mixup", "score": "msp"}]}
    found = rows(folder, tmp_path, claim, missing, evidence=LOOKS).iloc[0]
    assert (found["look"], found["looks"], found["n_seeds"], found["level"]) == (2, 3, 6, 1 - 0.05 * 0.3)
    assert found["verdict"] == "supported at reduced scale"
    assert "look 2 of 3 (6 replicates)" in found["reason"]
    assert "the 98.5 % interval of the difference" in found["reason"]
    evidence = StudyEvidence("areas", "toy", folder / "studies/areas/values.csv")
    first, second = (evidence._numbers(arm, "area").to_numpy() for arm in ("good", "erm"))
    wanted = contrast(
        Replicates([first, second], [np.tile(first, (2, 1)), np.tile(second, (2, 1))], 0, 0), [1, -1], 0.985, ["s", "s"]
    )
    assert (found["low"], found["high"]) == pytest.approx((wanted.low, wanted.high))
    assert found["standard_error"] == pytest.approx(wanted.standard_error)
    assert found["freedom"] == 5
    p = 2 * wanted.above(0) / 0.3
    assert found["p"] == pytest.approx(p)
    assert found["p_holm"] == pytest.approx(2 * p), "the claim that is not run counts"
    assert "corrected for 2 main claims" in found["reason"]


def test_before_the_first_look_a_claim_is_open(folder, tmp_path):
    found = rows(folder, tmp_path, AUROC, evidence={"looks": [5, 10], "weights": [0.5, 0.5]}).iloc[0]
    assert (found["verdict"], found["reason"]) == ("open", "3 of 5 replicates for the first look")
    assert found["p_holm"] == 1.0


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"auroc": [0.8, 0.97]}, "Cross-entropy has 70.3 % AUROC, below the 80 % that we require of a baseline"),
        ({"loss": 0.1}, "the training loss of Cross-entropy ends at 0.29, above the 0.1 that we allow"),
        ({"loss": 0.3}, ""),
    ],
)
def test_a_baseline_outside_of_its_bounds(folder, tmp_path, gate, words):
    benchmarks = {"toy": {**BENCHMARK, "gate": {"accuracy": 0.3, **gate}}}
    for claim, closed in ((AUROC, bool(words)), ({**AUROC, "gate": False, "note": "on purpose"}, False)):
        found = rows(folder, tmp_path, claim, benchmarks=benchmarks).iloc[0]
        assert (found["verdict"] == GATED) == closed, found["reason"]
        assert found["effect"] == pytest.approx(found["value_first"] - found["value_second"])
        if closed:
            assert words in found["reason"]
            assert found["p_holm"] == 1.0
            assert np.isnan(found["p"])


def test_an_interval_beyond_zero_that_its_steps_leave_open_is_not_said_to_include_zero():
    record = {"id": "c", "statement": "S.", "kind": "ordering", "metric": "top1_error", "better": "lower"}
    claim = Claim.model_validate({**record, "sides": [{"method": name} for name in ("good", "mixup", "erm")]})
    beyond, around = (Interval(2.8, low, 5.4, 0.985, 1.0, 20, 9, 0) for low in (0.2, -0.2))
    assert explain(claim, None, beyond, np.nan) == (
        "the 98.5 % interval of the weakest step, +0.20 to +5.40 points, lies above zero; corrected for the number of "
        "steps it is not significant"
    )
    assert "includes zero; more seeds or test images are needed" in explain(claim, None, around, np.nan)


def test_a_baseline_is_named_with_the_score_that_is_not_the_default(folder, tmp_path):
    benchmarks = {"toy": {**BENCHMARK, "gate": {"accuracy": 0.3, "auroc": [0.99, 1]}}}
    claim = {**AUROC, "sides": [{**side, "score": "own"} for side in SIDES]}
    found = rows(folder, tmp_path, claim, benchmarks=benchmarks).iloc[0]
    assert found["reason"].startswith("Cross-entropy (score own) has ")


@pytest.mark.parametrize(
    ("metric", "split", "values", "what"),
    [
        ("top1_error", "test", (71.0, 73.0), ""),
        ("top1_error", "test", (72.0, 73.0), "e has 72.5 % error, above the 72 % that we allow"),
        ("top1_error", "test", (0.5, 0.9), "e has 0.7 % error, below the 1 % that we require"),
        ("top1_error", "attacked/pgd", (90.0, 94.0), ""),
        ("localisation_error", "test", (95.5, 97.0), "above the 95 %"),
        ("pixel_auroc", "test", (0.98, 0.99), "e has 98.5 % pixel AUROC, above the 97 %"),
    ],
)
def test_bounds_of_errors_and_maps(metric, split, values, what):
    sides = [{"method": "good"}, {"method": "erm"}]
    record = {"id": "c", "statement": "S.", "kind": "difference", "metric": metric, "split": split, "better": "lower"}
    claim = Claim.model_validate({**record, "sides": sides})
    text = unrepresentative(claim, "e", Regime(values, (), Gate(), classes=10))
    assert what in text
    assert bool(what) == bool(text)


def test_the_first_benchmark_that_can_decide_counts():
    record = paper(AUROC)
    claim = record.claims[0]
    cases = [
        Case(claim, record, {"benchmark": "a", "exploratory": False, "verdict": NOT_JUDGED, "reason": "r"}),
        Case(claim, record, {"benchmark": "b", "exploratory": False}),
        Case(claim, record, {"benchmark": "c", "exploratory": False}),
    ]
    plain = fabricate.suite()
    found = counted(claim, record, cases, plain)
    assert [(case.row["benchmark"], case.row["exploratory"], counts) for case, counts in found] == [
        ("b", False, True),
        ("c", True, False),
    ]
    named = counted(claim, record, cases, plain.model_copy(update={"judge": {"toy/c0": "c"}}))
    assert [(case.row["benchmark"], counts) for case, counts in named] == [("b", False), ("c", True)]
    elsewhere = counted(claim, record, cases[1:], plain.model_copy(update={"judge": {"toy/c0": "d"}}))
    assert [(case.row.get("verdict"), counts) for case, counts in elsewhere] == [
        ("not run", True),
        (None, False),
        (None, False),
    ]


def test_a_suite_that_names_an_unknown_claim_or_benchmark(folder, tmp_path):
    with pytest.raises(ReproodError, match="names the claim 'toy/c9', which no paper has"):
        rows(folder, tmp_path, AUROC, judge={"toy/c9": "toy"})
    with pytest.raises(ValueError, match="judge.toy/c0 names the benchmark 'mars'"):
        rows(folder, tmp_path, AUROC, judge={"toy/c0": "mars"})


@dataclass
class Member:
    """A stand-in for a member's results: every value is 100 * member + seed."""

    name: str
    level: int
    seeds: dict[str, tuple[int, ...]]

    def replicates(self, claim, parts, generator, seeds):
        values = [np.array([100.0 * self.level + seed for seed in seeds]) for _ in parts]
        draws = generator.normal(size=(3, 1))
        return Replicates(values, [values[0] + draws, values[1] + draws], 10, 20)


def test_replicates_of_a_family_are_in_the_order_of_seeds_with_their_units():
    """Five replicates on two members, seed r on member r mod 2; the second arm has fewer."""
    members = [
        Member("f_a", 0, {"good": (0, 2, 4), "erm": (0, 2)}),
        Member("f_b", 1, {"good": (1, 3)}),
        Member("f_c", 2, {"erm": (1, 3)}),
    ]
    record = paper(AUROC)
    family = FamilyEvidence("f", [members[0], Member("f_b", 1, {"good": (1, 3), "erm": (1, 3)})])
    assert family.seeds == {"good": (0, 1, 2, 3, 4), "erm": (0, 1, 2, 3)}
    parts = [type("P", (), {"method": name})() for name in ("good", "erm")]
    found = family.replicates(record.claims[0], parts, np.random.default_rng(0), (0, 1, 2, 3))
    assert found.observed[0].tolist() == [0, 101, 2, 103]
    assert found.units == (0, 1, 0, 1)
    assert (found.n_id, found.n_ood) == (20, 40)
    assert found.pooled
    with pytest.raises(ReproodError, match="replicate 1 of good, erm on two members"):
        FamilyEvidence("f", members).replicates(record.claims[0], parts, np.random.default_rng(0), (0, 1))
    with pytest.raises(ReproodError, match="runs good with seed 0 on two members"):
        FamilyEvidence("f", [members[0], Member("f_b", 1, {"good": (0,)})])


def test_reproduced_is_a_word_of_the_papers_scale():
    assert {name_of(holds, REDUCED) for holds in (True, False, None)} == {
        "supported at reduced scale",
        "contradicted",
        "open",
    }


def test_few_members_are_said_to_limit_an_interval(folder, tmp_path):
    even = {**STUDY, "sides": [{"method": "good"}, {"method": "erm"}], "margin": 5.0}
    found = rows(folder, tmp_path, even, evidence=LOOKS).iloc[0]
    assert found["reason"].count("; more seeds or test images are needed to decide") == 1
    few = Interval(0.1, -12.8, 44.5, 0.985, 10.0, 20, 500, 900, freedom=4.0)
    assert few_members(few) == (
        "; the interval rests on the benchmark's 5 members (4 degrees of freedom), so that more replicates hardly "
        "narrow it"
    )
