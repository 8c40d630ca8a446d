"""Results of visits elsewhere put in place at home, so that Snakemake goes on after them: `reprood offload merge`."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.offload.adopt import VARIABLE
from reprood.offload.archive import copy
from reprood.offload.jobs import WEIGHTS, Done, Job, difference, done_of, job_of
from reprood.offload.planned import DATA_RULES, dry_run, known_job, last_words, snakemake
from reprood.offload.unpacked import results_of, take_over
from reprood.pipeline.plan import Plan


@dataclass(frozen=True)
class Merged:
    """What became of the results: jobs put in place, jobs that were done here, checkpoints, and notes in words."""

    taken: tuple[Job, ...]
    here: tuple[Job, ...]
    checkpoints: tuple[Job, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Checked:
    good: list[tuple[Job, Done]] = field(default_factory=list)
    begun: list[Job] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _checked(plan: Plan, root: Path, delivery: Path) -> _Checked:
    """Compare every record with the plan here, and every file with its record."""
    found = _Checked()
    for path in sorted((delivery / "records").glob("*.json")):
        record = read_json(path)
        job, done = job_of(record["job"]), done_of(record["done"])
        if job.identity != done.identity:
            found.refused.append(f"{job.name}: the record was changed ({path.name} does not agree with itself)")
            continue
        here = known_job(plan, root, job.kind, job.run)
        if here is None:
            found.refused.append(f"{job.name}: suite '{plan.settings.suite}' has no such run here")
            continue
        if reason := difference(job, here):
            found.refused.append(f"{job.name}: {reason}")
            continue
        if done.status == "failed":
            found.notes.append(f"{job.name} failed there: {done.reason}")
        elif done.status == "stopped":
            found.begun.append(job)
        elif missing := [name for name in job.files if not (delivery / name).is_file()]:
            found.notes.append(f"{job.name} was not brought back whole ({', '.join(missing)} is missing)")
        elif wrong := [name for name in job.files if sha256_file(delivery / name) != done.files.get(name)]:
            found.refused.append(f"{job.name}: {wrong[0]} is not the file that was made there (checksum)")
        elif unknown := [n for n in done.visits if not (delivery / "visits" / f"{n:03d}.json").is_file()]:
            found.refused.append(f"{job.name}: nothing tells on which machine visit {unknown[0]} was")
        else:
            found.good.append((job, done))
    return found


def _with_models(found: _Checked, root: Path, planned: Mapping[tuple[str, str], Any]) -> None:
    """Predictions stay only when the model that they were made with will be here; others are left for Snakemake."""
    brought = {job.run: done.model for job, done in found.good if job.kind == "train" and ("train", job.run) in planned}
    kept = []
    for job, done in found.good:
        if job.kind == "predict":
            weights = root / "runs" / job.run / WEIGHTS
            if job.run in brought:
                model = brought[job.run]
            elif ("train", job.run) in planned or not weights.is_file():
                found.notes.append(f"{job.name}: its training is neither here nor among the results; left out")
                continue
            else:
                model = sha256_file(weights)
            if model != done.model:
                found.notes.append(f"{job.name}: made with another model than the one here; left out")
                continue
        kept.append((job, done))
    found.good = kept


def merge(
    config: Mapping[str, Any],
    root: Path,
    places: Sequence[Path],
    *,
    options: Sequence[str],
    skip: bool = False,
) -> Merged:
    """Check results of visits and put them in place.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration (which suite).
    root : Path
        The checkout.
    places : sequence of Path
        Output folders of visits, archives `results.tar`, or folders with one or its parts.
    options : sequence of str
        What Snakemake has to be told for this configuration.
    skip : bool
        Leave out what is refused instead of refusing everything.

    Raises
    ------
    ReproodError
        When a result is damaged, foreign (another suite or run) or stale (other code, settings or data); then nothing
        is changed. Also when the data stage is not done here, or Snakemake fails.
    """
    plan = Plan(config, root)
    (root / "state").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "state", prefix="merge-") as scratch:
        delivery = Path(scratch) / "all"
        (delivery / "records").mkdir(parents=True)
        for place in places:
            take_over(results_of(place, Path(scratch)), delivery, replace=True)
        found = _checked(plan, root, delivery)
        if not (found.good or found.begun or found.refused or found.notes):
            raise ReproodError(f"{', '.join(map(str, places))}: there are no results in it.")
        if found.refused and not skip:
            raise ReproodError(
                f"{len(found.refused)} of the results do not belong here, and nothing was merged: "
                f"{'; '.join(found.refused)}. Merge the others with --skip-refused, or pack and run these again."
            )
        targets = [name for job, _ in found.good for name in job.files]
        planned = dry_run(root, options, targets)
        if missing := [rule for rule in planned.rules if rule in DATA_RULES]:
            raise ReproodError(
                f"The data stage is not done here ({len(missing)} of its jobs would run), so the results cannot be "
                f"compared with it; run `snakemake --cores all {' '.join(options)} --until lint_benchmark corrupted`."
            )
        _with_models(found, root, planned.commands)
        new = [job for job, _ in found.good if (job.kind, job.run) in planned.commands]
        here = [job for job, _ in found.good if (job.kind, job.run) not in planned.commands]
        if new:
            done = snakemake(
                root,
                ["--quiet", "all", "--cores", "4", *[name for job in new for name in job.files], *options],
                **{VARIABLE: str(delivery.resolve())},
            )
            if done.returncode:
                raise ReproodError(f"Snakemake could not take the results over: {last_words(done)}")
        begun = _checkpoints(found.begun, delivery, root)
        left = [job for job in found.begun if job.kind == "train" and job not in begun]
        found.notes += [
            f"{job.name} was stopped there; it is begun or done here, or its checkpoint was left out" for job in left
        ]
        return Merged(tuple(new), tuple(here), tuple(begun), (*found.notes, *found.refused))


def _checkpoints(jobs: Sequence[Job], delivery: Path, root: Path) -> list[Job]:
    """Checkpoints of trainings that are neither done nor begun here."""
    taken = []
    for job in jobs:
        files = sorted((delivery / job.state).glob("*.checkpoint")) if job.kind == "train" else []
        if not files or (root / job.state).is_dir() or (root / "runs" / job.run / WEIGHTS).is_file():
            continue
        for path in files:
            copy(path, root / job.state / path.name)
        taken.append(job)
    return taken
