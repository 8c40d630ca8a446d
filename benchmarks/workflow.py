"""What the workflow itself costs: plans and no-ops of suites of any size, imports, fingerprints, the overhead of a job.

Run: python benchmarks/workflow.py [--jobs 100 1000 10000] [--repeats N] [--tree FINISHED_CHECKOUT] [--json FILE]

Synthetic suites are settled without being run: every output of the plan is an empty file, and Snakemake's own records
are written for all jobs, so that a no-op looks at all that it looks at after a real run. Byte code is cached, as after
a first run of a normal installation. `--tree` measures the no-op of a finished checkout, which is left as it is but for
caches.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from measure import machine
from reprood.warm import VARIABLE, start

from reprood.core.files import canonical_json
from reprood.pipeline import fingerprint

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "Snakefile",
    "workflow",
    "profiles",
    "config",
    "src",
    "notebooks",
    "LICENSE",
    "CITATION.cff",
    "requirements.lock",
)
SETTLE = Path(__file__).resolve().parent / "settle.py"
SHAPES = {100: (3, 3, 3), 1000: (8, 8, 5), 10000: (20, 16, 10)}  # jobs -> benchmarks, methods, seeds
MODULES = {  # what a command of each stage imports
    "nothing (Python)": "sys",
    "the command line": "reprood.cli.main",
    "data": "reprood.data.benchmark",
    "evaluate": "reprood.evaluate.table",
    "audit": "reprood.audit.verdicts",
    "report: figures": "reprood.report.draw",
    "report: pages": "reprood.report.pages",
    "train (torch)": "reprood.train.run",
    "predict (torch)": "reprood.predict.run",
    "the plan (inside Snakemake)": "reprood.pipeline.plan",
    "Snakemake itself": "snakemake.cli",
}


@dataclass(frozen=True)
class Cost:
    """Median seconds of one thing, of the processor and of the clock, and what was seen."""

    what: str
    cpu: float
    wall: float
    lowest: float
    highest: float
    note: str = ""


def environment(folder: Path) -> dict[str, str]:
    """Of a command in a checkout: its sources, one thread, byte code kept outside of everything."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", VARIABLE)}
    cache = kept.get("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "reprood-benchmark-bytecode"))
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    own = {"PYTHONPATH": str(folder / "src"), "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": cache}
    return {**kept, **own}


def run(command: list[str], folder: Path, variables: dict[str, str] | None = None) -> tuple[float, float, str]:
    """CPU and wall seconds of a command and of all that it started, and what it said.

    Raises
    ------
    RuntimeError
        When it fails.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment(folder), **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout + done.stderr


def measured(what: str, command: list[str], folder: Path, repeats: int, note: str = "") -> Cost:
    """Median over `repeats` calls after one that warms byte code and disk."""
    run(command, folder)
    found = [run(command, folder)[:2] for _ in range(repeats)]
    processor = [cpu for cpu, _ in found]
    return Cost(
        what,
        statistics.median(processor),
        statistics.median(wall for _, wall in found),
        min(processor),
        max(processor),
        note,
    )


# --- plans


def checkout(folder: Path) -> None:
    """A copy of this checkout's sources."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)


def synthetic(shape: tuple[int, int, int]) -> dict[str, object]:
    """A suite of benchmarks x methods x seeds with three OOD sets a benchmark."""
    benchmarks, methods, seeds = shape

    def letters(split: str, skip: int = 0, limit: int = 60) -> dict[str, object]:
        return {"dataset": "letters", "split": split, "classes": [0, 1, 2, 3], "skip": skip, "limit": limit}

    outliers = {
        "near": {"dataset": "letters", "split": "test", "classes": [6, 7], "limit": 40, "shift": "near"},
        "far": {"dataset": "letters", "split": "test", "classes": [8, 9], "limit": 40, "shift": "far"},
        "noise": {"dataset": "uniform_noise", "split": "test", "limit": 40, "shift": "noise"},
    }
    uses = ("erm", "cutmix", "godin", "cnc", "ss_ood", "resmooth", "csi", "dias")
    return {
        "title": "Synthetic",
        "note": "Never run.",
        "scale": "reduced",
        "seeds": list(range(seeds)),
        "settings": {"backbone": {"name": "wrn", "depth": 10, "width": 1}},
        "benchmarks": {
            f"b{number}": {
                "title": f"Benchmark {number}",
                "preparation": {"size": 28, "channels": 1},
                "train": letters("train", number),
                "validation": letters("train", number + 100),
                "test": letters("test", number),
                "ood": outliers,
                "detectors": {"msp": {}, "energy": {}, "knn": {"k": 5}},
            }
            for number in range(benchmarks)
        },
        "methods": {
            f"m{number}": {"use": uses[number % len(uses)], "label": f"M{number}"} for number in range(methods)
        },
        "runs": [
            {"benchmark": f"b{number}", "methods": [f"m{method}" for method in range(methods)]}
            for number in range(benchmarks)
        ],
    }


def dry(folder: Path, suite: str) -> list[str]:
    return ["snakemake", "-n", "--quiet", "rules", "--cores", "2", "--config", f"suite={suite}"]


def plans(jobs: list[int], repeats: int) -> Iterator[Cost]:
    """Plans of synthetic suites: nothing built, everything built."""
    for wanted in jobs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            checkout(folder)
            path = folder / "config" / "suites" / "synthetic.yaml"
            path.write_text(yaml.safe_dump(synthetic(SHAPES[wanted]), sort_keys=False), encoding="utf-8")
            turns = repeats if wanted < 10_000 else max(1, repeats // 3)
            _, _, said = run(dry(folder, "synthetic"), folder)
            total = int(re.findall(r"^total\s+(\d+)$", said, flags=re.MULTILINE)[-1])
            yield measured(f"plan, nothing built, {total:,} jobs", dry(folder, "synthetic"), folder, turns)
            run([sys.executable, str(SETTLE), "synthetic"], folder)
            _, _, said = run(dry(folder, "synthetic"), folder)
            if "Nothing to be done" not in said:
                raise RuntimeError(f"a settled suite has something to do:\n{said[-2000:]}")
            yield measured(f"no-op, everything built, {total:,} jobs", dry(folder, "synthetic"), folder, turns)


def finished(tree: Path, repeats: int) -> Cost:
    """The no-op of a finished checkout."""
    command = ["snakemake", "-n", "--cores", "2"]
    _, _, said = run(command, tree)
    if "Nothing to be done" not in said:
        raise RuntimeError(f"{tree} is not finished:\n{said[-2000:]}")
    return measured("no-op of a finished checkout (its default suite)", command, tree, repeats)


# --- imports, fingerprints, jobs


def imports(repeats: int) -> Iterator[Cost]:
    """Python and what each stage imports."""
    for what, module in MODULES.items():
        yield measured(f"import: {what}", [sys.executable, "-c", f"import {module}"], ROOT, repeats)


def fingerprints(repeats: int) -> Iterator[Cost]:
    """All methods' training code: parsed, loaded from the cache, asked again."""
    names = sorted(path.stem for path in (ROOT / "src/reprood/methods").glob("*.py") if path.stem != "__init__")

    def ask() -> None:
        for name in names:
            fingerprint.code_hash("reprood.train.run", f"reprood.methods.{name}", "reprood.nets.wrn")

    def cost(what: str, prepare: bool, memory: Path | None) -> Cost:
        spent, walls = [], []
        for _ in range(repeats):
            if prepare:
                fingerprint.forget()
                fingerprint._summaries.clear()
            cpu, wall = time.process_time(), time.perf_counter()
            if memory is not None:
                fingerprint.load_cache(memory)
            ask()
            spent.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - wall)
        note = f"{len(names)} methods"
        return Cost(what, statistics.median(spent), statistics.median(walls), min(spent), max(spent), note)

    with tempfile.TemporaryDirectory() as name:
        memory = Path(name) / "fingerprints.json"
        yield cost("fingerprints: every source parsed", True, None)
        fingerprint.load_cache(memory)
        yield cost("fingerprints: loaded from the cache", True, memory)
        yield cost("fingerprints: asked again in the same process", False, None)


def predictions(path: Path, count: int = 200) -> None:
    """Predictions small enough that a job which reads them has nothing to compute."""
    generator = np.random.default_rng(0)
    splits = ("validation", "test", "near", "far", "noise")
    columns: dict[str, object] = {
        "split": np.repeat(splits, count),
        "row": np.tile(np.arange(count), len(splits)),
        "label": np.repeat([0, 0, -1, -1, -1], count),
        "prediction": np.zeros(count * len(splits), int),
        "label_rank": np.repeat([0, 0, -1, -1, -1], count),
        "score_msp": generator.random(count * len(splits)),
    }
    facts = {"benchmark": "b0", "method": "m0", "seed": 0, "fitted": {}, "skipped": {}, "native": []}
    table = pa.table(columns).replace_schema_metadata({"reprood": canonical_json(facts)})
    pq.write_table(table, path)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A warm server for as long as the block runs."""
    held = os.environ.get("PYTHONPYCACHEPREFIX")
    os.environ.update({"PYTHONPYCACHEPREFIX": environment(ROOT)["PYTHONPYCACHEPREFIX"]})
    socket = str(folder / f"reprood-{os.getpid()}.socket")
    start(socket)
    try:
        yield socket
    finally:
        if held is None:
            del os.environ["PYTHONPYCACHEPREFIX"]


def overhead(repeats: int) -> Iterator[Cost]:
    """`reprood evaluate run` on 1,000 samples: by itself, and as a fork of the warm server, in turn."""
    from reprood.config.suite import Suite

    suite = Suite.model_validate(synthetic((1, 1, 1)))
    record = suite.benchmarks["b0"].model_dump(mode="json", exclude={"settings", "detectors"})
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as socket:
        folder = Path(name)
        predictions(folder / "predictions.parquet")
        spec = canonical_json({"name": "b0", **record})
        files = ["--predictions", str(folder / "predictions.parquet"), "--out", str(folder / "metrics.csv")]
        command = ["reprood", "evaluate", "run", "--spec", spec, "--method", "m0", "--seed", "0", *files]
        found: dict[str, list[tuple[float, float]]] = {"alone": [], "warm": []}
        while not Path(socket).exists():
            time.sleep(0.1)
        run(command, ROOT, {VARIABLE: socket})
        run(command, ROOT)
        for _ in range(repeats):
            found["alone"].append(run(command, ROOT)[:2])
            found["warm"].append(run(command, ROOT, {VARIABLE: socket})[:2])
    for way, note in (("alone", ""), ("warm", "CPU of the asker only; the fork's is in the wall time")):
        cpu, wall = zip(*found[way], strict=True)
        title = "evaluate job of 1,000 samples, by itself" if way == "alone" else "the same, through the warm server"
        yield Cost(title, statistics.median(cpu), statistics.median(wall), min(cpu), max(cpu), note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--only", nargs="*", default=["imports", "fingerprints", "overhead", "plans"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    parts = {
        "imports": lambda: imports(options.repeats),
        "fingerprints": lambda: fingerprints(options.repeats),
        "overhead": lambda: overhead(options.repeats),
        "plans": lambda: plans(options.jobs, options.repeats),
    }
    print(f"\n{machine()}\n\n| what | CPU s | wall s | lowest - highest CPU s | |\n|---|---:|---:|---:|---|")
    costs = []
    tree = [finished(options.tree, options.repeats)] if options.tree else []
    for cost in chain(tree, *(parts[name]() for name in options.only)):
        costs.append(cost)
        spread = f"{cost.lowest:.3f} - {cost.highest:.3f}"
        print(f"| {cost.what} | {cost.cpu:.3f} | {cost.wall:.2f} | {spread} | {cost.note} |", flush=True)
    if options.json is not None:
        content = {"machine": machine(), "costs": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
