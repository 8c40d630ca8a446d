"""The page over several releases."""

import shutil
from pathlib import Path

import pytest
from toy_release import build, make_checkout
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.core.errors import ReproodError
from reprood.evaluate.table import read_metrics
from reprood.publish.board import read_entry, write_board

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    return build(make_checkout(folder / "checkout"), folder / "first")


def test_two_releases_side_by_side(release, tmp_path):
    changed = tmp_path / "second"
    shutil.copytree(release, changed)
    with open(changed / "CITATION.cff", "a") as stream:
        stream.write("# changed\n")
    out = tmp_path / "board.html"
    done = CliRunner().invoke(app, ["board", str(release), str(changed), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "first: intact, not signed" in done.output
    assert "second: files were changed, not signed" in done.output
    page = out.read_text()
    assert page.count("<h3>toy</h3>") == 1, "the same benchmark is ranked once"
    table = read_metrics(release / "results" / "metrics.csv")
    rows = table[(table["metric"] == "auroc") & (table["split"] == "mean_natural") & (table["method"] == "good")]
    for _, one in rows.groupby("score"):
        mean, spread = 100 * one["value"].mean(), 100 * one["value"].std()
        assert page.count(f"<td>{mean:.1f} ± {spread:.1f}</td><td>{len(one)}</td>") >= 2
    assert "<script" not in page


def test_the_ranking_is_by_the_mean(release):
    entry = read_entry(release, None)
    assert entry.ranking["mean"].between(0, 1).all()
    assert set(entry.ranking["method"]) == {"erm", "good"}
    assert sum(entry.count(verdict) for verdict in entry.verdicts["verdict"].unique()) == len(entry.verdicts)


def test_releases_of_one_name_are_refused(release, tmp_path):
    shutil.copytree(release, tmp_path / "other" / "first")
    with pytest.raises(ReproodError, match="Two releases have the name first"):
        write_board([release, tmp_path / "other" / "first"], tmp_path / "board.html")
