"""A family is one benchmark to readers: one page, one set of figures and tables, means over its replicates."""

import fabricate
import numpy as np
import pytest
from toy_paper import DEFECTS, PAPER

from reprood.audit.verdicts import COLUMNS
from reprood.evaluate.bootstrap import contrast
from reprood.evaluate.resample import Replicates
from reprood.report.contents import TABLES, caption_of, drawings_of, figure_types, page_names
from reprood.report.draw import draw_benchmark
from reprood.report.groups import grouped
from reprood.report.hardest import hardest
from reprood.report.members import members_table
from reprood.report.pages import write_report
from reprood.report.ranking import boards
from reprood.report.results import BenchmarkResults, interval_of
from reprood.report.tables import make_table

RECORD = {**fabricate.SUITE["benchmarks"]["toy"], "title": "Letters", "splits": {"classes": 6, "known": 4}}
RECORD["train"] = {**RECORD["train"], "classes": "known"}
RUNS = [{"benchmark": "toy", "methods": ["erm", "good"], "seeds": 4}, {"benchmark": "toy", "methods": ["same"]}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("family")
    fabricate.results(path, benchmarks={"toy": RECORD}, runs=RUNS, seeds=[0, 1, 2])
    return path


@pytest.fixture(scope="module")
def suite():
    return fabricate.suite(benchmarks={"toy": RECORD}, runs=RUNS, seeds=[0, 1, 2])


@pytest.fixture(scope="module")
def results(folder, suite):
    return BenchmarkResults("toy", suite, folder, folder / "examples.npz")


def test_replicates_are_read_from_their_members(results, folder):
    assert results.places == {r: f"toy_s{r}" for r in range(4)}
    assert results.benchmark.title == "Letters"
    assert results.seeds("same") == [0, 1, 2]
    assert results.file("good", 3, "metrics.csv") == folder / "runs/toy_s3/good/3/metrics.csv"
    alone = [BenchmarkResults(f"toy_s{r}", results.suite, folder) for r in range(4)]
    expected = [one.values("good", "auroc", "mean_all", "own")[0] for one in alone]
    assert results.values("good", "auroc", "mean_all", "own").tolist() == expected
    found = results.detection_replicates("good", "auroc", "mean_all", "own")
    assert found.observed[0].tolist() == pytest.approx(expected)
    assert found.n_id == 4 * fabricate.COUNT


def test_the_images_of_each_member_are_resampled_separately_and_equally_for_all_methods(results):
    """Resampling noise is independent between members, and cancels in differences of similar methods."""
    one, other = (results.detection_replicates(m, "auroc", "mean_all", "msp") for m in ("erm", "same"))
    first = one.resampled[0] - one.resampled[0].mean(axis=0)
    correlation = np.corrcoef(first.T)
    assert np.abs(correlation - np.eye(4)).max() < 0.25
    second = other.resampled[0][:, 0]
    assert np.corrcoef(first[:, 0], second)[0, 1] > 0.3
    repeated = BenchmarkResults("toy", results.suite, results.root).detection_replicates(
        "erm", "auroc", "mean_all", "msp"
    )
    assert np.array_equal(repeated.resampled[0], one.resampled[0])
    assert interval_of(one).n_seeds == 4


def test_methods_are_compared_replicate_by_replicate():
    """Members differ by 20 points, the methods by 2 within each: only paired tests see it."""
    level = np.array([0.6, 0.7, 0.8, 0.9, 0.75])

    def made(values):
        noise = 0.002 * np.random.default_rng(len(values)).standard_normal((200, len(values)))
        return Replicates([values], [values + noise], 100, 100)

    better = level[:4] + 0.02 + np.array([0.001, -0.001, 0.0, 0.001])
    rows, seeds = [made(better), made(level)], [[0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert grouped(rows).letters == ("a", "a")
    assert grouped(rows, seeds).letters == ("a", "b")
    both = Replicates([better, level[:4]], [row.resampled[0][:, :4] for row in rows], 100, 100)
    gap = contrast(both, [1, -1], trainings=["r", "r"])
    assert gap.estimate == pytest.approx(0.02025)
    assert grouped([made(level[:4]), made(better)], [[0, 1, 2, 3], [6, 7, 8, 9]]).letters == ("a", "a")


def test_the_table_by_member(results):
    table = members_table(results)
    assert table.head[:3] == ("member", "classes", "replicates")
    assert [row[0].text for row in table.rows] == ["s0", "s1", "s2", "s3"]
    first = results.suite.benchmarks["toy_s0"].train.classes
    assert table.rows[0][1].text == ", ".join(map(str, first))
    best = boards(results)[0]
    column = 3 + best.methods.index("good")
    values = 100 * results.values("good", "auroc", best.split, best.scores[best.methods.index("good")])
    assert [row[column].value for row in table.rows] == pytest.approx(values.tolist())
    assert table.rows[3][3 + best.methods.index("same")].text == "–"  # it has three replicates


def test_captions_say_what_intervals_cover(results):
    assert "95 % intervals over class splits, seeds and test images" in make_table("detection", results).caption
    captions = {one.name: caption_of(one, results.benchmark) for one in figure_types(results.benchmark)}
    assert "over class splits, seeds and test images" in captions["leaderboard"]
    assert "in every seed of the first member" in captions["hardest"]
    alone = BenchmarkResults("toy", fabricate.suite(), results.root)
    assert "95 % intervals over seeds and test images" in caption_of(figure_types(alone.benchmark)[0], alone.benchmark)


def test_hardest_images_are_those_of_the_first_member(results):
    assert {len(one.percentiles) for one in hardest(results, "good")} == {1}


def test_one_page_one_set_of_figures_and_tables(results, folder, suite, tmp_path):
    draw_benchmark(results, folder / "data", tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures" / "toy").glob("*.svg")}
    assert drawn == set(drawings_of(results.benchmark))
    draw_benchmark(results, folder / "data", tmp_path / "column", width=3.3)  # no phone shows the figures of a paper
    narrow = {path.stem for path in (tmp_path / "column" / "figures" / "toy").glob("*.svg")}
    assert narrow == {one.name for one in figure_types(results.benchmark)}
    assert (tmp_path / "tables" / "toy" / "members.csv").is_file()
    (folder / "verdicts.csv").write_text(",".join(COLUMNS) + "\n")
    written = write_report(
        suite, [PAPER], folder / "verdicts.csv", root=folder, studies=folder / "studies", data=folder / "data",
        figures=tmp_path / "figures", defects=DEFECTS, out=tmp_path,
    )  # fmt: skip
    pages = [name for name in written if not name.startswith("evidence/")]
    assert sorted(pages) == sorted(page_names(["toy"], ["toy"], []))
    page = (tmp_path / "benchmarks" / "toy.html").read_text()
    assert "4 members, which differ in their class splits" in page
    assert "By member" in page
    assert "runs/toy_s3/good/3/run.json" in page
    rows = (tmp_path / "evidence" / "benchmarks" / "toy" / "good.csv").read_text()
    assert "runs/toy_s2/good/2/predictions.parquet" in rows
    assert any(one.name == "members" for one in TABLES)
