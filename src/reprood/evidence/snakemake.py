"""Calls of Snakemake that end at a time, or with this process, and leave no lock behind."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from reprood.core.errors import ReproodError

LOCK = Path("state/evidence.lock")  # held by Snakemake while it runs; names its process until it has ended
POLL, SHOW = 0.2, 60.0  # seconds between two looks at the process; between two lines of progress


def run(
    root: Path,
    targets: Sequence[str],
    options: Sequence[str],
    log: Path,
    *,
    until: float | None = None,
    progress: Callable[[], None] = lambda: None,
) -> bool:
    """Run Snakemake and return whether it reached its targets; False when the time ended first.

    Its output goes to `log`. When the time ends, or on Ctrl-C or SIGTERM, it and its jobs get SIGINT, and trainings go
    on from their last checkpoints in the next call. The lock of a call that was killed is removed first.

    Parameters
    ----------
    root : Path
        The checkout.
    targets, options : sequence of str
        Targets; without any, the default ones. Options.
    log : Path
        File for its output, which is appended.
    until : float, optional
        End, on the monotonic clock.
    progress : callable
        Called once a minute.

    Raises
    ------
    ReproodError
        When a job fails, the Snakemake of another call runs here, or the call is interrupted.
    """
    command = [sys.executable, "-m", "snakemake"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root) as lock, _signals(), open(log, "ab") as stream:
        if lock.read():
            subprocess.run([*command, "--unlock", *options], cwd=root, stdout=stream, stderr=stream, check=False)
        begin = stream.tell()
        child = subprocess.Popen(
            [*command, *targets, *options],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.truncate(0)
        lock.write(str(child.pid))
        lock.flush()
        try:
            in_time = _wait(child, until, progress)
        except KeyboardInterrupt:
            _stop(child)
            raise ReproodError(
                "Interrupted: Snakemake and its jobs were stopped; what has finished is kept. The same command goes on."
            ) from None
        finally:
            if child.poll() is not None:
                lock.truncate(0)
    if in_time and child.returncode:
        raise ReproodError(f"Snakemake failed; the end of {log}: {_end_of(log, begin)}")
    return in_time


@contextmanager
def _locked(root: Path) -> Iterator[TextIO]:
    """Give the open and locked file. The kernel frees the lock when all who have it open have ended, even if killed."""
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as stream:
        stream.seek(0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReproodError(
                f"The Snakemake of another `reprood evidence` runs here (process {stream.read()}); wait until it ends, "
                "or stop it with `kill -INT` and its number."
            ) from error
        yield stream


@contextmanager
def _signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt.

    Also SIGINT: where it is ignored (jobs in the background), Snakemake would inherit that and could not be stopped.
    """
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _wait(child: "subprocess.Popen[bytes]", until: float | None, progress: Callable[[], None]) -> bool:
    """Wait for the process, and stop it when the time ends; return whether it ended by itself."""
    shown = time.monotonic()
    while child.poll() is None:
        now = time.monotonic()
        if until is not None and now >= until:
            _stop(child)
            return False
        if now - shown >= SHOW:
            progress()
            shown = now
        time.sleep(POLL)
    return True


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """Send SIGINT to Snakemake and its jobs, as Ctrl-C in a terminal does, and wait."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
    child.wait()


def _end_of(log: Path, begin: int) -> str:
    """Return the last words of a call."""
    with open(log, "rb") as stream:
        stream.seek(begin)
        return " ".join(stream.read().decode(errors="replace").split())[-600:]
