"""One visit to another machine: `python run.py --budget SECONDS --out FOLDER` in an unpacked bundle.

Needs torch, numpy and the few packages that trainings import; neither Snakemake nor an installation.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock, read_json, write_json
from reprood.core.process import THREAD_VARIABLES
from reprood.offload.archive import MIB, check, write_archive
from reprood.offload.jobs import FORMAT, WEIGHTS, Job, chosen, job_of, record_path
from reprood.offload.schedule import ORDERS
from reprood.offload.unpacked import add_carried, missing_packages, rebuild, results_of, take_over


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("run.py", description="Work off a bundle of trainings and predictions.")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="output folder; give the same one again to go on")
    add("--budget", type=float, help="seconds for the whole visit (default: until all is done)")
    add("--from", dest="earlier", type=Path, nargs="+", default=[], help="results of earlier visits to go on from")
    add("--only", nargs="+", default=[], help="runs: patterns of BENCHMARK/METHOD/SEED, or a benchmark or method")
    add("--order", choices=ORDERS, default="shortest", help="which trainings come first")
    add("--parallel", type=int, help="jobs side by side (default: one a GPU)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--retry", action="store_true", help="start failed jobs again")
    add("--list", action="store_true", help="print the jobs and what has become of them, and leave")
    add("--image", default="", help="name of the container or system image, for the record")
    add("--checkpoint-seconds", type=float, default=60.0, help="what a killed visit may lose (default: 60)")
    add("--reserve", type=float, help="seconds of the budget kept for checkpoints and archives")
    add("--every", type=float, default=10.0, help="seconds between two lines of progress (default: 10)")
    add("--deliver", type=Path, help="also write what this visit made to FOLDER/results.tar")
    add("--part-size", type=float, help="MiB of a part of that archive: results.tar.000, ...")
    add("--deliver-size", type=float, help="MiB of all parts together; what does not fit is left out and named")
    add("--work", type=Path, help="where to unpack the data (default: beside run.py)")
    return parser.parse_args(words)


def main(bundle: Path, words: list[str] | None = None) -> None:
    """Entry point of a bundle's run.py; a mistake is one sentence."""
    begun = time.monotonic()
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")  # the jobs' own number of threads is in their command lines
    try:
        status = visit(bundle, _arguments(words), begun)
    except ReproodError as mistake:
        sys.exit(f"error: {mistake}")
    sys.exit(status)


def visit(bundle: Path, asked: argparse.Namespace, begun: float) -> int:
    """Prepare, work, record, deliver; 1 when a job failed, else 0."""
    manifest = check(bundle)
    if manifest.get("format") != FORMAT:
        raise ReproodError(f"{bundle} has format {manifest.get('format')}, this program reads {FORMAT}; pack it again.")
    jobs = [job for job in map(job_of, manifest["jobs"]) if chosen(job.run, asked.only)]
    if not jobs:
        raise ReproodError(f"No job of this bundle fits {' '.join(asked.only)}; see --list.")
    if asked.list:
        _tell(jobs, asked.out)
        return 0
    jobs = _possible(bundle, manifest, jobs)
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    busy = f"Another visit is using {out}; wait for it, or give another --out."
    with file_lock(out / "lock", wait=False, busy=busy), tempfile.TemporaryDirectory() as scratch:
        for place in asked.earlier:
            take_over(results_of(place, Path(scratch)), out, replace=True)
        take_over(bundle, out, replace=False)  # what was begun at home
        failed = _work(bundle, manifest, jobs, asked, begun, Path(scratch))
    return 1 if failed else 0


def _possible(bundle: Path, manifest: Mapping[str, Any], jobs: list[Job]) -> list[Job]:
    """The jobs whose packages are here; a sentence about the others."""
    missing = add_carried(bundle, manifest)
    if missing:
        names = ", ".join(manifest["distributions"][name] for name in missing)
        raise ReproodError(
            f"{sys.executable} lacks {names}; install them, or pack again with --carry {names.replace(' ', '')}."
        )
    missing = missing_packages(manifest["needs"]["predict"])
    if not missing:
        return jobs
    names = ", ".join(manifest["distributions"][name] for name in missing)
    left = [job for job in jobs if job.kind == "train"]
    if not left:
        raise ReproodError(f"{sys.executable} lacks {names}, which predictions need; install them or predict at home.")
    print(f"{sys.executable} lacks {names}, which predictions need: only trainings are done here.", file=sys.stderr)
    return left


def _tell(jobs: list[Job], out: Path) -> None:
    for job in jobs:
        path = record_path(out, job)
        done = read_json(path)["done"] if path.is_file() else None
        same = done is not None and done["identity"] == job.identity
        status = f"{done['status']} ({done['seconds']:.0f} s)" if done is not None and same else "waiting"
        print(f"{job.kind:<8}{job.run:<60}{job.cost:>10.2e} flop  {status}")


