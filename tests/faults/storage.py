"""The disk: full, read-only, and /dev/shm without space. Everything here needs root, to mount file systems."""

import ctypes
import functools
import os
import shutil
import subprocess
from pathlib import Path

from digests import wrong_files
from workspace import Reference, Tally, Workspace, summary

PART = "runs/smoke_objects"  # trained again here
MESSAGES = ("No space left", "free some", "read-only", "Read-only", "Write-protected")  # the last is Snakemake's
CLONE_NEWNS = 0x00020000


@functools.cache
def private_mounts() -> None:
    """Move this process to a mount namespace of its own, so that its mounts end with it.

    Raises
    ------
    OSError
        Without the right to do so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def can_mount() -> bool:
    """Return whether file systems can be mounted here."""
    if os.geteuid():
        return False
    try:
        private_mounts()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def remove_part(place: Workspace, *more: str) -> None:
    """Remove the runs of one benchmark, so that there is something to run."""
    for name in (PART, *more):
        shutil.rmtree(place.folder / name, ignore_errors=True)
    (place.folder / PART).mkdir()


def mount(*arguments: str | Path) -> None:
    """Mount a file system."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def check_failure(tally: Tally, place: Workspace, reference: Reference, status: int, text: str) -> None:
    """Check that a run that could not write has failed, said why, and left no wrong file."""
    if status == 0:
        tally.losses.append("the command ended with status 0 although it could not write")
    if not any(message in text for message in MESSAGES):
        tally.losses.append("no message says why")
    tally.losses += wrong_files(reference.files, place.folder)


def disk_full(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Put the folder of runs, then the whole workspace, on a small disk; then enlarge the disk."""
    folder, cores = place.folder, place.cores
    runs, everything = Tally("disk full: folder of the runs"), Tally("disk full: the whole workspace")
    for size in ("64k", "300k"):
        place = Workspace.copy(reference, folder, cores)
        remove_part(place)
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder / PART)
        try:
            outcome = place.run()
            runs.times += 1
            check_failure(runs, place, reference, outcome.status, outcome.text)
            mount("-o", "remount,size=1G", folder / PART)
            place.recover(runs, reference, followed=True)
        finally:
            subprocess.run(["umount", str(folder / PART)], check=True)
    used = sum(path.stat().st_blocks * 512 for path in reference.folder.rglob("*") if not path.is_symlink())
    for spare in (-400_000, 300_000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        mount("-t", "tmpfs", "-o", "size=1G", "tmpfs", folder)
        try:
            subprocess.run(["cp", "-a", f"{reference.folder}/.", str(folder)], check=True)
            place = Workspace(folder, cores, fill=False)
            remove_part(place)
            mount("-o", f"remount,size={(used + spare) // 1024}k", folder)
            outcome = place.run()
            everything.times += 1
            if outcome.status:
                check_failure(everything, place, reference, outcome.status, outcome.text)
            mount("-o", "remount,size=1G", folder)
            place.recover(everything, reference, followed=True)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    return [runs, everything]


def read_only(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Make results, runs, resume state or everything read-only; then writable again."""
    tally = Tally("read-only folder")
    folder, cores = place.folder, place.cores
    for part in ("results", "runs", "state", "."):
        place = Workspace.copy(reference, folder, cores)
        remove_part(place, str(place.find("results/**/cnc_toy/values.csv").parent))
        target = folder / part
        mount("--bind", target, target)
        try:
            mount("-o", "remount,bind,ro", target)
            outcome = place.run()
            tally.times += 1
            check_failure(tally, place, reference, outcome.status, outcome.text)
            if outcome.has_traceback:
                tally.losses.append(f"{part}: a traceback: {summary(outcome)}")
        finally:
            subprocess.run(["umount", str(target)], check=True)
        place.recover(tally, reference, followed=True)
    return [tally]


def no_shared_memory(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Fill /dev/shm, which nothing here needs."""
    tally = Tally("no space in /dev/shm")
    mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm")
    try:
        Path("/dev/shm/full").write_bytes(b"0" * 4096)
        remove_part(place, str(place.find("results/**/cnc_toy/values.csv").parent))
        tally.times += 1
        place.recover(tally, reference)
    finally:
        subprocess.run(["umount", "/dev/shm"], check=True)
    return [tally]
