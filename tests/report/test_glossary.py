"""Names in tables lead to a glossary that explains all of them, and sentences state the numbers of the tables."""

import re

import pytest
from toy_paper import PAPER

from reprood.detectors import registry
from reprood.report import labels
from reprood.report.contents import FIGURES
from reprood.report.findings import FINDINGS, finding, result_of
from reprood.report.glossary import OWN, explained, glossary, scores
from reprood.report.leaderboard import IN_HINDSIGHT, leaderboard
from reprood.report.navigation import uses_of
from reprood.report.provenance import outlier_data
from reprood.report.tables import matrix


def test_every_score_has_a_line_and_a_source():
    own = [name for name in labels.SCORES if not name.endswith("*") and name not in registry.names()]
    assert [name for name in own if name not in OWN] == []
    found = scores([*registry.names(), *OWN], [])
    assert all(entry.text and entry.formula for entry in found)
    assert all(entry.page.startswith("https://") for entry in found[: len(registry.names())])
    assert len({entry.anchor for entry in found}) == len(found)


def test_methods_and_scores_of_a_table_are_explained(results):
    entries = glossary(results.suite, [PAPER], [results])
    anchors = explained(entries)
    assert {results.label(method) for method in results.methods} <= set(anchors)
    assert set(matrix(results).head[1:]) <= set(anchors)
    good = next(entry for entry in entries["methods"] if entry.label == "Good & better")
    assert (good.text, good.page) == ("ours (Toy)", "papers/toy.html")


def test_the_leaderboard_shows_kinds_of_sets_and_the_best_detector(results):
    table = leaderboard(results)
    head = list(table.head)
    row = next(row for row in table.rows if row[0].text == "Good & better")
    assert row[head.index("AUROC, %, noise")].value == pytest.approx(
        100 * results.values("good", "auroc", "mean_noise", "msp").mean()
    )
    means = {name: results.values("good", "auroc", "mean_natural", name).mean() for name in results.scores("good")}
    best = max(means, key=lambda name: means[name])
    assert row[head.index("this detector")].text == labels.score(best)
    assert row[head.index(IN_HINDSIGHT)].value == pytest.approx(100 * means[best])
    assert "80 % power" in table.caption


def test_findings_state_the_best_value(results):
    assert set(FINDINGS) == {one.name for one in FIGURES}
    best = 100 * results.values("good", "auroc", "mean_natural", "msp").mean()
    assert f"Good & better with MSP, AUROC (mean without noise) {best:.1f} %" in finding("leaderboard", results)
    assert re.search(r"lowest \S", finding("roc", results))
    assert result_of(results, leaderboard(results)).startswith("Best: Good & better with MSP")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"auxiliary": "near"}, "near (pets)"),
        ({"auxiliary": "near", "selection": "none"}, "–"),
        ({"outliers": "", "outlier_weight": 0.0}, "–"),
        ({"outliers": ""}, "–"),  # two sets, and none is named
    ],
)
def test_outlier_data_is_read_from_the_settings(settings, text):
    assert outlier_data(settings, {"near": "pets", "far": "letters"}) == text


def test_claims_are_listed_on_the_pages_of_their_numbers():
    claim = {"id": "c", "anchor": "claim-c", "benchmark": "toy", "page": "benchmarks/toy.html", "statement": "S.",
             "verdict": "open"}  # fmt: skip
    again = {**claim, "anchor": "", "benchmark": "other", "page": "benchmarks/other.html"}
    unrun = {**claim, "id": "d", "benchmark": "", "page": "benchmarks/.html"}
    found = uses_of([{"paper": PAPER, "claims": [claim, again, unrun]}])
    assert set(found) == {"benchmarks/toy.html", "benchmarks/other.html"}
    assert found["benchmarks/other.html"][0]["claims"][0]["page"] == "papers/toy.html#claim-c"
