"""Kill jobs, Snakemake or its process group at random moments, then repeat the command and follow its advice."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from digests import wrong_files
from processes import descendants, jobs, send, survivors, wait_for_orphans
from workspace import Reference, Tally, Workspace, summary

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
KINDS = {
    "job, SIGKILL": ("job", KILL),
    "job, SIGTERM": ("job", TERM),
    "Snakemake, SIGKILL": ("Snakemake", KILL),
    "Snakemake, SIGTERM": ("Snakemake", TERM),
    "process group, SIGKILL": ("group", KILL),
    "process group, SIGTERM": ("group", TERM),
    "process group, SIGINT": ("group", INT),
}
WEIGHTS = (8, 4, 5, 1, 4, 1, 1)
CHECKPOINTS = ("checkpoint_seconds=0.2",)
EARLY, LATER = (0.3, 10), (0.3, 4)  # seconds after the start, and after the first job or the last kill


def drawn_kinds(number: int, seed: int) -> list[str]:
    """Draw kinds of kills, each at its weight."""
    return random.Random(seed).choices(list(KINDS), WEIGHTS, k=number)


def kill(top: int, target: str, number: int, rng: random.Random) -> list[int] | None:
    """Send the signal; return the processes that must end, or None when there was nothing to kill.

    The jobs of a killed Snakemake are orphans: they may run to their end.
    """
    family = descendants(top)
    if target == "group":
        os.killpg(top, number)
        return [top, *family]
    if target == "Snakemake":
        return [top] if send(top, number) else None
    running = jobs(family)
    if not running:
        return None
    process = rng.choice(running)
    return [process] if send(process, number) else None


def wait(process: subprocess.Popen, rng: random.Random) -> None:
    """Wait until a random moment: sometimes soon after the start, mostly while jobs run."""
    early = rng.random() < 0.15
    while process.poll() is None and not early and not jobs(descendants(process.pid)):
        time.sleep(0.05)
    stop = time.monotonic() + rng.uniform(*(EARLY if early else LATER))
    while process.poll() is None and time.monotonic() < stop:
        time.sleep(0.05)


def random_kills(
    place: Workspace,
    reference: Reference,
    kinds: Sequence[str],
    seed: int,
    undo: Callable[[Workspace], None],
    say: Callable[[str], None],
) -> list[Tally]:
    """Run the suite until all kills have happened; whenever it has finished, compare it and start again.

    Parameters
    ----------
    place : Workspace
        Has something to run.
    reference : Reference
    kinds : sequence of str
        The kills, in order; keys of `KINDS`.
    seed : int
        Of the moments.
    undo : callable
        Removes results of a finished workspace, so that there is something to run again.
    say : callable
        Gets progress lines.
    """
    tallies = {name: Tally(f"kill: {name}") for name in dict.fromkeys(kinds)}
    finished = Tally("suite finished after kills")
    left, since = list(kinds), []  # kills to come, kinds of those since the workspace was last finished
    followed = False
    while left or since:
        rng = random.Random(f"{seed} {len(left)}")
        process, hit = place.start(settings=CHECKPOINTS), False
        while left and process.poll() is None:
            wait(process, rng)
            if process.poll() is not None:
                break
            target, number = KINDS[left[0]]
            victims = kill(process.pid, target, number, rng)
            if victims is None:
                continue  # no job was running: another moment
            tally, hit = tallies[left[0]], True
            since.append(left.pop(0))
            tally.times += 1
            say(f"{len(kinds) - len(left)} of {len(kinds)}: {since[-1]}")
            if target != "job":
                place.end(process, 300)  # after SIGTERM Snakemake waits for its running jobs
            if target == "job" or number == KILL:
                tally.losses += [f"still running ({line})" for line in survivors(victims, 30)]
            if target == "Snakemake" and rng.random() < 0.5:  # else its orphans run on during the next one
                tally.losses += [f"an orphan does not end ({line})" for line in wait_for_orphans(place.folder, 300)]
            tally.losses += wrong_files(reference.files, place.folder)
        outcome = place.end(process)
        if outcome.status == -99:
            finished.losses.append("Snakemake did not end")
        if outcome.has_traceback and not hit:
            finished.losses.append(f"a traceback: {summary(outcome)}")
        if outcome.status:
            advice = place.follow_advice(outcome)
            followed |= bool(advice)
            if advice:
                say(f"followed: {', '.join(advice)}")
            elif not hit:
                finished.losses.append(f"ended with {outcome.status} and no advice: {summary(outcome)}")
                break
            continue
        finished.losses += [f"an orphan does not end ({line})" for line in wait_for_orphans(place.folder, 300)]
        wrong = place.compare(reference)
        finished.times += 1
        finished.resumed += not wrong and not followed
        finished.repaired += not wrong and followed
        finished.losses += wrong
        for name in since:
            needs_unlock = name in ("Snakemake, SIGKILL", "process group, SIGKILL")
            tallies[name].resumed += not wrong and not needs_unlock
            tallies[name].repaired += not wrong and needs_unlock
        say(f"finished after {len(since)} kills with {len(wrong)} differences")
        since, followed = [], False
        if left:
            undo(place)
    return [*tallies.values(), finished]
