"""Claims on conditions, on families of benchmarks and on studies, with a known truth."""

import shutil

import numpy as np
import pandas as pd
import pytest
from stored_run import write_run

from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit
from reprood.config.conditions import conditions, is_condition, matching, summaries
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import write_json
from reprood.evaluate.collect import collect
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.studies.run import Findings, write_findings

COUNT = 300
SPLITS = {name: {"dataset": "d", "split": name} for name in ("train", "validation", "test")}
SUITE = {
    "title": "T", "scale": "reduced", "seeds": [0, 1, 2],
    "benchmarks": {
        "robust": {
            "title": "R", "preparation": {"size": 8, "channels": 1}, **SPLITS,
            "evaluations": ["classification", "corruption", "adversarial", "occlusion"],
            "corruption": {"names": ["fog", "contrast"], "severities": [1, 3], "limit": 100, "baseline": "erm"},
            "attacks": {"pgd": {"eps": 0.1, "limit": 100}},
            "occlusion": {"sides": [2, 4], "where": ["center"]},
        },
        "noisy": {
            "title": "N", "preparation": {"size": 8, "channels": 1}, **SPLITS,
            "evaluations": ["classification"], "label_noise": {"strength": 0.6},
        },
        "one": {
            "title": "One class", "preparation": {"size": 8, "channels": 1}, **SPLITS, "evaluations": ["detection"],
            "ood": {"others": {"dataset": "d", "split": "test", "shift": "near"}},
            "members": {"cat": {"train": {"classes": [0]}}, "dog": {"train": {"classes": [1]}}, "elk": {}},
        },
    },
    "methods": {"erm": {"use": "erm", "label": "E"}, "ours": {"use": "erm", "label": "O"}},
    "runs": [
        {"benchmark": "robust", "methods": ["erm", "ours"]},
        {"benchmark": "noisy", "methods": ["erm", "ours"]},
        {"benchmark": "one", "methods": ["erm", "ours"], "seeds": 3},
    ],
    "studies": {"areas": {"use": "toy", "title": "Areas"}},
}  # fmt: skip


def answers(benchmark: str, method: str, seed: int, hard: np.random.Generator, own: np.random.Generator) -> dict:
    """label_rank and scores by split; `ours` is better on conditions and in detection, equal on clean images."""
    gain = 0.25 if method == "ours" else 0.0
    found = {}
    for split in ("validation", "test"):
        found[split] = (hard.random(COUNT) < 0.1 + own.normal(0, 0.01)).astype(int)
    if benchmark == "robust":
        for i, name in enumerate(("fog/1", "fog/3", "contrast/1", "contrast/3")):
            found[f"corrupted/{name}"] = (hard.random(100) < 0.5 + 0.02 * i - gain).astype(int)
        found["attacked/pgd"] = (hard.random(100) < 0.95 - gain).astype(int)
        for side in (2, 4):
            found[f"occluded/center/{side}"] = (hard.random(COUNT) < 0.4 - gain).astype(int)
    if benchmark == "noisy":
        found["test"] = (hard.random(COUNT) < 0.6 - gain).astype(int)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicated")
    suite = Suite.model_validate(SUITE)
    for benchmark, method, seed in suite.jobs():
        run = path / "runs" / benchmark / method / str(seed)
        run.mkdir(parents=True)
        hard = np.random.default_rng(len(benchmark) + ord(benchmark[-1]))
        own = np.random.default_rng([seed, *method.encode(), *benchmark.encode()])
        ranks = answers(benchmark, method, seed, hard, own)
        if suite.benchmarks[benchmark].family:
            ranks["others"] = np.full(COUNT, -1)
        level = {"one_cat": 0.4, "one_dog": -0.4}.get(benchmark, 0.0)  # members differ far more than methods
        shift = level + (0.4 if method == "ours" else 0.0)
        rows = []
        for split, rank in ranks.items():
            inside = split in ("test", "validation")
            score = hard.normal(size=len(rank)) + (1.0 + shift if inside else 0.0)
            score = score if split in ("test", "validation", "others") else np.full(len(rank), np.nan)
            label = np.where(rank < 0, -1, 0)
            rows.append(
                pd.DataFrame(
                    {"split": split, "row": np.arange(len(rank)), "label": label, "prediction": np.maximum(rank, 0),
                     "label_rank": rank, "score_own": score}
                )
            )  # fmt: skip
        order = sorted(rows, key=lambda part: is_condition(part["split"].iloc[0]))
        facts = {"benchmark": benchmark, "method": method, "seed": seed}
        write_run(run, dict(pd.concat(order).items()), facts)
        evaluate_run(run, suite.benchmarks[benchmark], benchmark, method, seed, run / "metrics.csv")
        write_json(run / "model.json", {"settings": {"training": {"epochs": 3}}, "backbone": {"name": "wrn"}})
        write_json(run / "run.json", {"precision": "fp32"})
    values = [
        {"seed": seed, "arm": arm, "metric": "area", "value": value + 0.1 * seed}
        for seed in range(3)
        for arm, value in (("erm", 3.0 + 0.05 * seed), ("ours", 1.0))
    ]
    write_findings("areas", Findings(values), path / "studies" / "areas")
    return path


