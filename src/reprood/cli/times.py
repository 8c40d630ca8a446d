"""What jobs took, from the last lines of their logs: `reprood times`."""

import re
from collections.abc import Iterator
from pathlib import Path

TOOK = re.compile(r"^took ([0-9.]+) s, ([0-9.]+) CPU-s$")


def read(folder: Path) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """(parts of the log's path, wall seconds, CPU-seconds) of every job that told what it took."""
    for path in sorted(folder.rglob("*.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = TOOK.match(lines[-1]) if lines else None
        if found:
            yield path.relative_to(folder).with_suffix("").parts, float(found[1]), float(found[2])


def table(folder: Path) -> list[str]:
    """Lines of two tables: by stage, and trainings and predictions by benchmark and method."""
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
    for (benchmark, method), found in runs.items():
        count = max(len(found["train"]), len(found["predict"]))
        sums = f"{sum(found['train']):>13.1f}{sum(found['predict']):>15.1f}"
        lines.append(f"{benchmark:<28}{method:<24}{count:>5}{sums}")
    return lines
