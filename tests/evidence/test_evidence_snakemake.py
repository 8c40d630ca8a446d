"""Calls of Snakemake end with their time and with Ctrl-C, and a killed one leaves no lock behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from reprood.core.errors import ReproodError
from reprood.evidence import snakemake

SNAKEFILE = """
rule slow:
    output: "slow"
    shell: "touch started; sleep 60; touch {output}"
rule quick:
    output: "quick"
    shell: "touch {output}"
rule wrong:
    output: "wrong"
    shell: "echo no such thing >&2; exit 3"
"""
OPTIONS = ("--cores", "1")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def run(root, *targets, **options) -> bool:
    return snakemake.run(root, targets, OPTIONS, root / "logs" / "log", **options)


def locks(root) -> list:
    return list((root / ".snakemake" / "locks").glob("*"))


def named(root) -> str:
    return (root / snakemake.LOCK).read_text()


def when_started(root, action) -> threading.Thread:
    def wait() -> None:
        while not (root / "started").exists():
            time.sleep(0.05)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_it_reaches_its_targets(root):
    assert run(root, "quick") is True
    assert (root / "quick").exists()
    assert named(root) == ""


def test_a_failed_job_is_one_sentence(root):
    with pytest.raises(ReproodError, match="Snakemake failed; the end of .*log: .*Error in rule wrong"):
        run(root, "wrong")


def test_it_ends_with_its_time(root):
    assert run(root, "slow", until=time.monotonic() + 8) is False
    assert not locks(root)
    assert not (root / "slow").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_snakemake_and_its_jobs(root, number):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        thread = when_started(root, lambda: os.kill(os.getpid(), number))
        with pytest.raises(ReproodError, match="Interrupted: "):
            run(root, "slow")
        thread.join()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not locks(root)
    assert named(root) == ""
    assert run(root, "quick") is True


CALL = """
from pathlib import Path
from reprood.evidence import snakemake
snakemake.run(Path(), ["slow"], ["--cores", "1"], Path("log"))
"""


def test_a_killed_call_is_waited_for_and_unlocked(root):
    process = subprocess.Popen([sys.executable, "-c", CALL], cwd=root)
    when_started(root, process.kill).join()
    process.wait()
    child = int(named(root))
    with pytest.raises(ReproodError, match=rf"runs here \(process {child}\)"):
        run(root, "quick")
    os.killpg(child, signal.SIGKILL)
    time.sleep(1)  # it needs a moment to end
    (root / "started").unlink()
    names = []

    def stop() -> None:
        names.append(named(root))
        os.kill(os.getpid(), signal.SIGINT)

    thread = when_started(root, stop)
    with pytest.raises(ReproodError, match="Interrupted: "):
        run(root, "slow")
    thread.join()
    assert int(names[0]) != child  # it replaces the name of the killed one
    assert len(names[0]) < len(f"{child}{child}")
    assert not locks(root)
    assert named(root) == ""
