"""Which Snakemake processes work in this folder; the lock that a killed one left behind is removed.

Snakemake's lock is a list of files without an owner, so it cannot tell a lock that was left behind from one that is
held, and asks for `snakemake --unlock`. Here every Snakemake process holds a lock of the kernel for as long as it
lives (`<host>.<process>`), which says which of the two it is. Only processes of this host are ever taken for dead.
"""

import atexit
import fcntl
import os
import shutil
import socket
from pathlib import Path

from reprood.core.errors import ReproodError

FOLDER = Path(".snakemake/reprood")
LOCKS = Path(".snakemake/locks")
RECORDS = Path(".snakemake/metadata")
STARTING = "starting"

_held: dict[Path, int] = {}  # lock files of this process: closed, and so freed, by its end


def _lock(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a file; None when another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def announce(folder: Path = FOLDER, locks: Path = LOCKS) -> str:
    """Be among the processes that work here; what is returned is to be said, if anything.

    Another process waits here until this one calls `started` or ends, so that of two that begin at the same moment
    one sees the other's lock.

    Raises
    ------
    ReproodError
        When the folder cannot be written.
    """
    if _held:
        return ""  # the Snakefile is read again in the same process
    try:
        folder.mkdir(parents=True, exist_ok=True)
        starting = _lock(folder / STARTING, wait=True)
    except OSError as error:
        raise ReproodError(
            f"Cannot write {folder}: {error.strerror}; free some space or make the checkout's folder writable."
        ) from error
    assert starting is not None
    _held[(folder / STARTING).resolve()] = starting
    host = socket.gethostname()
    dead, others = [], 0
    for path in sorted(folder.glob("*.*")):
        if path.name.rpartition(".")[0] != host or (handle := _lock(path, wait=False)) is None:
            others += 1
            continue
        os.close(handle)
        dead.append(path)
    own = folder / f"{host}.{os.getpid()}"
    for path in dead:
        path.unlink()
        (folder.parent / f"reprood-{path.name.rpartition('.')[2]}.socket").unlink(missing_ok=True)  # of its warm server
    alive = _lock(own, wait=True)
    assert alive is not None
    _held[own.resolve()] = alive
    atexit.register(leave)
    if not dead or others or not locks.is_dir() or not any(locks.iterdir()):
        return ""
    shutil.rmtree(locks)
    locks.mkdir()
    return "a Snakemake that was killed in this folder left its lock; it was removed, and the run goes on."


def alone(folder: Path = FOLDER) -> bool:
    """Whether no other process works here, after `announce`."""
    for path in folder.glob("*.*"):
        if path.resolve() in _held:
            continue
        handle = _lock(path, wait=False) if path.name.rpartition(".")[0] == socket.gethostname() else None
        if handle is None:
            return False
        os.close(handle)
    return True


def drop_damaged_records(folder: Path = RECORDS) -> int:
    """Remove records of Snakemake that are no longer text, on which it would stop; their jobs run again.

    Records that are cut or otherwise no JSON are ignored by Snakemake itself. It writes ASCII, so that looking at
    all of a large suite's takes a few tenths of a second.
    """
    damaged = [path for path in folder.rglob("*") if path.is_file() and not path.read_bytes().isascii()]
    for path in damaged:
        path.unlink()
    return len(damaged)


def started() -> None:
    """Snakemake holds its own lock now: let others begin."""
    for path, handle in _held.items():
        if path.name == STARTING:
            fcntl.flock(handle, fcntl.LOCK_UN)


def leave() -> None:
    """Give everything back; a process that is killed does the same, but for the file."""
    for path, handle in _held.items():
        if path.name != STARTING:
            path.unlink(missing_ok=True)
        os.close(handle)
    _held.clear()
