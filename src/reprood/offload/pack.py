"""Trainings and predictions of a suite as one archive that another machine can work off: `reprood offload pack`."""

import dataclasses
import hashlib
import io
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, sha256_file
from reprood.core.registry import module_name
from reprood.data.arrays import FILES, load_split
from reprood.offload.archive import MIB, write_archive
from reprood.offload.jobs import FORMAT, TRAINED, WEIGHTS, Job, chosen
from reprood.offload.planned import DATA_RULES, dry_run, known_job
from reprood.offload.pools import Pool
from reprood.offload.wheels import distributions, download, imported
from reprood.pipeline.fingerprint import PACKAGE
from reprood.pipeline.plan import Plan, environment

RUN = '''"""Work off this bundle: python run.py --budget SECONDS --out FOLDER (see --help)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

if sys.version_info < (3, 11):
    sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ".")

from reprood.offload.visit import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
'''


@dataclass(frozen=True)
class Packed:
    """What was written: the archive (or its parts), its jobs and its size in bytes by kind of content."""

    paths: tuple[Path, ...]
    jobs: tuple[Job, ...]
    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(path.stat().st_size for path in self.paths)


def jobs_to_do(plan: Plan, root: Path, options: Sequence[str], patterns: Sequence[str]) -> list[Job]:
    """The trainings and predictions that Snakemake would run here, of the chosen runs, in the plan's order.

    Raises
    ------
    ReproodError
        When the data stage is not done, when no run fits the patterns, or when there is nothing left to do.
    """
    runs = [f"{b}/{m}/{s}" for b, m, s in plan.jobs]
    wanted = [run for run in runs if chosen(run, patterns)]
    if not wanted:
        raise ReproodError(
            f"No run of suite '{plan.settings.suite}' fits {', '.join(patterns)}; runs are named like {runs[0]}."
        )
    targets = [f"runs/{run}/{name}" for run in wanted for name in (WEIGHTS, "predictions.parquet")]
    found = dry_run(root, options, targets)
    missing = [rule for rule in found.rules if rule in DATA_RULES]
    if missing:
        raise ReproodError(
            f"The data stage is not done ({len(missing)} of its jobs would run); run `snakemake --cores all "
            f"{' '.join(options)} --until lint_benchmark corrupted` first, then pack."
        )
    jobs = []
    for run in wanted:
        for kind in ("train", "predict"):
            if (kind, run) in found.commands:
                job = known_job(plan, root, kind, run, found.commands[kind, run])
                assert job is not None
                if job.settings not in job.arguments:
                    raise ReproodError(f"{job.name}: the plan changed while it was read; pack again.")
                jobs.append(job)
    if not jobs:
        raise ReproodError(f"Every chosen run of suite '{plan.settings.suite}' is trained and predicted already.")
    return jobs


def _sources() -> dict[str, Path | bytes]:
    paths = [p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {f"src/reprood/{path.relative_to(PACKAGE)}": path for path in sorted(paths)}


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _data(jobs: Sequence[Job], root: Path) -> tuple[dict[str, Path | bytes], dict[str, Any]]:
    """Files of the splits that the jobs read, and how to put them together again."""
    files: dict[str, Path | bytes] = {}
    pools: dict[str, Pool] = {}
    splits: dict[str, str] = {}
    for name in dict.fromkeys(f"{job.benchmark}/{split}" for job in jobs for split in job.data):
        folder = root / "data" / "benchmarks" / name
        split = load_split(folder)
        if sha256_file(folder / "images.npy") != split.meta["sha256"]["images"]:
            raise ReproodError(
                f"{folder / 'images.npy'} is damaged (checksum); delete the folder and prepare it again."
            )
        shape = tuple(split.images.shape[1:])
        pool = pools.setdefault("x".join(map(str, shape)), Pool(shape))
        files[f"splits/{name}/rows.npy"] = _npy(pool.add(split.images))
        files.update({f"splits/{name}/{file}": folder / file for file in FILES if file != "images.npy"})
        splits[name] = "x".join(map(str, shape))
    pieces: dict[str, list[str]] = {}
    for key, pool in pools.items():
        for number, piece in enumerate(pool.pieces()):
            files[f"pools/{key}/{number:05d}"] = piece
            pieces.setdefault(key, []).append(f"pools/{key}/{number:05d}")
    return files, {"splits": splits, "pools": pieces}


def _begun(jobs: Sequence[Job], root: Path) -> dict[str, Path | bytes]:
    """Checkpoints of trainings begun here, and models that only lack their predictions."""
    trained = {job.run for job in jobs if job.kind == "train"}
    files: dict[str, Path | bytes] = {}
    for job in jobs:
        if job.kind == "train":
            found = [p for p in (root / job.state).glob("*") if p.is_file() and p.name != "lock"]
            files.update({f"{job.state}/{path.name}": path for path in found})
        elif job.run not in trained:
            files.update({f"runs/{job.run}/{name}": root / "runs" / job.run / name for name in TRAINED})
    return files


def _size(files: Mapping[str, Path | bytes]) -> int:
    return sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())