def verdicts(folder, tmp_path, claim, **changes) -> pd.DataFrame:
    record = {
        "id": "toy", "title": "T", "authors": "A", "venue": "V", "year": 2020, "summary": "S", "method": "M",
        "arms": {name: {"means": name} for name in ("erm", "ours")},
        "claims": [{"id": "c", "statement": "S.", "kind": "difference", **claim}],
    }  # fmt: skip
    return audit(
        Suite.model_validate({**SUITE, **changes}),
        [Paper.model_validate(record)],
        folder,
        folder / "studies",
        tmp_path / "verdicts.csv",
    )


def test_some_members_are_another_setting_than_the_mean_of_all(folder, tmp_path):
    sides = [{"method": "ours", "score": "own"}, {"method": "erm", "score": "own"}]
    claim = {"metric": "auroc", "split": "mean_all", "better": "higher", "min_seeds": 2, "sides": sides}
    at_scale = {"scale": "paper", "precision": "fp32", "studies": {}}
    runs = {"benchmark": "one", "methods": ["erm", "ours"]}
    whole = verdicts(folder, tmp_path, claim, **at_scale, runs=[{**runs, "seeds": 3}]).iloc[0]
    assert (whole["verdict"], whole["scale"], whole["differences"]) == ("reproduced", "paper", "")
    part = verdicts(folder, tmp_path, claim, **at_scale, runs=[{**runs, "seeds": 2}]).iloc[0]
    assert (part["scale"], part["differences"]) == ("reduced", "measured on 2 of 3 members, published as mean of all")


PLAIN = {
    "metric": "top1_error",
    "better": "lower",
    "gate": False,
    "note": "Made up.",
    "sides": [{"method": "ours"}, {"method": "erm"}],
}


@pytest.mark.parametrize("split", ["corrupted", "corrupted/fog", "corrupted/fog/3", "attacked/pgd", "occluded/center"])
def test_claims_on_conditions(folder, tmp_path, split):
    found = verdicts(folder, tmp_path, {**PLAIN, "split": split})
    assert list(found["benchmark"]) == ["robust"]
    assert found.iloc[0]["verdict"] == "supported at reduced scale"
    assert found.iloc[0]["effect"] == pytest.approx(-25, abs=8)


def test_a_condition_that_nobody_measured_is_not_run(folder, tmp_path):
    found = verdicts(folder, tmp_path, {**PLAIN, "split": "attacked/fgsm"})
    assert list(found["verdict"]) == ["not run"]
    assert "a benchmark that measures top1_error on attacked/fgsm" in found.iloc[0]["reason"]


