"""One visit to another machine: `python run.py --budget SECONDS --out FOLDER` in an unpacked bundle.

Runs the bundle's commands in order, as processes `python -m reprood ...` with the bundle's source, until all are done
or the time is over. Needs an environment with torch and the packages of `NEEDED`; neither Snakemake nor an
installation of this package. The output folder has the layout of a checkout (runs/, state/, logs/), and records/ next
to them.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, file_lock, sha256_file
from reprood.core.gpus import visible_gpus
from reprood.core.machine import describe_machine
from reprood.core.process import STOPPED
from reprood.offload.bundle import check_bundle
from reprood.offload.jobs import Job, Result, job_from, read_record, record_path, selected, write_record

# What the jobs import; torch alone takes seconds to import, so they are only looked for.
NEEDED = (
    "numpy",
    "pandas",
    "PIL",
    "pyarrow",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
    "typer",
    "yaml",
)
START_MARGIN = 10.0  # seconds; with less left, no job is started
POLL = 0.1  # seconds between two looks at the processes


def main(bundle: Path, arguments: Sequence[str] | None = None) -> None:
    """Run the command line of a bundle's run.py; a mistake is one sentence, and the status is 1 when a job failed."""
    started = time.monotonic()
    try:
        status = visit(bundle, _parse(arguments), started)
    except ReproodError as error:
        sys.exit(f"error: {error}")
    sys.exit(status)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("run.py", description="Run a bundle of trainings and predictions.")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="output folder; the same one again resumes")
    add("--budget", type=float, default=float("inf"), help="seconds for the whole visit (default: until all is done)")
    add("--reserve", type=float, default=15.0, help="seconds of the budget kept for writing checkpoints (default: 15)")
    add("--only", nargs="+", default=[], help="runs: patterns of BENCHMARK/METHOD/SEED, or a benchmark or method")
    add("--jobs", type=int, help="processes at a time (default: one per GPU, or one)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--checkpoint-seconds", type=float, default=60.0, help="what a killed training loses at most (default: 60)")
    add("--retry", action="store_true", help="run failed jobs again")
    add("--list", action="store_true", help="print the jobs and their states, and run nothing")
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        parser.error("--jobs: expected 1 or more")
    return options


def visit(bundle: Path, options: argparse.Namespace, started: float) -> int:
    """Check the bundle, run its jobs, and return 1 when one of them failed, else 0.

    Raises
    ------
    ReproodError
        When the bundle is damaged, no job matches `--only`, packages are missing, or another visit uses the folder.
    """
    manifest = check_bundle(bundle)
    jobs = [job for job in map(job_from, manifest["jobs"]) if selected(job.run, options.only)]
    if not jobs:
        raise ReproodError(f"No job of this bundle matches {' '.join(options.only)}; --list shows all.")
    out: Path = options.out.resolve()
    if options.list:
        for job in jobs:
            result = _known(out, job)
            print(f"{job.kind:<8} {job.run:<60} {result.status if result else 'waiting'}")
        return 0
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ReproodError(
            f"{sys.executable} cannot import {', '.join(missing)}; install them (docs/how-to/offload.md)."
        )
    busy = f"Another visit uses {out}; wait for it, or give another --out."
    with file_lock(out / "lock", wait=False, busy=busy):
        _prepare(bundle, manifest["models"], out)
        runner = Runner(jobs, out, bundle / "src", options)
        runner.work(started + options.budget - options.reserve, options.reserve)
    runner.say(f"end of the visit after {time.monotonic() - started:.0f} s")
    for job in jobs:
        result = runner.results.get(job.identity)
        if result is not None and result.status == "failed":
            print(f"failed: {job.name}: {result.reason}", file=sys.stderr)
    return 1 if runner.count("failed") else 0


def _known(out: Path, job: Job) -> Result | None:
    """Return the stored result of a job; that of other code, settings or data does not count."""
    path = record_path(out, job)
    if path.is_file():
        result = read_record(path)[1]
        return result if result.identity == job.identity else None
    return None


def _prepare(bundle: Path, models: Sequence[str], out: Path) -> None:
    """Give the output folder the layout of a checkout: a link to the data, and the models of the bundle."""
    link = out / "data"
    link.unlink(missing_ok=True)
    link.symlink_to((bundle / "data").resolve())
    for name in models:
        with atomic_path(out / name) as temporary:
            shutil.copyfile(bundle / name, temporary)


@dataclass
class Running:
    """A process, its job, its slot (a number below `--jobs`) and when it was started."""

    process: "subprocess.Popen[bytes]"
    job: Job
    slot: int
    since: float


