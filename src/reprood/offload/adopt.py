"""Results that were made elsewhere take the place of a job: `reprood train` and `reprood predict` during a merge.

Snakemake itself runs the jobs, so that its records (settings, code, checksums of inputs) are its own; only that these
commands, told where checked results lie, put them in place instead of computing them.
"""

import sys
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file, write_json
from reprood.offload.archive import copy
from reprood.offload.jobs import TRAINED, Done, Job, done_of, job_of, record_path

VARIABLE = "REPROOD_OFFLOADED"  # a folder of results that have been checked


def adopt_training(delivery: Path, settings: str, record: dict[str, Any], code: str, out: Path) -> None:
    """Put a delivered training in place; run.json tells where it was made.

    Raises
    ------
    ReproodError
        When it is not among the results, or is not this job.
    """
    run = f"{record['benchmark']}/{record['method']}/{record['seed']}"
    job, done = _found(delivery, "train", run)
    if (job.settings, job.code) != (settings, code):
        raise ReproodError(f"{job.name}: the delivered training has other settings or code; merge again.")
    for name in TRAINED[:-1]:
        _copy(delivery, done, f"runs/{run}/{name}", out / name)
    told = f"runs/{run}/{TRAINED[-1]}"
    _check(delivery, done, told)
    write_json(out / TRAINED[-1], {**read_json(delivery / told), "elsewhere": visits(delivery, done)})
    _tell(delivery, job)


def adopt_prediction(delivery: Path, settings: str, run: Path, out: Path) -> None:
    """Put delivered predictions in place, of the model that is in `run`.

    Raises
    ------
    ReproodError
        When they are not among the results, are not this job's, or were made with another model.
    """
    job, done = _found(delivery, "predict", "/".join(run.parts[-3:]))
    if job.settings != settings:
        raise ReproodError(f"{job.name}: the delivered predictions have other settings; merge again.")
    if sha256_file(run / TRAINED[0]) != done.model:
        raise ReproodError(f"{job.name}: the delivered predictions were made with another model; predict again.")
    _copy(delivery, done, job.files[0], out)
    _tell(delivery, job)


def visits(delivery: Path, done: Done) -> list[dict[str, Any]]:
    """The machines on which a job ran, in order."""
    return [dict(read_json(delivery / "visits" / f"{number:03d}.json")) for number in done.visits]


def _found(delivery: Path, kind: str, run: str) -> tuple[Job, Done]:
    benchmark, method, seed = run.split("/")
    path = record_path(delivery, Job(kind, benchmark, method, int(seed), (), "", "", {}))
    if not path.is_file():
        raise ReproodError(f"{kind} {run} is not among the results that are merged; nothing is computed in a merge.")
    record = read_json(path)
    return job_of(record["job"]), done_of(record["done"])


def _check(delivery: Path, done: Done, name: str) -> None:
    if sha256_file(delivery / name) != done.files[name]:
        raise ReproodError(f"{delivery / name} is not the file that was made (checksum); bring the results again.")


def _copy(delivery: Path, done: Done, name: str, target: Path) -> None:
    _check(delivery, done, name)
    copy(delivery / name, target)


def _tell(delivery: Path, job: Job) -> None:
    """The log of the job elsewhere becomes part of the log here."""
    print(f"{job.name}: made elsewhere, taken over; its log:", file=sys.stderr)
    path = delivery / job.log
    if path.is_file():
        print(path.read_text(encoding="utf-8", errors="replace"), file=sys.stderr, end="")