def test_noisy_labels_are_told_from_clean_ones(folder, tmp_path):
    clean = verdicts(folder, tmp_path, PLAIN)
    assert list(clean["benchmark"]) == ["robust"]
    noisy = verdicts(folder, tmp_path, {**PLAIN, "label_noise": [0.4, 0.8]})
    assert list(noisy["benchmark"]) == ["noisy"]
    assert noisy.iloc[0]["verdict"] == "supported at reduced scale"
    assert verdicts(folder, tmp_path, {**PLAIN, "label_noise": [0.7, 0.8]}).iloc[0]["benchmark"] == ""


def test_a_family_is_judged_as_one_and_paired_by_member(folder, tmp_path):
    sides = [{"method": "ours", "score": "own"}, {"method": "erm", "score": "own"}]
    claim = {"metric": "auroc", "better": "higher", "split": "mean_all", "sides": sides}
    found = verdicts(folder, tmp_path, claim)
    assert list(found["benchmark"]) == ["one"]
    row = found.iloc[0]
    assert row["n_seeds"] == 3
    assert row["n"] == 3 * COUNT
    # unpaired, the spread of the members (AUROC 0.66 to 0.84) would bury the difference of 0.078
    assert row["verdict"] == "supported at reduced scale"
    assert row["effect"] == pytest.approx(0.078, abs=0.02)


def test_a_study_is_judged_on_its_seeds(folder, tmp_path):
    claim = {"metric": "area", "better": "lower", "study": "toy", "sides": [{"method": "ours"}, {"method": "erm"}]}
    row = verdicts(folder, tmp_path, {**claim, "margin": 1.5}).iloc[0]
    assert (row["benchmark"], row["n_seeds"], row["verdict"]) == ("areas", 3, "supported at reduced scale")
    # differences are 2.0, 2.05, 2.1: mean 2.05, t(2) * 0.05 / sqrt(3)
    assert row["effect"] == pytest.approx(-2.05)
    assert row["high"] - row["effect"] == pytest.approx(4.302653 * 0.05 / np.sqrt(3), rel=1e-5)
    assert "points" not in row["reason"]


def test_a_study_that_is_missing_or_has_no_such_metric(folder, tmp_path):
    claim = {"metric": "volume", "better": "lower", "study": "toy", "sides": [{"method": "ours"}, {"method": "erm"}]}
    assert "the study toy" in verdicts(folder, tmp_path, claim).iloc[0]["reason"]
    suite = Suite.model_validate(SUITE)
    with pytest.raises(ReproodError, match="run the study first"):
        audit(suite, [], folder, tmp_path / "none", tmp_path / "verdicts.csv")


def test_a_study_with_a_number_that_is_not_finite_is_refused(tmp_path):
    rows = [{"seed": 0, "arm": "a", "metric": "m", "value": float("nan")}]
    with pytest.raises(ReproodError, match="m of a, seed 0, is nan"):
        write_findings("s", Findings(rows), tmp_path)
    assert not list(tmp_path.iterdir())


def test_means_over_conditions_and_mce(folder, tmp_path):
    suite = Suite.model_validate(SUITE)
    robust = suite.benchmarks["robust"]
    assert len(conditions(robust)) == 4 + 1 + 2
    assert summaries(robust) == ("corrupted", "corrupted/fog", "corrupted/contrast", "occluded", "occluded/center")
    assert matching(robust, "corrupted/fog") == ("corrupted/fog/1", "corrupted/fog/3")
    paths = sorted((folder / "runs" / "robust").glob("*/*/metrics.csv"))
    own = read_metrics(paths[0]).set_index("split")["value"]
    leaves = [own[name] for name in conditions(robust) if name.startswith("corrupted")]
    assert own["corrupted"] == pytest.approx(np.mean(leaves))
    collect(paths, tmp_path / "m.parquet", tmp_path / "m.csv", tmp_path / "s.json", {"robust": "erm"})
    table = read_metrics(tmp_path / "m.csv")
    relative = table[table["metric"] == "mce"].groupby("method")["value"].mean()
    assert relative["erm"] == pytest.approx(100)
    by_hand = []
    for name in ("fog", "contrast"):
        rows = table[(table["split"] == f"corrupted/{name}") & (table["metric"] == "top1_error")]
        means = rows.groupby("method")["value"].mean()
        by_hand.append(means["ours"] / means["erm"])
    assert relative["ours"] == pytest.approx(100 * np.mean(by_hand))


