"""The short form of the harness: what is damaged is not used, what is left behind is told from what is held."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from reprood.clock import set_back

from reprood import presence
from reprood.core import checksums as sums
from reprood.core.checksums import SUMS, damaged, read_list, require_all_whole, stated, whole
from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from corruption import cut, flip
from digest import differences, is_page
from harness import table
from workplace import Count


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder as a job sees it, with one input that another job has written."""
    monkeypatch.chdir(tmp_path)
    with whole([], [Path("runs/a/model"), Path("runs/a/record")]):
        Path("runs/a").mkdir(parents=True)
        Path("runs/a/model").write_bytes(bytes(range(256)) * 40)
        Path("runs/a/record").write_text("{}")
    return tmp_path


def test_the_list_is_that_of_sha256sum(place):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd="runs/a", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_list(Path("runs/a")) == {name: sha256_file(f"runs/a/{name}") for name in ("model", "record")}


@pytest.mark.parametrize("change", [flip, cut, lambda path, rng: flip(path, rng, True)])
def test_no_job_begins_on_a_damaged_file(place, change):
    import random

    for seed in range(20):
        path = Path("runs/a/model")
        before = path.read_bytes()
        change(path, random.Random(seed))
        words = r"runs/a/model is not what its job wrote .* remove it and run"
        with pytest.raises(ReproodError, match=words), whole([path], [Path("runs/a/out")]):
            pytest.fail("the job began")
        assert damaged(place) == ["runs/a/model"]
        assert damaged(place, quick=True) == ["runs/a/model"]
        path.write_bytes(before)
        assert damaged(place, quick=True) == damaged(place) == []
    assert not Path("runs/a/out").exists()


