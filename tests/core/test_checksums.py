"""Checksums around jobs: damage is noticed before a job starts, and lists stay correct under kills and concurrency."""

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reprood.core import checksums
from reprood.core.checksums import SUMS, checked_job, damaged, read_sums, verify_results
from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with two outputs of one job."""
    monkeypatch.chdir(tmp_path)
    with checked_job([], [Path("runs/a/model"), Path("runs/a/record")]):
        Path("runs/a").mkdir(parents=True)
        Path("runs/a/model").write_bytes(bytes(range(256)) * 40)
        Path("runs/a/record").write_text("{}")
    return tmp_path


def flip_byte(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 0xFF
    path.write_bytes(data)


def flip_bit(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def test_the_list_has_the_format_of_sha256sum(place):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd="runs/a", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_sums(Path("runs/a")) == {name: sha256_file(f"runs/a/{name}") for name in ("model", "record")}


@pytest.mark.parametrize("damage", [flip_byte, flip_bit, truncate])
def test_no_job_starts_on_a_damaged_input(place, damage):
    path = Path("runs/a/model")
    before = path.read_bytes()
    for seed in range(20):
        damage(path, random.Random(seed))
        words = r"runs/a/model was damaged or edited .*runs/a/SHA256SUMS.* remove it and run"
        with pytest.raises(ReproodError, match=words), checked_job([path], [Path("runs/a/out")]):
            pytest.fail("the job started")
        assert damaged(place) == ["runs/a/model"]
        assert damaged(place, quick=True) == ["runs/a/model"]
        path.write_bytes(before)
        assert damaged(place, quick=True) == damaged(place) == []
    assert not Path("runs/a/out").exists()


def test_a_list_above_the_folder_of_a_file_counts(place):
    with checked_job([], [Path("reports/index.html"), Path("reports/papers/csi.html")]):
        Path("reports/papers").mkdir(parents=True)
        Path("reports/index.html").write_text("a")
        Path("reports/papers/csi.html").write_text("b")
    assert set(read_sums(Path("reports"))) == {"index.html", "papers/csi.html"}
    Path("reports/papers/csi.html").write_text("c")
    with pytest.raises(ReproodError, match="csi.html was damaged"):
        checksums.verify_inputs([Path("reports/papers/csi.html")])


def test_files_without_an_entry_and_missing_files_are_not_checked(place):
    Path("runs/a/other").write_text("x")
    with checked_job([Path("runs/a/other"), Path("runs/a/missing")], []):
        pass
    Path("runs/a/record").unlink()
    assert damaged(place) == []


def test_a_command_rejects_a_damaged_file_in_one_sentence(place):
    Path("results").mkdir()
    with checked_job([], [Path("results/metrics.csv")]):
        Path("results/metrics.csv").write_text("benchmark,method\n")
    Path("results/metrics.csv").write_text("benchmark,methos\n")
    program = "from reprood.cli.main import main; main()"
    arguments = ["report", "plots", "--metrics", "results/metrics.csv", "--out", "plots.csv"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: results/metrics.csv was damaged or edited" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("plots.csv").exists()


def test_all_damaged_files_are_named_before_anything_runs(place):
    for name in ("model", "record"):
        Path("runs/a", name).write_text("other")
    words = r"results \(2\): runs/a/model, runs/a/record; .*results check --remove"
    with pytest.raises(ReproodError, match=words):
        verify_results(place, ["data", "runs/a"])
    verify_results(place, ["runs/b"])  # does not concern other suites


def test_a_file_is_read_again_only_if_it_may_have_changed(place, monkeypatch):
    assert damaged(place, quick=True) == []
    read = []
    monkeypatch.setattr(checksums, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    assert damaged(place, quick=True) == []
    assert read == []
    os.utime("runs/a/model")
    assert damaged(place, quick=True) == []
    assert [path.name for path in read] == ["model"]
    Path("state/seen.json").write_text("{")
    assert damaged(place, quick=True) == []
    assert [path.name for path in read[1:]] == ["model", "record"]


def test_a_file_that_is_being_written_has_no_entry(place):
    with pytest.raises(ValueError, match="the job fails"), checked_job([], [Path("runs/a/model")]):
        Path("runs/a/model").write_bytes(b"new")
        assert damaged(place) == []
        raise ValueError("the job fails")
    assert damaged(place) == []
    assert read_sums(Path("runs/a")) == {"record": sha256_file("runs/a/record")}


def test_a_list_without_entries_is_removed(place):
    with pytest.raises(ValueError, match="fails"), checked_job([], [Path("runs/a/model"), Path("runs/a/record")]):
        raise ValueError("fails")
    assert not Path("runs/a", SUMS).exists()


def test_temporary_files_of_a_killed_job_are_removed(place):
    leftover, other = Path("runs/a/.model.abc.x"), Path("runs/a/.record.abc.x")
    leftover.write_bytes(b"half")
    other.write_bytes(b"half")
    with checked_job([], [Path("runs/a/model")]):
        assert not leftover.exists()
    assert other.exists()  # belongs to another job


def test_jobs_that_write_into_one_folder_lose_no_entry(tmp_path):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from reprood.core.checksums import checked_job
        for number in range(20):
            path = Path("results") / f"{sys.argv[1]}.{number}"
            with checked_job([], [path]):
                path.write_text(sys.argv[1])
    """)
    (tmp_path / "results").mkdir()
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(k)], cwd=tmp_path) for k in range(4)]
    assert [job.wait() for job in jobs] == [0] * 4
    assert len(read_sums(tmp_path / "results")) == 80
    assert damaged(tmp_path) == []


def test_an_invalid_list_is_reported(place):
    (place / "runs/a" / SUMS).write_bytes(b"\xff\x00 noise")
    with pytest.raises(ReproodError, match=r"SHA256SUMS, line 1: expected a SHA-256 and a name; remove"):
        checksums.verify_inputs([Path("runs/a/model")])
