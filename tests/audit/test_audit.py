"""Verdicts on results with a known truth; mistakes in the papers' files."""

import subprocess
import sys
from fractions import Fraction

import fabricate
import numpy as np
import pytest
from toy_claims import AUROC, ERROR, HERE, fabricated, row, sides

from reprood.audit.explanations import CHANCE, worse_than_chance
from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit
from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.table import load_predictions

pytestmark = pytest.mark.usefixtures("few_replicates")

RMS = "rms_calibration_error"
UNGATED = {"gate": False, "note": "broken on purpose"}
ECE = {"metric": "ece15", "better": "lower", "kind": "difference", **UNGATED}


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "difference", "sides": sides(("erm", ""), ("good", ""))}, "contradicted"),
        ({**ERROR, "kind": "difference", "sides": sides(("same", ""), ("erm", ""))}, "open"),
        ({**ERROR, "kind": "difference", "margin": 20, "sides": sides(("good", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "non_inferior", "margin": 2, "sides": sides(("same", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "non_inferior", "margin": 2, "sides": sides(("erm", ""), ("good", ""))}, "contradicted"),
        ({**ERROR, "kind": "equivalent", "margin": 2, "sides": sides(("same", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "equivalent", "margin": 2, "sides": sides(("good", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "ordering", "gate": False, "note": "broken on purpose",
          "sides": sides(("good", ""), ("erm", ""), ("broken", ""))}, "supported"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("broken", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("erm", ""), ("same", ""))}, "open"),
        ({**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}, "supported"),
        ({**AUROC, "kind": "difference", "sides": sides(("erm", "msp"), ("good", "msp"))}, "contradicted"),
        ({**AUROC, "kind": "difference", "sides": sides(("erm", "own"), ("erm", "msp"))}, "supported"),
        (
            {**AUROC, "kind": "difference", "metric": "fpr95_id_positive", "better": "lower",
             "sides": sides(("good", "msp"), ("erm", "msp"))},
            "supported",
        ),
        ({**AUROC, "kind": "equivalent", "margin": 0.03, "sides": sides(("same", "msp"), ("erm", "msp"))}, "supported"),
        ({**ECE, "sides": sides(("good", "msp"), ("broken", "msp"))}, "supported"),
        ({**ECE, "sides": sides(("broken", "msp_scaled"), ("broken", "msp"))}, "supported"),
        ({**ECE, "metric": RMS, "sides": sides(("broken", "msp"), ("good", "msp"))}, "contradicted"),
        # The two scores rank the test images in the same order.
        ({**AUROC, **UNGATED, "split": "errors", "kind": "equivalent", "margin": 0.01,
          "sides": sides(("erm", "own"), ("erm", "msp"))}, "supported"),
    ],
)  # fmt: skip
def test_the_truth_is_found(folder, tmp_path, claim, verdict):
    found = row(folder, claim, tmp_path)
    wanted = f"{verdict} at reduced scale" if verdict == "supported" else verdict
    assert found["verdict"] == wanted, found["reason"]
    assert found["low"] <= found["effect"] <= found["high"]
    assert found["n_seeds"] == 3


@pytest.mark.parametrize(
    ("signs", "verdict", "as_stated"),
    [
        ({"*": "better"}, "supported", 2),
        ({"near_set": "better", "noise_set": "worse"}, "contradicted", 1),
        ({"noise_set": "better"}, "supported", 1),
    ],
)
def test_a_pattern_of_signs_over_sets(folder, tmp_path, signs, verdict, as_stated):
    claim = {**AUROC, "kind": "signs", "over": "sets", "signs": signs, "sides": sides(("good", "msp"), ("erm", "msp"))}
    found = row(folder, claim, tmp_path)
    assert found["verdict"] == (f"{verdict} at reduced scale" if verdict == "supported" else verdict), found["reason"]
    assert f"shown on {as_stated} of {len(signs) if '*' not in signs else 2} OOD sets" in found["reason"]
    assert found["split"] in ("near_set", "noise_set")
    equal = row(folder, {**claim, "sides": sides(("same", "msp"), ("erm", "msp"))}, tmp_path)
    assert equal["verdict"] == "open"


def test_a_denied_step_counts_only_with_their_number(folder, tmp_path):
    """`holds` is False exactly where the p value, corrected for the number of steps, says so."""
    claim = {**AUROC, "kind": "ordering", "sides": sides(("good", "msp"), ("erm", "msp"), ("same", "msp"))}
    found = row(folder, claim, tmp_path)
    assert (found["p"] < 0.05) == (found["verdict"] != "open")


def test_effects_are_first_minus_second(folder, tmp_path):
    found = row(folder, {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, tmp_path)
    assert found["effect"] == pytest.approx(found["value_first"] - found["value_second"])
    assert -15 < found["effect"] < -9
    assert found["n"] == fabricate.COUNT


def test_a_reduced_scale_never_reproduces(folder, tmp_path):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "published": ["a", "b"]}
    reduced, whole = row(folder, claim, tmp_path), row(folder, claim, tmp_path, scale="paper")
    assert reduced["verdict"] == "supported at reduced scale"
    assert whole["verdict"] == "reproduced"
    assert reduced["published_effect"] == -12
    assert "unverified citation" in reduced["published_source"]


def test_numbers_are_judged_at_the_papers_scale_only(folder, tmp_path):
    claim = {**ERROR, "kind": "equals", "margin": 6, "sides": sides(("good", "")), "published": ["a"], "where": HERE}
    assert row(folder, claim, tmp_path)["verdict"] == "not judged at this scale"
    found = row(folder, claim, tmp_path, scale="paper")
    assert found["verdict"] == "reproduced"
    assert "lies within the margin of 6 points around the published 8.00 %" in found["reason"]
    far = {**claim, "published": ["b"]}
    assert row(folder, far, tmp_path, scale="paper")["verdict"] == "contradicted"


def test_published_percents_are_compared_with_metrics_in_the_unit_interval(folder, tmp_path):
    claim = {
        **AUROC,
        "kind": "equals",
        "margin": 0.05,
        "sides": sides(("good", "msp")),
        "published": ["c"],
        "where": HERE,
    }
    found = row(folder, claim, tmp_path, scale="paper")
    assert found["verdict"] == "reproduced", found["reason"]
    assert found["published_effect"] == 0.94
    gain = {**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp")), "published": ["c", "d"]}
    found = row(folder, gain, tmp_path)
    assert found["published_effect"] == pytest.approx(0.23)
    low, high = 100 * found["low"], 100 * found["high"]
    assert f"+{low:.2f} to +{high:.2f} points, lies above zero" in found["reason"]


NAMED = {
    "benchmarks": {
        "toy": {
            **fabricate.SUITE["benchmarks"]["toy"],
            "means": {"both": {"sets": ["near_set", "noise_set"], "base_rate": "1/6"}, "near": ["near_set"]},
        }
    }
}


def test_a_claim_is_judged_on_its_named_mean_where_there_is_one(folder, tmp_path):
    claim = {**AUROC, "kind": "difference", "mean": "near", "sides": sides(("good", "msp"), ("erm", "msp"))}
    without, named = row(folder, claim, tmp_path), row(folder, claim, tmp_path, **NAMED)
    assert (without["split"], named["split"]) == ("mean_all", "near")
    assert (without["n_ood"], named["n_ood"]) == (2 * fabricate.COUNT, fabricate.COUNT)
    near = row(folder, {**claim, "mean": "", "split": "near_set"}, tmp_path)
    assert named["effect"] == near["effect"]


def test_aupr_is_judged_at_the_base_rate_of_the_mean(folder, tmp_path):
    claim = {**AUROC, "kind": "difference", "metric": "aupr_out", "sides": sides(("good", "msp"), ("erm", "msp"))}
    half, sixth = (row(folder, {**claim, "split": split}, tmp_path, **NAMED) for split in ("mean_all", "both"))
    values = []
    for seed in range(3):
        stored = load_predictions(folder / "runs" / "toy" / "good" / str(seed))
        known, *others = (stored.split(name)["score_msp"] for name in ("test", "near_set", "noise_set"))
        values += [detection_metrics(known, other, ["aupr_out"], Fraction(1, 6))["aupr_out"] for other in others]
    assert sixth["value_first"] == pytest.approx(np.mean(values))
    assert sixth["value_first"] < half["value_first"] - 0.05


def test_an_arm_may_have_another_name_in_a_suite(folder, tmp_path):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("plain", ""))}
    record = fabricated(claim)
    record["arms"]["plain"] = {"means": "baseline", "also": ["absent", "erm"]}
    paper = Paper.model_validate(record)
    table = audit(fabricate.suite(), [paper], folder, folder / "studies", tmp_path / "verdicts.csv")
    assert table.iloc[0]["second"] == "erm"
    assert table.iloc[0]["verdict"] == "supported at reduced scale"


def test_too_few_seeds(folder, tmp_path):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}
    found = row(folder, claim, tmp_path, seeds=[0, 1])
    assert (found["verdict"], found["reason"]) == ("open", "too few replicates: 2 here, the test needs 3")


def test_an_ensemble_of_seeds_is_compared_with_its_seeds(folder, tmp_path):
    """Averaged scores of independent seeds separate better; both sides are of the same runs."""
    side = {"method": "erm", "score": "msp"}
    found = row(folder, {**AUROC, "kind": "difference", "sides": [{**side, "ensemble": True}, side]}, tmp_path)
    assert (found["first"], found["second"]) == ("erm (msp, ensemble of seeds)", "erm (msp)")
    assert found["effect"] > 0


def test_one_seed_is_no_ensemble(folder, tmp_path):
    side = {"method": "erm", "score": "msp"}
    claim = {**AUROC, "kind": "difference", "sides": [{**side, "ensemble": True}, side], "min_seeds": 1}
    found = row(folder, claim, tmp_path, seeds=[0])
    assert (found["verdict"], found["reason"]) == (
        "open",
        "on “Toy”, an ensemble needs two seeds or more, and here is one",
    )


def test_a_failed_gate_stops_detection_claims_only(folder, tmp_path):
    found = row(folder, {**AUROC, "kind": "difference", "sides": sides(("erm", "msp"), ("broken", "msp"))}, tmp_path)
    assert found["verdict"] == "open"
    assert " classifies " in found["reason"]
    assert found["look"] == 0
    assert "% (seed 0), " in found["reason"]
    assert "below the accuracy gate of" in found["reason"]


def test_a_short_schedule_is_not_judged_whatever_the_result(folder, tmp_path):
    for pair in (("erm", "good"), ("good", "erm")):
        claim = {**ERROR, "kind": "difference", "min_steps": 101, "sides": sides(*((name, "") for name in pair))}
        found = row(folder, claim, tmp_path)
        assert found["verdict"] == "not judged at this scale"
        assert "trained too briefly to test: 100 updates here, at least 101 are needed" in found["reason"]
        assert np.isnan(found["p_holm"])
    assert row(folder, {**claim, "min_steps": 100}, tmp_path)["verdict"] == "supported at reduced scale"


def test_methods_that_did_not_run(folder, tmp_path):
    found = row(folder, {**ERROR, "kind": "difference", "sides": sides(("mixup", ""), ("erm", ""))}, tmp_path)
    assert (found["verdict"], found["reason"]) == ("not run", "this suite does not run mixup")
    detector = {**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "knn"))}
    assert row(folder, detector, tmp_path)["reason"] == "this suite does not run the detector knn"


@pytest.mark.parametrize(
    ("selection", "exploratory", "what"),
    [
        ("", True, "suite"),
        ("claims=main", False, "suite"),  # the whole suite runs no more of the main claims
        ("claims=main", True, "selection"),
        ("paper=toy; claims=main", False, "selection"),
    ],
)
def test_what_the_whole_suite_may_run_is_not_run_by_the_selection(folder, tmp_path, selection, exploratory, what):
    claim = {**ERROR, "kind": "difference", "sides": sides(("mixup", ""), ("erm", "")), "exploratory": exploratory}
    assert row(folder, claim, tmp_path, selection=selection)["reason"] == f"this {what} does not run mixup"


def test_best_of_several_scores_in_hindsight(folder, tmp_path):
    claim = {**AUROC, "kind": "non_inferior", "margin": 0.01, "sides": sides(("erm", "own"), ("erm", "o*"))}
    assert row(folder, claim, tmp_path)["effect"] == 0


def test_a_detector_that_no_benchmark_asks_for(folder, tmp_path):
    found = row(folder, {**AUROC, "kind": "difference", "sides": sides(("erm", "vim"), ("good", "msp"))}, tmp_path)
    assert found["verdict"] == "not run"


def test_sets_that_the_benchmark_lacks(folder, tmp_path):
    claim = {**AUROC, "split": "mean_far", "kind": "difference", "sides": sides(("erm", "msp"), ("good", "msp"))}
    assert "a benchmark that measures auroc on mean_far" in row(folder, claim, tmp_path)["reason"]


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, "lies below zero"),
        ({**ERROR, "kind": "difference", "sides": sides(("erm", ""), ("good", ""))}, "above zero, against the claim"),
        ({**ERROR, "kind": "difference", "sides": sides(("same", ""), ("erm", ""))}, "includes zero; more seeds"),
        ({**ERROR, "kind": "non_inferior", "margin": 2, "sides": sides(("same", ""), ("erm", ""))}, "below +2 points"),
        ({**AUROC, "kind": "non_inferior", "margin": 0.03, "sides": sides(("same", "msp"), ("erm", "msp"))},
         "lies above −3 points"),
        ({**AUROC, "kind": "equivalent", "margin": 0.03, "sides": sides(("same", "msp"), ("erm", "msp"))},
         "lies within ±3 points"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("erm", ""), ("same", ""))},
         "interval of the weakest step, erm against same, "),
    ],
)  # fmt: skip
def test_reasons_speak_in_points(folder, tmp_path, claim, reason):
    assert reason in row(folder, claim, tmp_path)["reason"]


