"""Checks before Snakemake plans, for states of a checkout that it fails on without saying what to do; and clean-up."""

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from reprood.core.errors import ReproodError

TOLERANCE = 5.0  # seconds by which a file may be newer than the clock (clocks of file servers differ)


def warn_of_future_times(paths: Iterable[str], now: float | None = None) -> bool:
    """Print a warning if a file is newer than the clock, because Snakemake fails jobs that read such a file.

    Parameters
    ----------
    paths : iterable of str
        Files that may exist.
    now : float, optional
        The time to compare with, in seconds since the epoch; by default the clock's.

    Returns
    -------
    bool
        Whether a warning was printed.
    """
    newest, latest = "", 0.0
    for path in paths:
        try:
            modified = os.stat(path).st_mtime
        except OSError:
            continue
        if modified > latest:
            newest, latest = path, modified
    now = time.time() if now is None else now
    if latest <= now + TOLERANCE:
        return False
    print(
        f"reprood: warning: {newest} is {latest - now:,.0f} s newer than this computer's clock, and Snakemake fails "
        "jobs whose inputs are newer than their outputs. Correct the clock if it is wrong. Otherwise run "
        "`snakemake --cores 1 --touch --forceall`, which sets the times of all results to now; edits of the code since "
        "the results were written are then not noticed.",
        file=sys.stderr,
    )
    return True


def require_readable_records(folder: Path) -> None:
    """Check that Snakemake can read its records of finished jobs.

    It ignores a record that is not JSON, but ends with a traceback at one that is not text.

    Raises
    ------
    ReproodError
        Names the file to delete.
    """
    for path, _, names in os.walk(folder):
        for name in names:
            record = Path(path, name)
            try:
                record.read_bytes().decode("utf-8")
            except UnicodeDecodeError as error:
                raise ReproodError(
                    f"{record} is damaged: it is Snakemake's record of a finished job and not text. Delete it; the job "
                    "that it describes then runs again."
                ) from error


def cancel_timers() -> None:
    """Cancel the timers of this process, so that it ends now.

    With every job, Snakemake starts a timer (`max-jobs-per-timespan`) that wakes its scheduler again and again until
    the end of the run. The default profile has a long timespan for that reason, and the process would wait for the
    last timer.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