class Runner:
    """Runs jobs, several at a time, and records what becomes of them.

    Parameters
    ----------
    jobs : sequence of Job
        In the order in which they are started. A prediction waits for the training of its run if that is among them.
    out : Path
        Output folder; jobs that are done according to its records are not run again.
    source : Path
        The folder that holds the package.
    options : argparse.Namespace
        jobs, device, checkpoint_seconds and retry are used.
    """

    def __init__(self, jobs: Sequence[Job], out: Path, source: Path, options: argparse.Namespace) -> None:
        self.jobs, self.out, self.source, self.options = list(jobs), out, source, options
        self.began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.gpus = [] if options.device == "cpu" else visible_gpus()
        self.slots = options.jobs or max(1, len(self.gpus))
        known = {job.identity: _known(out, job) for job in jobs}
        again = ("failed",) if options.retry else ()
        self.results = {i: result for i, result in known.items() if result and result.status not in again}
        self.trainings = {job.run: job.identity for job in jobs if job.kind == "train"}
        self.running: list[Running] = []
        self.interrupted = False

    def work(self, until: float, grace: float) -> None:
        """Run jobs until all are done, `until` (on the monotonic clock), or a signal; then stop what runs.

        Trainings are requested to write a checkpoint and predictions are stopped; after `grace` seconds all are killed.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.signal(number, self._interrupt) for number in numbers}
        try:
            while not self.interrupted and time.monotonic() < until:
                self._collect()
                self._start(until - time.monotonic())
                if not self.running:
                    break
                time.sleep(POLL)
            self._stop(grace)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True

    def _done(self, identity: str) -> bool:
        return identity in self.results and self.results[identity].status == "done"

    def _ready(self, job: Job) -> bool:
        if job.identity in {running.job.identity for running in self.running}:
            return False
        result = self.results.get(job.identity)
        if result is not None and result.status != "stopped":
            return False
        training = self.trainings.get(job.run) if job.kind == "predict" else None
        return training is None or self._done(training)

    def _start(self, left: float) -> None:
        """Start as many jobs as there are free slots."""
        free = sorted(set(range(self.slots)) - {running.slot for running in self.running})
        for slot in free:
            job = next((job for job in self.jobs if self._ready(job)), None)
            if job is None or left < START_MARGIN:
                return
            (self.out / job.log).parent.mkdir(parents=True, exist_ok=True)
            with open(self.out / job.log, "ab") as log:
                process = subprocess.Popen(
                    self._command(job),
                    cwd=self.out,
                    env=self._environment(slot),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches this process only, which then stops its jobs
                )
            self.running.append(Running(process, job, slot, time.monotonic()))
            self.say(f"{job.name} starts")

    def _shares(self) -> bool:
        """Return whether several jobs use one GPU, so that none may wait for a free one."""
        return 0 < len(self.gpus) < self.slots

    def _command(self, job: Job) -> list[str]:
        command = [sys.executable, "-m", "reprood", *job.command, "--device", self.options.device]
        if job.kind == "train":
            command += ["--checkpoint-seconds", f"{self.options.checkpoint_seconds:g}"]
        return [*command, "--share-gpu"] if self._shares() else command

    def _environment(self, slot: int) -> Mapping[str, str]:
        own = {"PYTHONPATH": str(self.source)}
        if self._shares():
            own["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return {**os.environ, **own}

    def _collect(self) -> None:
        """Record the processes that have ended."""
        for running in list(self.running):
            if running.process.poll() is not None:
                self.running.remove(running)
                self._record(running, stopping=False)

    def _stop(self, grace: float) -> None:
        """End everything that runs, and record it."""
        for running in self.running:
            running.process.terminate()
        end = time.monotonic() + grace
        for running in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.0, end - time.monotonic()))
        for running in self.running:
            running.process.kill()
            running.process.wait()
            self._record(running, stopping=True)
        self.running = []

    def _record(self, running: Running, *, stopping: bool) -> None:
        job, status = running.job, running.process.returncode
        seconds = time.monotonic() - running.since
        visit = {"machine": describe_machine(), "began": self.began, "seconds": round(seconds, 3)}
        before = self.results.get(job.identity)
        result = Result(job.identity, "stopped", (*(before.visits if before else ()), visit))
        if status == 0:
            files = {name: sha256_file(self.out / name) for name in job.outputs}
            model = files.get(job.weights) or sha256_file(self.out / job.weights)
            result = replace(result, status="done", files=files, model=model)
        elif status != STOPPED and not (stopping and status in (-signal.SIGTERM, -signal.SIGKILL)):
            result = replace(result, status="failed", reason=_last_line(self.out / job.log, status))
        self.results[job.identity] = result
        write_record(self.out, job, result)
        reason = f": {result.reason}" if result.reason else ""
        self.say(f"{job.name} {result.status} after {seconds:.1f} s{reason}")

    def count(self, status: str) -> int:
        """Return the number of jobs with a status."""
        return sum(result.status == status for result in self.results.values())

    def say(self, text: str) -> None:
        """Print one line of progress."""
        state = f"{self.count('done')} of {len(self.jobs)} done, {self.count('failed')} failed"
        print(f"[{state}] {text}", file=sys.stderr, flush=True)


def _last_line(log: Path, status: int) -> str:
    """Return the last line that a failed job wrote about its failure."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines if line.strip() and not line.startswith("took ")]
    return f"{said[-1] if said else 'no message'} (status {status}, {log})"
