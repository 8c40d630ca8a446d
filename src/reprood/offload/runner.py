"""Working off jobs side by side within a budget of time: starts, watches, stops and records them."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file, write_json
from reprood.offload.child import STOPPED, start
from reprood.offload.jobs import WEIGHTS, Done, Job, done_of, record_path
from reprood.offload.schedule import Estimates, in_order, waiting

LEAST = {"train": 5.0, "predict": 15.0}  # seconds; with less left, none is started
LOOK = 0.1  # seconds between two looks at the processes


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time: a folder that looks like a checkout, and the GPU it may see ("" = as it is)."""

    folder: Path
    gpu: str


@dataclass
class Running:
    """A job that runs: its process, where and since when, and whether it was asked to stop."""

    job: Job
    process: int
    slot: Slot
    since: float
    stopping: bool = False


def make_slots(out: Path, data: Path, scratch: Path, count: int, gpus: Sequence[str]) -> list[Slot]:
    """Folders from which jobs find the data and the output folder under the workflow's paths.

    Each has locks for GPUs of its own, so that several jobs share one.
    """
    slots = []
    for number in range(count):
        folder = scratch / f"slot{number}"
        (folder / "state").mkdir(parents=True)
        for name in ("runs", "logs", "state/train"):
            (out / name).mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to((out / name).resolve())
        (folder / "data").symlink_to(data.resolve())
        slots.append(Slot(folder, gpus[number % len(gpus)] if gpus else ""))
    return slots


