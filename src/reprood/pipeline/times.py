"""`reprood times`: how long jobs took, from the last lines of their logs."""

import re
from collections.abc import Iterator
from pathlib import Path

TOOK = re.compile(r"^took ([0-9.]+) s, ([0-9.]+) CPU-s$")


def read(folder: Path) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yield (parts of the log's path, wall-clock seconds, CPU-seconds) of every finished job."""
    for path in sorted(folder.rglob("*.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        match = TOOK.match(lines[-1]) if lines else None
        if match:
            yield path.relative_to(folder).with_suffix("").parts, float(match[1]), float(match[2])


def table(folder: Path) -> list[str]:
    """Return the lines of two tables: by stage, and trainings and predictions by benchmark and method."""
    stages: dict[str, list[float]] = {}
    runs: dict[tuple[str, str], dict[str, list[float]]] = {}
    for parts, wall, cpu in read(folder):
        total = stages.setdefault(parts[0], [0, 0.0, 0.0])
        total[0] += 1
        total[1] += wall
        total[2] += cpu
        if parts[0] in ("train", "predict") and len(parts) == 4:
            run = runs.setdefault((parts[1], parts[2]), {"train": [], "predict": []})
            run[parts[0]].append(cpu)
    lines = [f"{'stage':<12}{'jobs':>6}{'seconds':>10}{'CPU-s':>10}"]
    lines += [f"{name:<12}{n:>6.0f}{wall:>10.1f}{cpu:>10.1f}" for name, (n, wall, cpu) in stages.items()]
    lines.append(
        f"{'all':<12}{sum(v[0] for v in stages.values()):>6.0f}"
        + "".join(f"{sum(v[i] for v in stages.values()):>10.1f}" for i in (1, 2))
    )
    lines += ["", f"{'benchmark':<28}{'method':<24}{'runs':>5}{'train CPU-s':>13}{'predict CPU-s':>15}"]
    for (benchmark, method), seconds in runs.items():
        count = max(len(seconds["train"]), len(seconds["predict"]))
        totals = f"{sum(seconds['train']):>13.1f}{sum(seconds['predict']):>15.1f}"
        lines.append(f"{benchmark:<28}{method:<24}{count:>5}{totals}")
    return lines
