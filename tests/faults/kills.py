"""Kill random jobs, Snakemake, its process group and its warm server at random moments; the same command goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from digest import wrong_so_far
from processes import below, gone, jobs, send, servers
from workplace import Count, Reference, Workplace, last_words

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
ENDS = ("Snakemake", "group")  # faults after which Snakemake ends
CHECKPOINTS = ("checkpoint_seconds=0.2",)
KINDS = {
    "job, SIGKILL": ("job", KILL),
    "job, SIGTERM": ("job", TERM),
    "Snakemake, SIGKILL": ("Snakemake", KILL),
    "Snakemake, SIGTERM": ("Snakemake", TERM),
    "process group, SIGKILL": ("group", KILL),
    "process group, SIGTERM": ("group", TERM),
    "process group, SIGINT": ("group", INT),
    "warm server, SIGKILL": ("server", KILL),
    "warm server, SIGTERM": ("server", TERM),
}
EARLY, LATER = (0.3, 10), (0.5, 5)  # seconds after the start, and after the first job or the last kill
WEIGHTS = (8, 4, 3, 1, 3, 1, 1, 2, 1)


def kill(place: Workplace, top: int, target: str, number: int, rng: random.Random) -> list[int] | None:
    """Bring the fault about; gives the processes that must not outlive it, None when there was nothing to kill."""
    family = below(top)
    if target == "group":
        os.killpg(top, number)
        return [top, *family]
    if target == "Snakemake":
        return [top, *family] if send(top, number) else None
    chosen = (jobs if target == "job" else servers)(family)
    if not chosen:
        return None
    process = rng.choice(chosen)
    return [process] if send(process, number) else None


def wait(process: subprocess.Popen, rng: random.Random) -> None:
    """Until a random moment: now and then soon after the start, mostly while jobs run."""
    early = rng.random() < 0.15
    while process.poll() is None and not early and not below(process.pid):
        time.sleep(0.1)  # no job yet
    stop = time.monotonic() + rng.uniform(*(EARLY if early else LATER))
    while process.poll() is None and time.monotonic() < stop:
        time.sleep(0.05)


def _say_new(counts: list[Count], told: list[int], say: Callable[[str], None]) -> None:
    """Losses are said when they are seen."""
    for number, count in enumerate(counts):
        for loss in count.losses[told[number] :]:
            say(f"LOSS: {count.fault}: {loss}")
        told[number] = len(count.losses)


def random_kills(
    folder: Path, reference: Reference, kills: int, seed: int, cores: int, say: Callable[[str], None]
) -> list[Count]:
    """The suite again and again, until `kills` kills have been brought about and what they left has been finished.

    What was counted lies beside the workplace, so that a harness that was stopped goes on, too.
    """
    ledger = folder.parent / "kills.json"
    counts = {name: Count(f"kill: {name}") for name in KINDS}
    finished = Count("suites finished after kills")
    every = [*counts.values(), finished]
    touched: list[str] = []  # kinds of the faults since this workplace began
    if ledger.exists():
        known = json.loads(ledger.read_text())
        touched = known["touched"]
        for count, values in zip(every, known["counts"], strict=True):
            vars(count).update(values)
        say(f"goes on after {sum(count.times for count in counts.values())} kills")
        place = Workplace(folder, cores, fill=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        place = Workplace(folder, cores)
    told = [len(count.losses) for count in every]

    def remember() -> None:
        _say_new(every, told, say)
        ledger.write_text(json.dumps({"touched": touched, "counts": [vars(count) for count in every]}))

    while (done := sum(count.times for count in counts.values())) < kills or touched:
        rng = random.Random(f"{seed} {done}")
        process, hit = place.start(settings=CHECKPOINTS), False
        while done < kills and process.poll() is None:
            wait(process, rng)
            if process.poll() is not None:
                break
            name = rng.choices(list(KINDS), WEIGHTS)[0]
            target, number = KINDS[name]
            victims = kill(place, process.pid, target, number, rng)
            if victims is None:
                continue  # no job was running: another moment
            done, hit = done + 1, True
            touched.append(name)
            count = counts[name]
            count.times += 1
            say(f"{done}: {name}")
            if target in ENDS:
                place.end(process, 300)  # after SIGTERM it waits for its running jobs
            if target not in ENDS or number == KILL:
                count.losses += [f"it lived on ({left})" for left in gone(victims, 30)]
            count.losses += wrong_so_far(reference.files, place.folder)
            remember()
        end = place.end(process)
        if end.status == -99:
            finished.losses.append("Snakemake hung")
        if end.defect:
            finished.losses.append(f"a traceback: {last_words(end)}")
        if end.status and not hit:
            finished.losses.append(f"without a new fault the command ended with {end.status}: {last_words(end)}")
            remember()
            break
        if end.status == 0:
            wrong = place.compare(reference)
            finished.times += 1
            finished.healed += not wrong
            finished.losses += wrong
            for name in touched:
                counts[name].healed += not wrong
            say(f"finished after {len(touched)} kills, {len(wrong)} differences")
            touched = []
            place.clear()
        remember()
    ledger.unlink()
    return every
