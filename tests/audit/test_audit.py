"""Verdicts on results with a known truth; mistakes in the papers' files."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import fabricate
from reprood.audit.papers import Paper, load_papers
from reprood.audit.verdicts import audit, judge
from reprood.errors import ReproodError
from reprood.evaluate.bootstrap import Interval

ERROR = {"metric": "top1_error", "better": "lower"}
AUROC = {"metric": "auroc", "better": "higher", "split": "mean_all"}
PUBLISHED = [
    {
        "id": "a",
        "where": "Table 1",
        "setting": "s",
        "method": "m",
        "metric": "top1_error",
        "value": 8.0,
        "source": "paper",
    },
    {
        "id": "b",
        "where": "Table 1",
        "setting": "s",
        "method": "n",
        "metric": "top1_error",
        "value": 20.0,
        "source": "recalled",
    },
]


def sides(*pairs):
    return [{"method": m, "score": s} if s else {"method": m} for m, s in pairs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit")
    fabricate.results(path)
    return path


def row(folder, claim, tmp_path, **changes):
    record = Paper.model_validate(fabricate.paper(claim, published=PUBLISHED))
    table = audit(fabricate.suite(**changes), [record], folder / "runs", tmp_path / "verdicts.csv")
    return table.iloc[0]


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "difference", "sides": sides(("erm", ""), ("good", ""))}, "contradicted"),
        ({**ERROR, "kind": "difference", "sides": sides(("same", ""), ("erm", ""))}, "inconclusive"),
        ({**ERROR, "kind": "difference", "margin": 20, "sides": sides(("good", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "non_inferior", "margin": 2, "sides": sides(("same", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "non_inferior", "margin": 2, "sides": sides(("erm", ""), ("good", ""))}, "contradicted"),
        ({**ERROR, "kind": "equivalent", "margin": 2, "sides": sides(("same", ""), ("erm", ""))}, "supported"),
        ({**ERROR, "kind": "equivalent", "margin": 2, "sides": sides(("good", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("erm", ""), ("broken", ""))}, "supported"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("broken", ""), ("erm", ""))}, "contradicted"),
        ({**ERROR, "kind": "ordering", "sides": sides(("good", ""), ("erm", ""), ("same", ""))}, "inconclusive"),
        ({**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}, "supported"),
        ({**AUROC, "kind": "difference", "sides": sides(("erm", "msp"), ("good", "msp"))}, "contradicted"),
        ({**AUROC, "kind": "difference", "sides": sides(("erm", "own"), ("erm", "msp"))}, "supported"),
        (
            {**AUROC, "kind": "difference", "metric": "fpr95_id_positive", "better": "lower",
             "sides": sides(("good", "msp"), ("erm", "msp"))},
            "supported",
        ),
        ({**AUROC, "kind": "equivalent", "margin": 0.03, "sides": sides(("same", "msp"), ("erm", "msp"))}, "supported"),
    ],
)  # fmt: skip
def test_the_truth_is_found(folder, tmp_path, claim, verdict):
    found = row(folder, claim, tmp_path)
    wanted = verdict if verdict == "inconclusive" else f"{verdict} at reduced scale"
    assert found["verdict"] == wanted, found["reason"]
    assert found["low"] <= found["effect"] <= found["high"]
    assert found["n_seeds"] == 3


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
    claim = {**ERROR, "kind": "equals", "margin": 4, "sides": sides(("good", "")), "published": ["a"]}
    assert row(folder, claim, tmp_path)["verdict"] == "not judged at this scale"
    assert row(folder, claim, tmp_path, scale="paper")["verdict"] == "reproduced"
    far = {**claim, "published": ["b"]}
    assert row(folder, far, tmp_path, scale="paper")["verdict"] == "contradicted"


def test_too_few_seeds(folder, tmp_path):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}
    found = row(folder, claim, tmp_path, seeds=[0, 1])
    assert (found["verdict"], found["reason"]) == ("inconclusive", "too few seeds: 2, and 3 are needed")


def test_a_failed_gate_stops_detection_claims_only(folder, tmp_path):
    found = row(folder, {**AUROC, "kind": "difference", "sides": sides(("erm", "msp"), ("broken", "msp"))}, tmp_path)
    assert found["verdict"] == "inconclusive"
    assert "accuracy gate failed: broken in seed 0, 1, 2" in found["reason"]


def test_a_short_schedule_cannot_refute(folder, tmp_path):
    against = {**ERROR, "kind": "difference", "min_epochs": 61, "sides": sides(("erm", ""), ("good", ""))}
    assert "not testable on this schedule: 60 epochs" in row(folder, against, tmp_path)["reason"]
    favour = {**against, "sides": sides(("good", ""), ("erm", ""))}
    assert row(folder, favour, tmp_path)["verdict"] == "supported at reduced scale"


def test_methods_that_did_not_run(folder, tmp_path):
    found = row(folder, {**ERROR, "kind": "difference", "sides": sides(("mixup", ""), ("erm", ""))}, tmp_path)
    assert (found["verdict"], found["reason"]) == ("inconclusive", "not run in this suite: mixup")


def test_best_of_several_scores_in_hindsight(folder, tmp_path):
    claim = {**AUROC, "kind": "non_inferior", "margin": 0.01, "sides": sides(("erm", "own"), ("erm", "o*"))}
    assert row(folder, claim, tmp_path)["effect"] == 0


def test_unknown_score_and_metric(folder, tmp_path):
    with pytest.raises(ReproodError, match="has no score 'vim'; it has: msp, own"):
        row(folder, {**AUROC, "kind": "difference", "sides": sides(("erm", "vim"), ("good", "msp"))}, tmp_path)
    with pytest.raises(ReproodError, match="metric 'accuracy' cannot be judged"):
        claim = {**AUROC, "metric": "accuracy", "kind": "difference", "sides": sides(("erm", "msp"), ("good", "msp"))}
        row(folder, claim, tmp_path)


def test_the_same_predictions_give_the_same_bytes(folder, tmp_path):
    claims = [{**AUROC, "kind": "difference", "sides": sides(("good", "msp"), ("erm", "msp"))}] * 2
    for name in ("a", "b"):
        audit(fabricate.suite(), [Paper.model_validate(fabricate.paper(*claims))], folder / "runs", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
    assert judge(kind, Interval((low + high) / 2, low, high, 0.95, 0, 2, 3, 10, 10), better, margin) is holds


GOOD = fabricate.paper({**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", ""))}, published=PUBLISHED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "colour: this key is not known"),
        ({"year": "soon"}, "year"),
        ({"claims": [*GOOD["claims"], *GOOD["claims"]]}, "claims: the id 'c0' is used twice"),
        ({"claims": [{**GOOD["claims"][0], "published": ["z"]}]}, "claim c0: there is no published number 'z'"),
        ({"claims": [{**GOOD["claims"][0], "kind": "equivalent"}]}, "needs a margin above 0"),
        ({"claims": [{**GOOD["claims"][0], "sides": [{"method": "erm"}]}]}, "has 2 sides, not 1"),
        ({"id": "other"}, "id is 'other'; expected the file's name, 'toy'"),
    ],
)
def test_mistakes_in_a_papers_file(tmp_path, change, words):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    load_papers([path])
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ReproodError) as caught:
        load_papers([path])
    assert words in str(caught.value)
    assert "toy.yaml" in str(caught.value)


def test_the_papers_are_valid_and_say_where_numbers_come_from():
    papers = {p.id: p for p in load_papers(sorted((Path(__file__).parents[2] / "config" / "papers").glob("*.yaml")))}
    assert papers["cutmix"].number("t5_cutmix").value == 14.47
    assert papers["cutmix"].number("t12_cutmix_auroc").value == 94.4
    assert {n.source for n in papers["cutmix"].published} == {"paper", "issue"}
    assert papers["godin"].number("t1_cifar10_svhn_deconf_c_auroc").source == "recalled"
    means = [
        n.value for n in papers["godin"].published if n.id.startswith("t1_cifar10_") and n.id.endswith("deconf_c_auroc")
    ]
    assert means[-1] == pytest.approx(sum(means[:-1]) / 6, abs=0.005)


def test_no_torch():
    program = "import sys, reprood.audit.verdicts, reprood.audit.papers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
