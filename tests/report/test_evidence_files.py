"""The evidence rows of a verdict give its numbers, those of a leaderboard its cells; no name leads elsewhere."""

import fabricate
import pandas as pd
import pytest

from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit
from reprood.core.files import sha256_file
from reprood.report.evidence_files import board_rows, file_of, parts_of_split, verdict_rows
from reprood.report.ranking import boards
from reprood.report.results import BenchmarkResults

SIDES = {"good": {"means": "ours"}, "erm": {"means": "baseline"}, "broken": {"means": "other"}}
CLAIMS = [
    {"metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "own"}, {"method": "erm", "score": "msp", "split": "near_set"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "signs", "over": "sets",
     "signs": {"*": "better"}, "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "msp"}, {"method": "broken", "score": "msp"}]},
    {"metric": "au_pro", "better": "higher", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
]  # fmt: skip
PAPER = Paper.model_validate({**fabricate.paper(*CLAIMS), "arms": SIDES})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evidence")
    fabricate.results(path)
    return path


@pytest.fixture(scope="module")
def results(folder):
    return BenchmarkResults("toy", fabricate.suite(), folder, folder / "examples.npz")


@pytest.fixture(scope="module")
def hashes(results):
    return {
        ("toy", m, s): sha256_file(results.file(m, s, "predictions.parquet"))[:12]
        for m in results.methods
        for s in results.seeds(m)
    }


@pytest.fixture(scope="module")
def verdicts(folder):
    audit(fabricate.suite(), [PAPER], folder, folder / "studies", folder / "verdicts.csv")
    return pd.read_csv(folder / "verdicts.csv").set_index("claim")


def rows_of(claim, results, hashes):
    return verdict_rows(PAPER.claims[claim], PAPER, "toy", [results], {}, hashes)


@pytest.mark.parametrize("claim", [0, 1])
def test_the_rows_give_the_values_of_the_verdict(claim, results, hashes, verdicts, folder):
    row, rows = verdicts.loc[f"c{claim}"], rows_of(claim, results, hashes)
    for side, value, place in (("first", "value_first", 0), ("second", "value_second", 1)):
        split = PAPER.claims[claim].split_of(PAPER.claims[claim].sides[place])
        found = rows[(rows["side"] == row[side]) & (rows["split"] == split)]
        assert sorted(found["seed"]) == [0, 1, 2]
        assert found["value"].mean() == pytest.approx(row[value], rel=1e-9)
    assert set(rows["metric"]) == {PAPER.claims[claim].metric}
    for one in rows.itertuples():
        assert sha256_file(folder / one.predictions).startswith(one.sha256)


def test_a_mean_comes_with_the_sets_that_it_is_of(results, hashes):
    rows = rows_of(2, results, hashes)
    assert set(rows["split"]) == {"mean_all", "near_set", "noise_set"}
    assert len(rows) == 2 * 3 * 3
    table = rows.pivot(index=["side", "seed"], columns="split", values="value")
    assert ((table["near_set"] + table["noise_set"]) / 2).to_numpy() == pytest.approx(table["mean_all"].to_numpy())
    assert parts_of_split(results.benchmark, "mean_natural") == ("mean_natural", "near_set")
    assert parts_of_split(results.benchmark, "test") == ("test",)


def test_a_closed_gate_is_evidence_too(results, hashes, verdicts):
    rows = rows_of(3, results, hashes)
    assert "below the accuracy gate" in verdicts.loc["c3", "reason"]
    assert len(rows[(rows["side"] == "broken (msp)") & (rows["metric"] == "gate")]) == 3


def test_what_did_not_run_has_no_rows(results, hashes):
    assert verdict_rows(PAPER.claims[0], PAPER, "elsewhere", [results], {}, hashes) is None
    assert rows_of(4, results, hashes).empty
    study = PAPER.claims[0].model_copy(update={"study": "s", "metric": "area"})
    assert verdict_rows(study, PAPER, "toy", [results], {}, hashes) is None
    values = pd.DataFrame(
        {
            "study": "toy",
            "arm": ["erm", "good", "other", "good"],
            "seed": 0,
            "metric": ["area"] * 3 + ["time"],
            "value": 1.0,
        }
    )
    assert verdict_rows(study, PAPER, "toy", [], {"toy": values}, hashes)["arm"].tolist() == ["good", "erm"]


def test_the_rows_of_a_leaderboard_give_its_cells(results, hashes):
    found = boards(results)
    for method in results.methods:
        rows = board_rows(results, found, method, hashes)
        assert set(rows["method"]) == {method}
        for one in (board for board in found if method in board.methods):
            place = one.methods.index(method)
            chosen = rows[(rows["column"] == one.title) & (rows["split"] == one.split) & (rows["metric"] == one.metric)]
            assert len(chosen) == 3
            assert chosen["value"].mean() == pytest.approx(one.intervals[place].estimate, rel=1e-9)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", "", "a\\b", "c\0", "ünï"])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    path = (tmp_path / file_of("papers", name, name)).resolve()
    assert path.parent.parent.parent == tmp_path.resolve() / "evidence"
    assert path.suffix == ".csv"