@pytest.mark.parametrize(("looks", "ends"), [([3], True), ([3, 40], False)])
def test_an_open_claim_at_the_last_look_is_said_to_be_undecided(folder, tmp_path, looks, ends):
    claim = {**ERROR, "kind": "difference", "sides": sides(("same", ""), ("erm", ""))}
    plan = {"looks": looks, "weights": [1 / len(looks)] * len(looks), "futility": 1e-6}
    found = row(folder, claim, tmp_path, evidence=plan)
    assert found["verdict"] == "open"
    assert ("includes zero; undecided at the last look" in found["reason"]) == ends


def test_the_same_predictions_give_the_same_bytes(folder, tmp_path):
    claims = [{**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}] * 2
    for name in ("a", "b"):
        paper = Paper.model_validate(fabricated(*claims))
        audit(fabricate.suite(), [paper], folder, folder / "studies", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow
def test_no_torch():
    program = "import sys, reprood.audit.verdicts, reprood.audit.papers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_verdict_lies_in_the_possible_range(folder, tmp_path, monkeypatch):
    """An interval far wider than the range is cut in verdicts and in their reasons."""
    spread = 300.0

    def far(replicates, weights, *arguments, **options):
        estimate = sum(w * values.mean() for w, values in zip(weights, replicates.observed, strict=True))
        return Interval(estimate, estimate - spread, estimate + spread, 0.95, spread / 3, 3, 10, 10, 5.0)

    monkeypatch.setattr("reprood.audit.comparisons.contrast", far)
    for claim, low in (
        ({**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, -100.0),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("erm", ""), ("same", ""))}, -100.0),
        ({**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}, -1.0),
        ({**AUROC, "kind": "signs", "over": "sets", "signs": {"*": "better"},
          "sides": sides(("good", "msp"), ("erm", "msp"))}, -1.0),
    ):  # fmt: skip
        found = row(folder, claim, tmp_path)
        assert (found["low"], found["high"]) == (low, -low)
        assert "−100.00 to +100.00" in found["reason"]
    value = {**ERROR, "kind": "equals", "margin": 6, "sides": sides(("good", "")), "published": ["a"], "where": HERE}
    found = row(folder, value, tmp_path, scale="paper")
    assert (found["low"], found["high"]) == (0.0, 100.0)


def test_sides_worse_than_chance_are_named(folder, tmp_path, monkeypatch):
    assert worse_than_chance("auroc", 0.187)
    assert not worse_than_chance("auroc", 0.5)
    assert worse_than_chance("fpr95_id_positive", 0.97)
    assert not worse_than_chance("fpr95_id_positive", 0.4)
    assert not worse_than_chance("top1_error", 90.0)
    claim = {**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}
    assert np.isnan(row(folder, claim, tmp_path)["below_chance"] or np.nan)
    monkeypatch.setitem(CHANCE, "auroc", (0.8, -1))  # between the two methods
    assert row(folder, claim, tmp_path)["below_chance"] == "erm (msp)"
