"""Our numbers next to a published leaderboard."""

import fabricate
import numpy as np
import pytest

from reprood.config.leaderboard import Leaderboard
from reprood.report.published_leaderboard import published_leaderboard
from reprood.report.results import BenchmarkResults

BOARD = {
    "title": "A board",
    "source": "A paper, Table 2",
    "setting": "ResNet-18",
    "columns": [
        {"title": "near AUROC", "metric": "auroc", "split": "mean_near"},
        {"title": "accuracy", "metric": "accuracy", "split": "test"},
    ],
    "rows": [
        {"name": "MSP", "method": "erm", "score": "msp", "values": [88.03, 95.06], "spread": [0.25, None]},
        {"name": "Other", "values": [60.0, None]},
    ],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    suite = fabricate.results(folder, runs=[{"benchmark": "toy", "methods": ["erm", "good"]}])
    record = suite.benchmarks["toy"].model_copy(update={"leaderboard": Leaderboard.model_validate(BOARD)})
    suite = suite.model_copy(update={"benchmarks": {**suite.benchmarks, "toy": record}})
    return BenchmarkResults("toy", suite, folder)


def test_values_of_the_same_setting_stand_side_by_side(results):
    table = published_leaderboard(results)
    first, second = table.rows
    near = 100 * results.values("erm", "auroc", "mean_near", "msp")
    accuracy = 100 - results.values("erm", "top1_error")
    assert len(near) == 3
    assert [cell.text for cell in first] == [
        "MSP",
        "88.03 ± 0.25",
        f"{near.mean():.2f} ± {near.std(ddof=1):.2f}",
        "95.06",
        f"{accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f}",
    ]
    assert [cell.text for cell in second] == ["Other", "60.00", "not measured here", "–", "not measured here"]
    assert "A paper, Table 2" in table.caption
    assert np.isclose(first[2].value, near.mean())


def test_rows_need_a_value_for_every_column():
    with pytest.raises(ValueError, match="MSP has 1 values for 2 columns"):
        Leaderboard.model_validate({**BOARD, "rows": [{"name": "MSP", "values": [1.0]}]})
