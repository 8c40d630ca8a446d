"""One job in a process of its own: the command line of the workflow, made to stop at a checkpoint when asked to."""

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprood.core.process import exit_status

PR_SET_PDEATHSIG = 1
STOPPED = 75  # the exit status of a training that stopped because it was asked to (EX_TEMPFAIL)


class Patience(float):
    """Seconds between two checkpoints that are over at once when the process is asked to stop.

    A training compares the time since its last checkpoint with this number after every step. Asked to stop, the first
    comparison has a checkpoint written, and the next one ends the process.
    """

    asked = False
    answered = False

    def __le__(self, elapsed: float) -> bool:
        if not Patience.asked:
            return float.__le__(self, elapsed)
        if Patience.answered:
            raise SystemExit(STOPPED)
        Patience.answered = True
        return True


def _stop(*_: object) -> None:
    Patience.asked = True


def start(arguments: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str]) -> int:
    """Fork a process that does `reprood <arguments>` in a folder; its id. Its output is added to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    atexit._clear()  # the parent's exit handlers (folders to be removed, say) are not this process's
    os.setsid()  # the terminal's Ctrl-C is for the parent, which then asks its children to stop
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.chdir(folder)
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _stop if arguments[0] == "train" else signal.SIG_DFL)
    sys.argv[:] = ["reprood", *arguments]
    os._exit(exit_status(_run))


def _run() -> None:
    import reprood.train.run
    from reprood.cli.main import main

    train_run = reprood.train.run.train_run

    def patient(*args: Any, checkpoint_seconds: float, **options: Any) -> None:
        train_run(*args, checkpoint_seconds=Patience(checkpoint_seconds), **options)

    reprood.train.run.train_run = patient  # type: ignore[assignment]  # the command line asks the module for it
    main()