def pack(
    config: Mapping[str, Any],
    root: Path,
    out: Path,
    *,
    options: Sequence[str],
    patterns: Sequence[str] = (),
    carry: Sequence[str] = (),
    python: str = "3.12",
    platforms: Sequence[str] = (),
    part: int | None = None,
    limit: int | None = None,
) -> Packed:
    """Write a bundle: the project's source, the data that the jobs read, and the jobs as Snakemake would run them.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration (which suite).
    root : Path
        The checkout.
    out : Path
        The archive, a tar.
    options : sequence of str
        What Snakemake has to be told for this configuration.
    patterns : sequence of str
        Which runs; see `jobs.chosen`.
    carry : sequence of str
        Distributions that go along as wheels, for `python` on `platforms`.
    part : int or None
        Bytes of a part, for a way that takes only small files.
    limit : int or None
        Bytes that the bundle may have.

    Raises
    ------
    ReproodError
        When the data stage is not done, nothing is left to do, or the bundle is too large.
    """
    from reprood.offload.costs import cost

    plan = Plan(config, root)
    jobs = [
        dataclasses.replace(
            job,
            cost=cost(
                job,
                plan.train_parameters(job.benchmark, job.method, job.seed),
                root / "data" / "benchmarks" / job.benchmark,
            ),
        )
        for job in jobs_to_do(plan, root, options, patterns)
    ]
    data, layout = _data(jobs, root)
    content = {"source": _sources(), "data": data, "checkpoints and models": _begun(jobs, root)}
    methods = sorted({plan.arm(job.method).use for job in jobs})
    nets = sorted({str(plan.backbone(job.benchmark, job.method)["name"]) for job in jobs})
    modules = [*(module_name("methods", name) for name in methods), *(f"reprood.nets.{name}" for name in nets)]
    needs = {
        "train": sorted({*imported("reprood.train.run", *modules), "typer"}),
        "predict": sorted({*imported("reprood.predict.run", *modules), "typer"}),
    }
    facts = {
        "format": FORMAT,
        "suite": plan.settings.suite,
        "jobs": [job.record() for job in jobs],
        "layout": layout,
        "methods": methods,
        "nets": nets,
        "needs": needs,
        "distributions": distributions(name for kind in needs.values() for name in kind),
        "packed_with": {"python": platform.python_version(), "versions": environment("torch", "numpy")},
    }
    with tempfile.TemporaryDirectory(dir=out.parent if out.parent.is_dir() else None) as scratch:
        wheels = download(carry, Path(scratch), python, platforms)
        content["wheels"] = {f"wheels/{name}/{p.name}": p for name, paths in wheels.items() for p in paths}
        sizes = {kind: _size(files) for kind, files in content.items()}
        if limit is not None and sum(sizes.values()) > limit:
            parts = ", ".join(f"{kind} {size / MIB:.1f}" for kind, size in sizes.items() if size)
            raise ReproodError(
                f"The bundle would have {sum(sizes.values()) / MIB:.1f} MiB ({parts}), more than {limit / MIB:.0f}; "
                "choose fewer benchmarks with --only, or bring it in parts with --part-size."
            )
        facts["bundle"] = hashlib.sha256(canonical_json([job.identity for job in jobs]).encode()).hexdigest()[:16]
        files = {"run.py": RUN.encode(), **{name: f for group in content.values() for name, f in group.items()}}
        paths = write_archive(out, files, facts, part)
    return Packed(tuple(paths), tuple(jobs), sizes)