def _work(
    bundle: Path, manifest: Mapping[str, Any], jobs: list[Job], asked: argparse.Namespace, begun: float, scratch: Path
) -> int:
    from reprood.core.gpus import visible_gpus
    from reprood.offload.machine import describe
    from reprood.offload.runner import Runner, make_slots

    out: Path = asked.out
    machine = describe(asked.image)
    seen = visible_gpus() or [str(i) for i, _ in enumerate(machine["gpus"])]
    gpus = [] if asked.device == "cpu" else seen[: len(machine["gpus"])]
    if asked.device == "cuda" and not gpus:
        raise ReproodError("--device cuda: torch sees no GPU here; use --device auto or cpu.")
    data = (asked.work or bundle / "unpacked").resolve()
    rebuild(bundle, manifest, jobs, data)
    number = 1 + max((int(path.stem) for path in (out / "visits").glob("*.json")), default=0)
    variables = {
        "REPROOD_DEVICE": asked.device,
        "REPROOD_CHECKPOINT_SECONDS": f"{asked.checkpoint_seconds:g}",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    _import(manifest, predict=any(job.kind == "predict" for job in jobs))
    runner = Runner(jobs, out, number, variables, retry=asked.retry)
    count = asked.parallel or max(1, len(gpus))
    budget = float("inf") if asked.budget is None else asked.budget
    reserve = asked.reserve if asked.reserve is not None else max(10.0, 0.03 * min(budget, 3600.0))
    path = out / "visits" / f"{number:03d}.json"
    record = {
        **machine,
        "bundle": manifest["bundle"],
        "suite": manifest["suite"],
        "packed_with": manifest["packed_with"],
        "device": asked.device,
        "parallel": count,
        "budget": asked.budget,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(path, record)
    device = ", ".join(gpu["name"] for gpu in machine["gpus"]) if gpus else "cpu"
    runner.say(f"visit {number}: torch {machine['torch']} on {device}, {count} side by side")
    runner.work(
        make_slots(out, data, scratch, count, gpus),
        asked.order,
        begun + budget - reserve,
        reserve / 2,
        asked.every,
    )
    write_json(path, {**record, "seconds": round(time.monotonic() - begun, 1)})
    if asked.deliver is not None:
        _deliver(jobs, runner.ended, number, asked)
    left = len(jobs) - runner.count("done")
    runner.say(f"end of visit {number} after {time.monotonic() - begun:.0f} s; {left} jobs are left")
    failed = [(job, runner.ended[job.identity]) for job in jobs if job.identity in runner.ended]
    for job, done in failed:
        if done.status == "failed":
            print(f"failed: {job.name}: {done.reason}", file=sys.stderr)
    return runner.count("failed")


def _import(manifest: Mapping[str, Any], *, predict: bool) -> None:
    """Once for all jobs, which are forks of this process."""
    import reprood.cli.main
    import reprood.train.run
    from reprood.methods import registry
    from reprood.nets.registry import backbone

    if predict:
        import reprood.predict.run  # noqa: F401
    for name in manifest["methods"]:
        registry.method(name)
    for name in manifest["nets"]:
        backbone(name)
    gc.collect()
    gc.freeze()


def _deliver(jobs: list[Job], ended: Mapping[str, Any], number: int, asked: argparse.Namespace) -> None:
    """An archive of what this visit made: first what is small, then weights and checkpoints while there is room."""
    out: Path = asked.out
    small: list[Path] = sorted((out / "visits").glob("*.json"))
    large: list[Path] = []
    for job in jobs:
        done = ended.get(job.identity)
        if done is None or number not in done.visits:
            continue
        small += [record_path(out, job), *([out / job.log] if (out / job.log).is_file() else [])]
        for name in job.files if done.status == "done" else ():
            (large if name.endswith(WEIGHTS) else small).append(out / name)
        if job.kind == "train" and done.status == "stopped":
            large += sorted((out / job.state).glob("*.checkpoint"))
    room = float("inf") if asked.deliver_size is None else asked.deliver_size * MIB
    room -= sum(path.stat().st_size + 1024 for path in small) + 64 * 1024
    files, left = {str(path.relative_to(out)): path for path in small}, []
    for path in sorted(large, key=lambda path: path.stat().st_size):
        size = path.stat().st_size + 1024
        name = str(path.relative_to(out))
        if size <= room:
            files[name], room = path, room - size
        else:
            left.append(name)
    limit = None if asked.part_size is None else int(asked.part_size * MIB)
    facts = {"format": FORMAT, "left_out": left}
    paths = write_archive(asked.deliver / "results.tar", files, facts, limit)
    total = sum(path.stat().st_size for path in paths)
    print(f"{total / MIB:.1f} MiB in {len(paths)} files: {', '.join(map(str, paths))}", file=sys.stderr)
    for name in left:
        print(f"left out, no room: {name}", file=sys.stderr)