def test_a_command_refuses_a_damaged_file_in_one_sentence(place):
    Path("results").mkdir()
    with whole([], [Path("results/metrics.csv")]):
        Path("results/metrics.csv").write_text("benchmark,method\n")
    Path("results/metrics.csv").write_text("benchmark,methos\n")
    command = [
        sys.executable,
        "-m",
        "reprood",
        "report",
        "plots",
        "--metrics",
        "results/metrics.csv",
        "--out",
        "plots.csv",
    ]
    command[1:3] = ["-c", "from reprood.cli.main import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: results/metrics.csv is not what its job wrote" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("plots.csv").exists()


def test_everything_damaged_is_named_before_anything_runs(place):
    for name in ("model", "record"):
        Path("runs/a", name).write_text("other")
    with pytest.raises(
        ReproodError, match=r"2 files are not what the jobs wrote: runs/a/model, runs/a/record .*intact"
    ):
        require_all_whole(place, ["data", "runs/a"])
    require_all_whole(place, ["runs/b"])  # another suite's files are not its business


def test_what_was_read_once_is_read_again_only_when_it_may_have_changed(place, monkeypatch):
    assert damaged(place, quick=True) == []
    read = []
    monkeypatch.setattr(sums, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    assert damaged(place, quick=True) == []
    assert read == []
    os.utime("runs/a/model")
    assert damaged(place, quick=True) == []
    assert [path.name for path in read] == ["model"]
    Path("state/seen.json").write_text("{")
    assert damaged(place, quick=True) == []


def test_a_file_that_is_being_written_is_not_taken_for_damaged(place):
    with pytest.raises(ValueError, match="the job fails"), whole([], [Path("runs/a/model")]):
        Path("runs/a/model").write_bytes(b"new")
        assert damaged(place) == []
        raise ValueError("the job fails")
    assert damaged(place) == []
    assert read_list(Path("runs/a")) == {"record": sha256_file("runs/a/record")}


def test_what_a_killed_job_left_half_written_is_swept_away(place):
    left, other = Path("runs/a/.model.abc.x"), Path("runs/a/.record.abc.x")
    left.write_bytes(b"half")
    other.write_bytes(b"half")
    with whole([], [Path("runs/a/model")]):
        assert not left.exists()
    assert other.exists()  # another job's


def test_jobs_that_write_into_one_folder_lose_no_entry(tmp_path):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from reprood.core.checksums import whole
        for number in range(20):
            path = Path("results") / f"{sys.argv[1]}.{number}"
            with whole([], [path]):
                path.write_text(sys.argv[1])
    """)
    (tmp_path / "results").mkdir()
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(k)], cwd=tmp_path) for k in range(4)]
    assert [job.wait() for job in jobs] == [0] * 4
    assert len(read_list(tmp_path / "results")) == 80
    assert damaged(tmp_path) == []


def test_a_list_that_is_none_is_said(place):
    (place / "runs/a" / SUMS).write_bytes(b"\xff\x00 noise")
    with pytest.raises(ReproodError, match=r"SHA256SUMS, line 1: expected a SHA-256 digest and a name; remove"):
        stated(Path("runs/a/model"))


def test_a_clock_that_went_back(place):
    """What was newer stays newer, and nothing is in the future any more."""
    day = 86_400
    with whole([Path("runs/a/model")], [Path("runs/a/predictions")]):
        Path("runs/a/predictions").write_text("x")
    assert set_back(Path()) == ""
    now = time.time()
    for seconds, name in enumerate(("runs/a/model", "runs/a/predictions", "state/newest")):
        os.utime(name, (now + day + seconds, now + day + seconds))
    (place / "config").mkdir()
    os.symlink("/nowhere", place / "config/link")
    assert re.search(r"the clock stands 864\d\d s before the newest result; all", set_back(Path()))
    times = [Path(name).stat().st_mtime for name in ("runs/a/model", "runs/a/predictions", "state/newest")]
    assert times[-1] <= time.time()
    assert np.allclose(np.diff(times), 1, atol=0.01)
    assert set_back(Path()) == ""
    assert damaged(Path(), quick=True) == []


def test_the_newest_time_is_noted(place):
    for number in range(2):
        with whole([], [Path(f"runs/a/{number}")]):
            Path(f"runs/a/{number}").write_text("x")
    first = Path("state/newest").stat().st_mtime_ns
    os.utime("state/newest", (1e9, 1e9))
    with whole([], [Path("runs/a/3")]):
        Path("runs/a/3").write_text("x")
    assert Path("state/newest").stat().st_mtime_ns >= first


SNAKEMAKE = """
import os, sys, time
from pathlib import Path
from reprood import presence
print(presence.announce(), flush=True)
presence.started()
Path(".snakemake/locks").mkdir(exist_ok=True)
Path(".snakemake/locks/0.output.lock").write_text("file")
time.sleep(60)
"""


def snakemake(folder: Path) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen([sys.executable, "-c", SNAKEMAKE], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def wait_for(path: Path) -> None:
    stop = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < stop, "waited too long"
        time.sleep(0.01)


def test_the_lock_of_a_killed_snakemake_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    lock = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    first, said = snakemake(tmp_path)
    assert said == ""
    wait_for(lock)
    second, said = snakemake(tmp_path)
    assert said == ""
    assert lock.exists()
    end(second)
    third, said = snakemake(tmp_path)  # one has died, one lives: nothing is touched
    assert said == ""
    assert lock.exists()
    end(third)
    end(first)
    fourth, said = snakemake(tmp_path)
    assert "a Snakemake that was killed in this folder left its lock; it was removed" in said
    end(fourth)


def test_processes_of_other_hosts_are_never_taken_for_dead(tmp_path):
    first, _ = snakemake(tmp_path)
    lock = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    wait_for(lock)
    end(first)
    (tmp_path / ".snakemake" / "reprood" / "elsewhere.1").touch()
    second, said = snakemake(tmp_path)
    assert said == ""
    assert lock.exists()
    end(second)


def test_damaged_records_of_snakemake_are_dropped(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "@long" / "bad"
    bad.parent.mkdir()
    good.write_text('{"rule": "train"}')
    bad.write_bytes(b'{"rule": "tr\xe1in"}')
    assert presence.drop_damaged_records(tmp_path) == 1
    assert good.exists()
    assert not bad.exists()
    assert presence.drop_damaged_records(tmp_path) == 0


def test_a_process_that_ends_leaves_no_mark(tmp_path):
    code = "from reprood import presence; presence.announce()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / presence.FOLDER).iterdir()] == [presence.STARTING]
    assert socket.gethostname()


def test_a_command_dies_with_the_snakemake_that_started_it(tmp_path):
    """No warm server answers, so that the command works by itself."""
    command = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from reprood import warm
        import reprood.cli.main
        def work():
            Path("working").write_text(str(os.getpid()))
            time.sleep(60)
        reprood.cli.main.main = work
        warm.main()
    """)
    (tmp_path / "command.py").write_text(command)
    head = textwrap.dedent(f"""
        import os, subprocess, sys
        environment = {{**os.environ, "REPROOD_WARM": f".snakemake/reprood-{{os.getpid()}}.socket"}}
        subprocess.run(["bash", "-c", "{sys.executable} command.py; true"], env=environment)
    """)
    process = subprocess.Popen([sys.executable, "-c", head], cwd=tmp_path)
    wait_for(tmp_path / "working")
    time.sleep(0.1)
    worker = int((tmp_path / "working").read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stop = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and "\nState:\tZ" not in Path(f"/proc/{worker}/status").read_text():
        assert time.monotonic() < stop, "it lived on"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("MemoryError()", "Not enough memory for `reprood data`"),
        ('RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory")', "can't allocate memory"),
        ("OSError(28, 'No space left on device', 'x.npy')", "No space left on device (x.npy); free some space"),
        ("OSError(30, 'Read-only file system', 'state')", "Read-only file system (state)"),
    ],
)
def test_memory_and_disk_are_one_sentence(raised, words):
    code = (
        "import sys; import reprood.cli.main as cli; sys.argv = ['reprood', 'data']\n"
        f"def broken(): raise {raised}\n"
        "cli.app = broken; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_other_errors_keep_their_traceback():
    code = "import reprood.cli.main as cli\ndef broken(): raise RuntimeError('a defect')\ncli.app = broken; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: a defect" in done.stderr


def test_the_harness_sees_what_is_missing_changed_or_too_much():
    assert differences({"a": "1", "b": "2"}, {"a": "3", "c": "4"}) == [
        "b: missing",
        "a: other bytes",
        "c: should not be there",
    ]
    assert is_page("reports/papers/csi.html")
    assert not is_page("reports/notebooks/explore.html")


def test_the_harness_counts_losses():
    text = table([Count("one", 2, 2), Count("two", 3, 1, 1, ["lost"])])
    assert text.splitlines()[-1] == "| all | 5 | 3 | 1 | 1 |"


def test_flips_change_one_bit(tmp_path):
    import random

    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    flip(path, random.Random(0), True)
    assert np.unpackbits(np.frombuffer(path.read_bytes(), np.uint8)).sum() == 1
