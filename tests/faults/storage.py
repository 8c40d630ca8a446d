"""The disk: full, read-only, and /dev/shm without space."""

import os
import shutil
import subprocess
from pathlib import Path

from digest import wrong_so_far
from workplace import Count, Reference, Workplace, last_words

PART = ("runs/smoke_objects",)  # trained again here
WORDS = ("No space left", "free some", "read-only", "Read-only", "Write-protected")  # the last is Snakemake's


def without(place: Workplace, *more: str) -> None:
    """Take away what two benchmarks' runs made, so that there is work."""
    for name in (*PART, *more):
        shutil.rmtree(place.folder / name, ignore_errors=True)
        if name in PART:
            (place.folder / name).mkdir()


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def judge(count: Count, place: Workplace, reference: Reference, status: int, text: str, words: tuple[str, ...]) -> None:
    """The run with the fault failed, said why, and left nothing that is wrong."""
    if status == 0:
        count.losses.append("the command ended with status 0 although it could not write")
    if not any(word in text for word in words):
        count.losses.append("no sentence says why")
    count.losses += wrong_so_far(reference.files, place.folder)


def disk_full(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """The folder of runs, then the whole workplace, on a small disk; then the disk grows."""
    runs, whole = Count("disk full: folder of the runs"), Count("disk full: the whole workplace")
    if os.geteuid():
        return [Count("disk full", note="left out: needs root")]
    for size in ("64k", "300k"):
        place = Workplace.copy(reference, folder, cores)
        without(place)
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place.folder / PART[0])
        try:
            end = place.run()
            runs.times += 1
            judge(runs, place, reference, end.status, end.text, WORDS)
            mount("-o", "remount,size=1G", place.folder / PART[0])
            runs.said += place.must_end_well(runs, reference)
        finally:
            subprocess.run(["umount", str(place.folder / PART[0])], check=True)
    used = sum(path.stat().st_blocks * 512 for path in reference.folder.rglob("*") if not path.is_symlink())
    for spare in (-400_000, 300_000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        mount("-t", "tmpfs", "-o", "size=1G", "tmpfs", folder)
        try:
            subprocess.run(["cp", "-a", f"{reference.folder}/.", str(folder)], check=True)
            place = Workplace(folder, cores, fill=False)
            without(place)
            mount("-o", f"remount,size={(used + spare) // 1024}k", folder)
            end = place.run()
            whole.times += 1
            if end.status:
                judge(whole, place, reference, end.status, end.text, WORDS)
            mount("-o", "remount,size=1G", folder)
            whole.said += place.must_end_well(whole, reference)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    return [runs, whole]


def read_only(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """Results, runs, or everything cannot be written."""
    count = Count("read-only folder")
    if os.geteuid():
        return [Count("read-only folder", note="left out: needs root for a read-only mount")]
    for part in ("results", "runs", "state", "."):
        place = Workplace.copy(reference, folder, cores)
        without(place, "results/studies/cnc_toy")
        target = place.folder / part
        mount("--bind", target, target)
        try:
            mount("-o", "remount,bind,ro", target)
            end = place.run()
            count.times += 1
            judge(count, place, reference, end.status, end.text, WORDS)
            if end.defect:
                count.losses.append(f"{part}: a traceback: {last_words(end)}")
        finally:
            subprocess.run(["umount", str(target)], check=True)
        count.said += place.must_end_well(count, reference)
    return [count]


def shared_memory(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """No space in /dev/shm: nothing here needs it."""
    count = Count("no space in /dev/shm")
    if os.geteuid():
        return [Count("no space in /dev/shm", note="left out: needs root for a mount")]
    mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm")
    try:
        Path("/dev/shm/full").write_bytes(b"0" * 4096)
        place = Workplace.copy(reference, folder, cores)
        without(place, "reports/notebooks", "results/studies")
        count.times += 1
        count.healed += place.must_end_well(count, reference)
    finally:
        subprocess.run(["umount", "/dev/shm"], check=True)
    return [count]
