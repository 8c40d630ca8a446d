"""The processes of a running workflow: Snakemake, its jobs, its warm server and the forks of it."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def parents() -> dict[int, int]:
    """Process -> its parent."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                told = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if told[0] != "Z":
                found[int(folder.name)] = int(told[1])
    return found


def below(top: int) -> list[int]:
    """The descendants of a process."""
    above, found, layer = parents(), [], [top]
    while layer:
        layer = [child for child, parent in above.items() if parent in layer]
        found += layer
    return found


def command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def servers(processes: Iterable[int]) -> list[int]:
    """The warm server among them: the first of those with its command, the others are its forks."""
    above = parents()
    found = [process for process in processes if "from reprood.warm import serve" in command(process)]
    return [process for process in found if above.get(process) not in found]


def jobs(processes: Iterable[int]) -> list[int]:
    """What does the work: forks of the server, commands that ask for them, commands that work by themselves."""
    processes = list(processes)
    heads = servers(processes)
    return [p for p in processes if p not in heads and ("reprood" in command(p)) and not command(p).startswith("bash")]


def send(process: int, number: int) -> bool:
    """Send a signal; false when the process has gone."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


def gone(processes: Iterable[int], seconds: float) -> list[str]:
    """The commands of those that still live after a while."""
    left, stop = list(processes), time.monotonic() + seconds
    while left and time.monotonic() < stop:
        time.sleep(0.1)
        alive = parents()
        left = [process for process in left if process in alive]
    return [f"{process}: {command(process)[:150]}" for process in left]
