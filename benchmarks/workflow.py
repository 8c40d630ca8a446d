"""Measure what the workflow itself costs: plans and no-ops of suites of any size, imports and fingerprints.

Run: python benchmarks/workflow.py [--jobs 100 1000 10000] [--repeats N] [--tree FINISHED_CHECKOUT] [--json FILE]

Synthetic suites are not run: every output of the plan is an empty file, and Snakemake's own records are written for all
jobs, so that a no-op checks all that it checks after a real run. Byte code is cached, as after a first run. `--tree`
measures the no-op of a finished checkout and changes nothing in it but caches.
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
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import yaml
from measure import machine

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
    """Median CPU and wall seconds of one task, with the lowest and highest CPU seconds."""

    what: str
    cpu: float
    wall: float
    lowest: float
    highest: float
    note: str = ""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command in a checkout: its sources, one thread, byte code in a temporary folder."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    cache = kept.get("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "reprood-benchmark-bytecode"))
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    own = {"PYTHONPATH": str(folder / "src"), "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": cache}
    return {**kept, **own}


def run(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Return CPU and wall seconds of a command and its children, and its output.

    Raises
    ------
    RuntimeError
        When it fails.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout + done.stderr


def measured(what: str, command: list[str], folder: Path, repeats: int, note: str = "") -> Cost:
    """Return the median over `repeats` calls after one that fills the caches."""
    run(command, folder)
    times = [run(command, folder)[:2] for _ in range(repeats)]
    processor = [cpu for cpu, _ in times]
    return Cost(
        what,
        statistics.median(processor),
        statistics.median(wall for _, wall in times),
        min(processor),
        max(processor),
        note,
    )


# --- plans


def checkout(folder: Path) -> None:
    """Copy the sources of this checkout."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)


def synthetic(shape: tuple[int, int, int]) -> dict[str, object]:
    """Return a suite of benchmarks x methods x seeds with three OOD sets per benchmark."""
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
    """Measure plans of synthetic suites: nothing built, everything built."""
    for wanted in jobs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            checkout(folder)
            path = folder / "config" / "suites" / "synthetic.yaml"
            path.write_text(yaml.safe_dump(synthetic(SHAPES[wanted]), sort_keys=False), encoding="utf-8")
            turns = repeats if wanted < 10_000 else max(1, repeats // 3)
            _, _, output = run(dry(folder, "synthetic"), folder)
            total = int(re.findall(r"^total\s+(\d+)$", output, flags=re.MULTILINE)[-1])
            yield measured(f"plan, nothing built, {total:,} jobs", dry(folder, "synthetic"), folder, turns)
            run([sys.executable, str(SETTLE), "synthetic"], folder)
            _, _, output = run(dry(folder, "synthetic"), folder)
            if "Nothing to be done" not in output:
                raise RuntimeError(f"a finished suite has something to run:\n{output[-2000:]}")
            yield measured(f"no-op, everything built, {total:,} jobs", dry(folder, "synthetic"), folder, turns)


def finished(tree: Path, repeats: int) -> Cost:
    """Measure the no-op of a finished checkout."""
    command = ["snakemake", "-n", "--cores", "2"]
    _, _, output = run(command, tree)
    if "Nothing to be done" not in output:
        raise RuntimeError(f"{tree} is not finished:\n{output[-2000:]}")
    return measured("no-op of a finished checkout (its default suite)", command, tree, repeats)


# --- imports, fingerprints


def imports(repeats: int) -> Iterator[Cost]:
    """Measure the start of Python and what each stage imports."""
    for what, module in MODULES.items():
        yield measured(f"import: {what}", [sys.executable, "-c", f"import {module}"], ROOT, repeats)


def fingerprints(repeats: int) -> Iterator[Cost]:
    """Measure the fingerprints of all methods: from sources, from the cache file, from memory."""
    names = sorted(path.stem for path in (ROOT / "src/reprood/methods").glob("*.py") if path.stem != "__init__")

    def compute() -> None:
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
            compute()
            spent.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - wall)
        note = f"{len(names)} methods"
        return Cost(what, statistics.median(spent), statistics.median(walls), min(spent), max(spent), note)

    with tempfile.TemporaryDirectory() as name:
        memory = Path(name) / "fingerprints.json"
        yield cost("fingerprints: every source parsed", True, None)
        fingerprint.load_cache(memory)
        yield cost("fingerprints: from the cache file of an earlier process", True, memory)
        yield cost("fingerprints: computed again in the same process", False, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--only", nargs="*", default=["imports", "fingerprints", "plans"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    parts = {
        "imports": lambda: imports(options.repeats),
        "fingerprints": lambda: fingerprints(options.repeats),
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