class Runner:
    """The jobs of a bundle and what has become of them.

    Parameters
    ----------
    jobs : sequence of Job
        In the plan's order.
    out : Path
        Output folder; records in it of the same jobs count as done.
    visit : int
        The number of this visit.
    variables : mapping
        Environment of the jobs.
    retry : bool
        Start failed jobs again.
    """

    def __init__(
        self, jobs: Sequence[Job], out: Path, visit: int, variables: Mapping[str, str], *, retry: bool
    ) -> None:
        self.jobs, self.out, self.visit, self.variables, self.retry = list(jobs), out, visit, dict(variables), retry
        self.ended: dict[str, Done] = {}
        for job in jobs:
            path = record_path(out, job)
            if path.is_file():
                known = done_of(read_json(path)["done"])
                if known.identity == job.identity:
                    self.ended[job.identity] = known
        by_identity = {job.identity: job for job in jobs}
        self.estimates = Estimates((by_identity[i], d.seconds) for i, d in self.ended.items() if d.status == "done")
        self.running: list[Running] = []
        self.interrupted = False
        self.least = dict(LEAST)

    def next_jobs(self, order: str) -> list[Job]:
        """What could start now, in order."""
        running = {r.job.identity for r in self.running}
        found = waiting(self.jobs, self.ended, running, retry=self.retry)
        begun = {job.identity for job in found if any((self.out / job.state).glob("*.checkpoint"))}
        return in_order(found, order, begun)

    def work(self, slots: Sequence[Slot], order: str, until: float, grace: float, every: float) -> None:
        """Run jobs until all are done or `until` (time.monotonic); then ask for checkpoints, wait `grace` seconds."""
        free, last = list(slots), time.monotonic()
        previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while True:
                free.extend(self._reap())
                left = until - time.monotonic()
                if left <= 0 or self.interrupted:
                    break
                ready = self.next_jobs(order)
                while free and ready:
                    job = ready.pop(0)
                    if self._worth(job, left):
                        slot = free.pop(0)
                        process = start(job.arguments, slot.folder, self.out / job.log, self._variables(slot))
                        self.running.append(Running(job, process, slot, time.monotonic()))
                        self.say(f"starts {job.name}", left)
                if not self.running:
                    break
                if time.monotonic() - last >= every:
                    last = time.monotonic()
                    self.say(self._progress(), left)
                time.sleep(LOOK)
            self._stop(grace)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True

    def _variables(self, slot: Slot) -> dict[str, str]:
        return {**self.variables, **({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {})}

    def _worth(self, job: Job, left: float) -> bool:
        """Whether something can come of it in the time left: a training leaves a checkpoint, a prediction nothing."""
        if left == float("inf"):
            return True
        guess = self.estimates.seconds(job) if job.kind == "predict" else None
        return left > (self.least[job.kind] if guess is None else max(guess, 1.0))

    def _stop(self, grace: float) -> None:
        """Ask the trainings for a checkpoint, end the predictions, and end whatever has not ended after `grace`."""
        for running in self.running:
            running.stopping = True
            os.kill(running.process, signal.SIGTERM)
        end = time.monotonic() + grace
        while self.running and time.monotonic() < end:
            self._reap()
            time.sleep(LOOK)
        for running in self.running:
            os.kill(running.process, signal.SIGKILL)
        while self.running:
            self._reap()
            time.sleep(LOOK)

    def _reap(self) -> list[Slot]:
        """Record what has ended; the slots that are free now."""
        free = []
        for running in list(self.running):
            process, status = os.waitpid(running.process, os.WNOHANG)
            if process:
                self.running.remove(running)
                free.append(running.slot)
                self._record(running, os.waitstatus_to_exitcode(status))
        return free

    def _record(self, running: Running, status: int) -> None:
        job, seconds = running.job, time.monotonic() - running.since
        before = self.ended.get(job.identity)
        visits = tuple(dict.fromkeys((*(before.visits if before else ()), self.visit)))
        total = round((before.seconds if before else 0.0) + seconds, 3)
        if status == 0:
            files = {name: sha256_file(self.out / name) for name in job.files}
            weights = f"runs/{job.run}/{WEIGHTS}"
            model = sha256_file(self.out / weights) if job.kind == "predict" else files[weights]
            done = Done(job.identity, "done", visits, total, files, model)
            self.estimates.add(job, total)
        elif status == STOPPED or (running.stopping and status in (-signal.SIGTERM, -signal.SIGKILL)):
            done = Done(job.identity, "stopped", visits, total)
        else:
            done = Done(job.identity, "failed", visits, total, reason=last_line(self.out / job.log, status))
        self.ended[job.identity] = done
        write_json(record_path(self.out, job), {"job": job.record(), "done": asdict(done)})
        words = {"done": "is done", "stopped": "stopped at a checkpoint", "failed": f"FAILED: {done.reason}"}
        if job.kind == "predict":
            words["stopped"] = "stopped; it will start anew"
        self.say(f"{job.name} {words[done.status]} ({seconds:.1f} s)")

    def count(self, status: str) -> int:
        """How many jobs have ended so."""
        return sum(done.status == status for done in self.ended.values())

    def _progress(self) -> str:
        told = []
        for running in self.running:
            beat = self._beat(running.job)
            place = f" epoch {beat['epoch']}/{beat['epochs']}" if beat else ""
            left = f", {beat['seconds_left']:.0f} s left" if beat and beat.get("seconds_left") else ""
            told.append(f"{running.job.name}{place}{left}")
        return "; ".join(told)

    def _beat(self, job: Job) -> dict[str, Any] | None:
        path = self.out / "logs" / "heartbeat" / f"{job.run.replace('/', '.')}.json"
        try:
            return dict(read_json(path)) if job.kind == "train" else None
        except ReproodError:  # not begun yet, or just ended
            return None

    def say(self, text: str, left: float | None = None) -> None:
        """One line of progress."""
        time_left = f"{left:.0f} s left, " if left is not None and left != float("inf") else ""
        state = f"{time_left}{self.count('done')} of {len(self.jobs)} done, {self.count('failed')} failed"
        print(f"[{state}] {text}", file=sys.stderr, flush=True)


def last_line(log: Path, status: int) -> str:
    """The last words of a job that failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = [line.strip() for line in lines if line.strip() and not line.startswith("took ")]
    return f"{said[-1] if said else 'it said nothing'} (status {status}, {log})"
