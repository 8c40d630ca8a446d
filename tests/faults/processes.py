"""The processes of a running workflow: Snakemake and its jobs."""

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

JOB = re.compile(r"^(\S*python\S* )?(\S*bin/reprood|-m reprood) ")


def parents() -> dict[int, int]:
    """Return process id -> id of its parent, without zombies."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                found[int(folder.name)] = int(fields[1])
    return found


def descendants(top: int) -> list[int]:
    """Return the ids of all processes below a process."""
    parent_of, found, layer = parents(), [], [top]
    while layer:
        layer = [child for child, parent in parent_of.items() if parent in layer]
        found += layer
    return found


def command_line(process: int) -> str:
    """Return the command line of a process, or nothing when it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def jobs(processes: Iterable[int]) -> list[int]:
    """Return those that run a command of reprood."""
    return [process for process in processes if JOB.match(command_line(process))]


def send(process: int, number: int) -> bool:
    """Send a signal; return whether the process still existed."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


def survivors(processes: Iterable[int], seconds: float) -> list[str]:
    """Return the command lines of the processes that have not ended after a while."""
    left, stop = list(processes), time.monotonic() + seconds
    while left and time.monotonic() < stop:
        alive = parents()
        left = [process for process in left if process in alive]
        time.sleep(0.1)
    return [f"{process}: {command_line(process)[:150]}" for process in left]


def jobs_in(folder: Path) -> list[int]:
    """Return the jobs that run in a folder, started by any process."""
    found = []
    for process in jobs(parents()):
        try:
            if Path(os.readlink(f"/proc/{process}/cwd")) == folder:
                found.append(process)
        except OSError:  # it has ended
            continue
    return found


def wait_for_orphans(folder: Path, seconds: float) -> list[str]:
    """Wait until no job runs in a folder; return the command lines of those that still do."""
    return survivors(jobs_in(folder), seconds)
