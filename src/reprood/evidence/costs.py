"""CPU-seconds of one replicate of every arm."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

from reprood.config.folders import plain_name
from reprood.core.files import read_json
from reprood.evidence.choose import Arm
from reprood.pipeline.layout import Layout
from reprood.pipeline.times import read

UNKNOWN = 60.0  # CPU-seconds of a run when no run has finished


def cpu_seconds(layout: Layout, root: Path, arms: Iterable[Arm]) -> dict[Arm, float]:
    """Return the CPU-seconds of a replicate: mean of the logs of trainings and predictions, else of the run records.

    An arm without finished runs gets the median of the others.
    """
    known = _logged(layout, root)
    for arm, seconds in _recorded(layout, root).items():
        known.setdefault(arm, seconds)
    usual = median(known.values()) if known else UNKNOWN
    return {arm: known.get(arm, usual) for arm in arms}


def _arm(layout: Layout, benchmark: str, method: str) -> Arm:
    record = layout.suite.benchmarks.get(benchmark)
    return (record.family or benchmark if record is not None else benchmark), method


def _logged(layout: Layout, root: Path) -> dict[Arm, float]:
    stages: dict[str, dict[Arm, list[float]]] = {"train": {}, "predict": {}}
    for stage, found in stages.items():
        for parts, _, cpu in read(root / "logs" / stage):
            if len(parts) == 3:
                found.setdefault(_arm(layout, *map(plain_name, parts[:2])), []).append(cpu)
    predicted = {arm: fmean(values) for arm, values in stages["predict"].items()}
    return {arm: fmean(values) + predicted.get(arm, 0.0) for arm, values in stages["train"].items()}


def _recorded(layout: Layout, root: Path) -> dict[Arm, float]:
    seconds: dict[Arm, list[float]] = {}
    for benchmark, method, seed in layout.jobs:
        path = root / layout.run_file(benchmark, method, seed, "run.json")
        if path.is_file():
            record = read_json(path)
            spent = sum(phase.get("seconds", 0.0) for phase in record.get("phases", ()))
            seconds.setdefault(_arm(layout, benchmark, method), []).append(spent * record.get("threads", 1))
    return {arm: fmean(values) for arm, values in seconds.items()}
