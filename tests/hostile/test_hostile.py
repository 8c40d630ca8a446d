"""Every bad input gets one sentence and a failure status; nothing is executed, nothing is written outside.

`hostile_harness.judge` has the assertions. A tenth of the cases runs by default, all of them with `--full`.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hostile_crates
import hostile_data
import hostile_records
import hostile_results
import hostile_settings
import pytest
from hostile_cases import CASES, KINDS
from hostile_harness import ROOT, Act, Case, judge, perform

pytestmark = [pytest.mark.hostile, pytest.mark.timeout(120)]

SAMPLE = (  # as processes of their own
    "pickle in an npy of images",
    "tar with a path above",
    "PostScript",
    "a package name that is an option of apt",
    "YAML: an object of Python, applied",
    "archive: a path above",
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_bad_input_gets_one_sentence(case: Case, tmp_path):
    judge(case, tmp_path)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_command_itself_says_the_same(name, tmp_path):
    (case,) = [case for case in CASES if case.name == name]
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    act = case.build(tmp_path / "inside")
    assert not callable(act.run)
    command = [sys.executable, "-c", "from reprood.cli.main import main; main()", *act.run]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=act.folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(word in sentence for word in case.words)
    assert not list((tmp_path / "outside").iterdir())


def good_data(inside: Path) -> Act:
    return hostile_data.dataset(inside, "npy", hostile_data.pair(hostile_data.IMAGES), classes=["a", "b"])


def good_archive(inside: Path) -> Act:
    files = {"x.tar.gz": hostile_data.tarred(*hostile_data.GOOD.items(), mode="w:gz")}
    return hostile_data.dataset(inside, "image_folder", files, channels=1)


def good_parquet(inside: Path) -> Act:
    files = {"x.parquet": hostile_data.table(image=hostile_data.CELLS, label=[0, 1, 0, 1])}
    return hostile_data.dataset(inside, "parquet", files, channels=1)


def good_suite(inside: Path) -> Act:
    (inside / "good.yaml").write_bytes(hostile_settings.TEXT)
    return Act(["check", "--suite", str(inside / "good.yaml")], ROOT)


def good_predictions(inside: Path) -> Act:
    hostile_results.predictions("good", lambda at: hostile_results.parquet(at, hostile_results.columns()))
    return hostile_results.CASES.pop().build(inside)


def good_model(inside: Path) -> Act:
    hostile_records.model("good", hostile_records.nothing)
    return hostile_records.CASES.pop().build(inside)


def good_metrics(inside: Path) -> Act:
    hostile_results.metrics("good", hostile_results.HEAD + hostile_results.LINE)
    return hostile_results.CASES.pop().build(inside)


def good_release(inside: Path) -> Act:
    return Act(["verify", str(hostile_crates.good_release())], inside)


@pytest.mark.parametrize("build", [
    good_data, good_archive, good_parquet, good_suite, good_predictions, good_model, good_metrics, good_release,
])  # fmt: skip
def test_good_input_of_the_same_kind_is_accepted(build, tmp_path):
    (tmp_path / "inside").mkdir()
    outcome = perform(build(tmp_path / "inside"), tmp_path)
    assert outcome.status == 0, outcome.said
    assert not outcome.seen


def test_the_harness_sees_what_it_must(tmp_path):
    """The harness notices execution, writing outside, loading a pickle and opening a connection."""
    import pickle
    import socket

    (tmp_path / "inside").mkdir()

    def run() -> None:
        (tmp_path / "outside.txt").write_text("x")
        subprocess.run([sys.executable, "-c", ""], check=True)
        pickle.loads(pickle.dumps(Counter))
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", 9))
        bytearray(1 << 40)

    outcome = perform(Act(run, tmp_path / "inside"), tmp_path)
    assert outcome.status == 99
    assert "MemoryError" in outcome.said
    events = " ".join(outcome.seen)
    assert all(word in events for word in ("outside.txt", "subprocess.Popen", "pickle.find_class", "socket.connect"))


def test_names_are_unique_and_the_page_counts_them():
    names = Counter((case.kind, case.name) for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(CASES) >= 250
    text = (ROOT / "docs/explanation/hostile-input.md").read_text(encoding="utf-8")
    counts = Counter(case.kind for case in CASES)
    for kind, count in [*((kind, counts[kind]) for kind in KINDS), ("all", len(CASES))]:
        assert f"| {kind} | {count} |" in text.splitlines()
