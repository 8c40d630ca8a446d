"""Put results of another machine in place, so that Snakemake continues after them: `reprood offload merge`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file, write_json
from reprood.offload.jobs import Job, Result, difference, planned_job, read_record
from reprood.offload.workflow import outdated, record
from reprood.pipeline.plan import Plan


@dataclass(frozen=True)
class Delivery:
    """A job with its result, and the folder that holds the files."""

    job: Job
    result: Result
    folder: Path


@dataclass
class Merged:
    """What became of the results.

    Attributes
    ----------
    new : list of Delivery
        Put in place.
    present : list of Delivery
        Up to date in the checkout already, and left as they are.
    rejected, notes : list of str
        One sentence each.
    """

    new: list[Delivery] = field(default_factory=list)
    present: list[Delivery] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(
    config: Mapping[str, Any],
    root: Path,
    places: Sequence[Path],
    *,
    options: Sequence[str],
    skip: bool = False,
) -> Merged:
    """Verify results and put them in place.

    Every result is compared with the plan here (code, settings, data), every file with its checksum, and predictions
    with the weights that they were made with. The files then lie where a job would have written them, and Snakemake
    records them (`snakemake --touch`) with the code and settings that were just found equal.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration (which suite).
    root : Path
        The checkout.
    places : sequence of Path
        Output folders of visits.
    options : sequence of str
        Snakemake's options for this configuration.
    skip : bool
        Leave out what is rejected instead of stopping.

    Raises
    ------
    ReproodError
        When a result is damaged, unknown to the suite, or out of date; then nothing is changed. Also when the data
        stage is not finished here.
    """
    plan = Plan(config, root)
    merged = Merged()
    finished = _verified(plan, root, places, merged)
    if merged.rejected and not skip:
        raise ReproodError(
            f"{len(merged.rejected)} results cannot be merged, and nothing was changed: "
            f"{'; '.join(merged.rejected)}. Merge the others with --skip-rejected, or pack and run these again."
        )
    old = outdated(root, options, [path for one in finished for path in one.job.outputs]) if finished else set()
    missing = [path for one in finished for path in one.job.inputs if path in old]
    if missing:
        raise ReproodError(
            f"The data stage is not finished here ({missing[0]} is out of date), so results cannot be compared "
            f"with it; run `snakemake --cores all {' '.join(options)} --until lint_benchmark corrupted` first."
        )
    _sort(finished, old, root, merged)
    for one in merged.new:
        _put_in_place(one, root)
    for rule in ("train", "predict"):
        same = [one for one in merged.present if one.job.kind == rule and _same_files(one, root)]
        recorded = [*(one for one in merged.new if one.job.kind == rule), *same]
        record(root, options, [rule], [one.job.outputs[0] for one in recorded])
    return merged


def _verified(plan: Plan, root: Path, places: Sequence[Path], merged: Merged) -> list[Delivery]:
    """Return the finished jobs that belong here; the others become sentences.

    A job in several folders is taken from the last one that finished it.
    """
    paths = [(place, path) for place in places for path in sorted((place / "records").glob("*.json"))]
    if not paths:
        raise ReproodError(f"{', '.join(map(str, places))}: no results in records/; give output folders of run.py.")
    finished: dict[str, Delivery] = {}
    known = set(plan.jobs)
    for place, path in paths:
        try:
            job, result = read_record(path)
        except ReproodError as error:
            merged.rejected.append(str(error))
            continue
        if job.kind not in ("train", "predict") or (job.benchmark, job.method, job.seed) not in known:
            merged.rejected.append(f"{job.name}: suite '{plan.settings.suite}' has no such run")
            continue
        here = planned_job(plan, root, job.kind, job.benchmark, job.method, job.seed)
        delivery = Delivery(here, result, place)  # paths are those of the plan, never those of the record
        if result.status != "done":
            merged.notes.append(f"{job.name} {result.status}{f': {result.reason}' if result.reason else ''}")
        elif reason := difference(job, here) or _damage(delivery):
            merged.rejected.append(f"{job.name}: {reason}")
        else:
            finished[job.identity] = delivery
    return list(finished.values())


def _damage(one: Delivery) -> str:
    """Return what is wrong with the files of a finished job, or ""."""
    for name in one.job.outputs:
        if not (one.folder / name).is_file():
            return f"{one.folder / name} is missing; bring it as well"
        if sha256_file(one.folder / name) != one.result.files.get(name):
            return f"{one.folder / name} is not the file that was made (checksum)"
    return ""


def _sort(finished: Sequence[Delivery], old: set[str], root: Path, merged: Merged) -> None:
    """Divide deliveries into new and present ones; predictions of other weights than those here are left out."""
    trained = {one.job.run: one.result.model for one in finished if one.job.kind == "train" and _pending(one, old)}
    for one in finished:
        job = one.job
        if not _pending(one, old):
            merged.present.append(one)
            continue
        if job.kind == "predict":
            weights = root / job.weights
            if job.run not in trained and (job.weights in old or not weights.is_file()):
                merged.notes.append(f"{job.name}: its training is neither here nor among the results; left out")
                continue
            if one.result.model != (trained.get(job.run) or sha256_file(weights)):
                merged.notes.append(f"{job.name}: made with other weights than those here; left out")
                continue
        merged.new.append(one)


def _pending(one: Delivery, old: set[str]) -> bool:
    return not old.isdisjoint(one.job.outputs)


def _same_files(one: Delivery, root: Path) -> bool:
    """Return whether the files here are the delivered ones (a merge that was interrupted, or repeated).

    run.json is left out: it is extended when it is put in place.
    """
    names = [name for name in one.job.outputs if not name.endswith("/run.json")]
    return all((root / name).is_file() and sha256_file(root / name) == one.result.files[name] for name in names)


def _put_in_place(one: Delivery, root: Path) -> None:
    """Copy the files and the log of a job; run.json also gets the machines on which it was made."""
    job = one.job
    with checked_job([], [root / name for name in job.outputs]):
        for name in job.outputs:
            if name.endswith("/run.json"):
                write_json(root / name, {**read_json(one.folder / name), "elsewhere": one.result.visits})
            else:
                _copy(one.folder / name, root / name)
    if (one.folder / job.log).is_file():
        _copy(one.folder / job.log, root / job.log)
    if job.state:
        shutil.rmtree(root / job.state, ignore_errors=True)  # checkpoints of the same training, which is finished now


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
