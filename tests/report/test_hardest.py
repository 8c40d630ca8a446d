"""The hardest images are those that were planted; the boxes are drawn where they are."""

import fabricate
import numpy as np
import pytest

from reprood.report.figures import make_figure
from reprood.report.hardest import ACCEPTED, REJECTED, hardest, hardest_table, leading, percentiles
from reprood.report.results import BenchmarkResults
from reprood.report.tables import detection


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hardest")
    fabricate.results(path)
    return path


@pytest.fixture
def results(folder):
    return BenchmarkResults("toy", fabricate.suite(), folder, folder / "examples.npz")


def test_percentiles_count_what_is_lower_and_half_of_the_ties():
    found = percentiles(np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0, 2.5, 9.0]))
    assert found.tolist() == [0.0, 12.5, 50.0, 75.0, 100.0]


def test_the_leading_method_is_the_first_of_the_leaderboard(results):
    from reprood.report.ranking import boards

    assert leading(results) == boards(results)[0].methods[0] == "good"


def test_planted_images_are_found_and_luck_of_one_seed_is_not(results):
    for seed, predictions in enumerate(results.predictions("good")):
        table = predictions.table
        score = table["score_msp"].to_numpy().copy()
        is_test, is_near = (table["split"] == name for name in ("test", "near_set"))
        row = table["row"]
        score[is_test & (row == 17)] = -5.0 + 0.1 * seed  # rejected in all seeds
        score[is_near & (row == 4)] = 7.0  # accepted in all seeds
        score[(table["split"] == "noise_set") & (row == 5)] = 9.0  # of no natural set
        if seed == 0:
            score[is_test & (row == 30)] = -9.0  # lowest of all, in one seed alone
            score[is_near & (row == 31)] = 9.0
        table["score_msp"] = score
    found = hardest(results, "good")
    assert [one.kind for one in found] == [REJECTED] * 8 + [ACCEPTED] * 8
    assert (found[0].split, found[0].row, found[0].label) == ("test", 17, 0)
    assert (found[8].split, found[8].row, found[8].label) == ("near_set", 4, -1)
    assert found[8].percentiles == (100.0, 100.0, 100.0)
    assert not {(one.split, one.row) for one in found} & {("noise_set", 5), ("test", 30), ("near_set", 31)}
    worst = [max(one.percentiles) for one in found[:8]]
    assert worst == sorted(worst)
    assert [min(one.percentiles) for one in found[8:]] == sorted((min(o.percentiles) for o in found[8:]), reverse=True)


def test_the_table_names_the_images_of_the_predictions(results):
    table = hardest_table(results)
    assert "Good &" in table.caption
    assert len(table.rows) == 16
    column = "score_msp"
    for row in table.rows:
        split = {"test": "test", "near set": "near_set"}[row[1].text]
        values = []
        for run in results.predictions("good"):
            known, rows = run.split("test")[column].to_numpy(), run.split(split)
            score = rows.loc[rows["row"] == int(row[2].text), column].item()
            values.append(100 * (np.mean(known < score) + 0.5 * np.mean(known == score)))
        assert row[4].value == pytest.approx(np.mean(values))
        assert (row[5].value, row[6].value) == (pytest.approx(min(values)), pytest.approx(max(values)))


def test_nothing_is_hardest_when_all_failed(folder, tmp_path):
    broken = fabricate.suite(runs=[{"benchmark": "toy", "methods": ["broken"]}])
    results = BenchmarkResults("toy", broken, folder, folder / "examples.npz")
    assert hardest_table(results).rows == ()
    make_figure("hardest", results, tmp_path / "a.svg", tmp_path / "a.png", folder / "data")
    assert "<image" not in (tmp_path / "a.svg").read_text()


def test_letters_of_the_detection_table(results):
    """Good is better than two methods that are the same; the broken one is not compared."""
    groups = {(row[0].text, row[1].text): row[2].group for row in detection(results).rows}
    assert groups["Good & better", "MSP"] == "a"
    assert groups["Cross-entropy", "MSP"] == groups["Same", "MSP"] == "b"
    assert groups["Broken", "accuracy gate failed"] == ""
