"""A release holds the user's own detectors; they run only if the reader agrees."""

import shutil

import pytest
from toy_release import build, make_checkout
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.config.benchmark import Benchmark
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.publish.own import own_detectors
from reprood.publish.seal import read_sums, write_sums
from reprood.publish.verify import verify

pytestmark = pytest.mark.slow

MARGIN = '''
"""Difference of the two largest logits."""

import numpy as np

from reprood.detectors.record import Detector, Paper

DETECTOR = Detector(
    name="margin",
    label="Margin",
    paper=Paper(title="", authors="", venue="", year=2026, url=""),
    formula="l_(1) - l_(2)",
    inputs=("logits",),
    score=lambda outputs, fitted, options: np.ptp(np.sort(outputs.logits, axis=1)[:, -2:], axis=1),
)
'''


@pytest.fixture
def release(tmp_path, monkeypatch):
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "margin.py").write_text(MARGIN)
    make_checkout(folder, {"./margin.py": {}})
    made = build(folder, tmp_path / "release", {"./margin.py": {}})
    shutil.rmtree(folder)
    monkeypatch.chdir(tmp_path)  # the author's file is not here
    return made


def test_the_file_is_stored_and_recomputes_the_scores_on_request(release):
    assert (release / "code" / "detectors" / "margin.py").read_text() == MARGIN
    assert "code/detectors/margin.py" in read_sums(release)
    plain = verify(release)
    assert (plain.failed, plain.own_code) == ([], 1)
    done = CliRunner().invoke(app, ["release", "verify", str(release)])
    assert done.exit_code == 3
    assert "code/detectors/margin.py" in done.stdout
    whole = verify(release, run_own=True)
    assert (whole.failed, whole.own_code) == ([], 0)
    path = release / "code" / "detectors" / "margin.py"
    path.write_text(MARGIN.replace("np.ptp(", "2 * np.ptp("))
    write_sums(release)
    # another path: this process has imported the first file
    changed = verify(release.rename(release.with_name("changed")), run_own=True)
    assert "scores of detectors follow from the logits" in changed.failed


def test_files_of_one_name_are_refused():
    source = {"dataset": "d", "split": "test"}
    record = {"title": "T", "preparation": {"size": 8, "channels": 1}, "evaluations": ["classification"]}
    sides = [
        Benchmark(**record, train=source, validation=source, test=source, detectors={f"./{folder}/margin.py": {}})
        for folder in "ab"
    ]
    suite = Suite.model_construct(benchmarks=dict(zip("ab", sides, strict=True)))
    with pytest.raises(ReproodError, match=r"\./a/margin.py and ./b/margin.py have one name"):
        own_detectors(suite)