def test_a_claim_on_a_study_names_arms_only():
    claim = {"id": "c", "statement": "S.", "kind": "difference", "metric": "area", "better": "lower", "study": "toy"}
    record = {
        "id": "toy", "title": "T", "authors": "A", "venue": "V", "year": 2020, "summary": "S", "method": "M",
        "arms": {},
        "claims": [{**claim, "sides": [{"method": "ours", "score": "own"}, {"method": "erm"}]}],
    }  # fmt: skip
    with pytest.raises(ValueError, match="without score and split"):
        Paper.model_validate(record)


SIGNS = {
    "kind": "signs", "over": "members", "signs": {"*": "better"}, "metric": "auroc", "split": "mean_all",
    "better": "higher", "sides": [{"method": "ours", "score": "own"}, {"method": "erm", "score": "own"}],
}  # fmt: skip


def test_equal_members_are_not_two_replicates(folder, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    claim = {"metric": "auroc", "split": "mean_all", "better": "higher",
             "sides": [{"method": "ours", "score": "own"}, {"method": "erm", "score": "own"}]}  # fmt: skip
    for path in copied.glob("runs/one_*/*/*/run.json"):
        content = "same" if path.parts[-4] in ("one_dog", "one_elk") else "other"
        write_json(path, {"precision": "fp32", "data": {"train": content}})
    with pytest.raises(ReproodError, match="members one_dog and one_elk of the family one hold the same images"):
        verdicts(copied, tmp_path, claim)


def test_a_pattern_of_signs_over_members(folder, tmp_path):
    found = verdicts(folder, tmp_path, {**SIGNS, "min_seeds": 1}).iloc[0]
    assert (found["benchmark"], found["n_seeds"]) == ("one", 1)
    assert found["verdict"] == "supported at reduced scale"
    assert found["reason"].startswith("shown on 3 of 3 members; weakest on ")
    mixed = {**SIGNS, "min_seeds": 1, "signs": {"*": "better", "dog": "worse"}}
    found = verdicts(folder, tmp_path, mixed).iloc[0]
    assert found["verdict"] == "contradicted"
    assert "shown on 2 of 3 members, contradicted on dog; weakest on dog " in found["reason"]
    assert found["effect"] > 0
    few = verdicts(folder, tmp_path, SIGNS).iloc[0]
    assert few["reason"] == "too few replicates of a member: 1 here, the test needs 3"


def test_signs_of_named_members_are_about_these_alone(folder, tmp_path):
    named = {**SIGNS, "min_seeds": 1, "signs": {"cat": "better", "elk": "better"}}
    assert "2 of 2 members" in verdicts(folder, tmp_path, named).iloc[0]["reason"]
    absent = verdicts(folder, tmp_path, {**SIGNS, "min_seeds": 1, "signs": {"cat": "better", "cow": "better"}}).iloc[0]
    assert absent["verdict"] == "open"
    assert absent["reason"] == "the claim also names cow, which did not run here"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "difference"}, "of the kind signs, and only those"),
        ({"signs": {}}, "of the kind signs, and only those"),
        ({"over": "sets", "metric": "top1_error", "split": "test"}, "needs a detection metric"),
        ({"signs": {"cat": "bigger"}}, "'better' or 'worse'"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(folder, tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        verdicts(folder, tmp_path, {**SIGNS, **change})
