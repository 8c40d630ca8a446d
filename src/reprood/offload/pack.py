"""Trainings and predictions of a suite as one archive that another machine can run: `reprood offload pack`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.offload.bundle import write_bundle
from reprood.offload.jobs import WEIGHTS, Job, planned_job, selected
from reprood.offload.workflow import outdated
from reprood.pipeline.fingerprint import PACKAGE
from reprood.pipeline.plan import Plan

RUN = '''"""Run the jobs of this bundle: python run.py --budget SECONDS --out FOLDER (see --help)."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ".")

BUNDLE = Path(__file__).resolve().parent
sys.path.insert(0, str(BUNDLE / "src"))

from reprood.offload.visit import main

if __name__ == "__main__":
    main(BUNDLE)
'''


def pending_jobs(plan: Plan, root: Path, options: Sequence[str], patterns: Sequence[str]) -> list[Job]:
    """Return the trainings and predictions of the selected runs that Snakemake would run, in the plan's order.

    Raises
    ------
    ReproodError
        When the data stage is not finished, no run matches the patterns, or nothing is left to do.
    """
    suite = plan.settings.suite
    trained = [job for job in plan.jobs if not plan.is_external(job[1])]
    runs = [(b, m, s) for b, m, s in trained if selected(f"{b}/{m}/{s}", patterns)]
    if not runs:
        example = "/".join(map(str, plan.jobs[0]))
        raise ReproodError(f"No run of suite '{suite}' matches {', '.join(patterns)}; runs have names like {example}.")
    jobs = [planned_job(plan, root, kind, *run) for run in runs for kind in ("train", "predict")]
    old = outdated(root, options, [path for job in jobs for path in job.outputs])
    missing = [path for job in jobs for path in job.inputs if path in old or not (root / path).is_file()]
    if missing:
        raise ReproodError(
            f"The data stage is not finished ({missing[0]} is missing or out of date); run "
            f"`snakemake --cores all {' '.join(options)} --until lint_benchmark corrupted` first, then pack."
        )
    pending = [job for job in jobs if old.intersection(job.outputs)]
    if not pending:
        raise ReproodError(f"Every selected run of suite '{suite}' is trained and predicted; there is nothing to pack.")
    return pending


def _sources() -> dict[str, Path]:
    paths = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"src/{PACKAGE.name}/{path.relative_to(PACKAGE)}": path for path in paths}


def _models(jobs: Sequence[Job], root: Path) -> dict[str, Path]:
    """Return the models of runs that only lack their predictions."""
    trained = {job.run for job in jobs if job.kind == "train"}
    folders = [job.folder for job in jobs if job.run not in trained]
    return {f"{folder}/{name}": root / folder / name for folder in folders for name in (WEIGHTS, "model.json")}


def pack(
    config: Mapping[str, Any], root: Path, out: Path, *, options: Sequence[str], patterns: Sequence[str] = ()
) -> tuple[list[Job], dict[str, int]]:
    """Write a bundle: the package's source, the data that the jobs read, and the jobs' commands.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration (which suite).
    root : Path
        The checkout.
    out : Path
        The archive, NAME.tar or NAME.tar.gz.
    options : sequence of str
        Snakemake's options for this configuration.
    patterns : sequence of str
        Which runs; see `jobs.selected`.

    Returns
    -------
    (list of Job, dict)
        The jobs, and bytes by kind of content.

    Raises
    ------
    ReproodError
        When the data stage is not finished, or nothing is left to do.
    """
    plan = Plan(config, root)
    jobs = pending_jobs(plan, root, options, patterns)
    content: dict[str, dict[str, Path]] = {
        "source": _sources(),
        "data": {path: root / path for job in jobs for path in job.inputs},
        "models": _models(jobs, root),
    }
    facts = {
        "suite": plan.settings.suite,
        "jobs": [asdict(job) for job in jobs],
        "models": sorted(content["models"]),
    }
    files: dict[str, Path | bytes] = {"run.py": RUN.encode()}
    for group in content.values():
        files.update(group)
    write_bundle(out, files, facts)
    return jobs, {kind: sum(path.stat().st_size for path in group.values()) for kind, group in content.items()}
