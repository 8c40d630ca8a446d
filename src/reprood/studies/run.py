"""Stage `predict`, studies: run one study and write `values.csv` and `arrays.npz`."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reprood.config.folders import Folders
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path
from reprood.data.arrays import load_split, write_npz
from reprood.engine.device import keep_freed_memory, make_repeatable, resolve_device
from reprood.engine.problem import ImageSet, Problem, image_set, load_problem
from reprood.engine.settings import read_settings
from reprood.studies.base import Context, Findings
from reprood.studies.registry import study
from reprood.train.run import load_model, network

COLUMNS = ("study", "arm", "seed", "metric", "value")


def run_study(
    settings: Mapping[str, Any],
    *,
    data: Path,
    root: Path,
    out: Path,
    state: Path,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Carry out a study and write `values.csv` and `arrays.npz`.

    Parameters
    ----------
    settings : mapping
        name, use, set, seeds, suite_seed, benchmarks (of each seed; none for a study without data), methods (rows
        whose models are loaded), auxiliary; `ood`, the OOD sets, for a study that reads them; `data`, false for a
        study that reads no images of its benchmark.
    data : Path
        Folder of the benchmarks' splits.
    root : Path
        The checkout, with the runs.
    out : Path
        Folder of the study's results.
    state : Path
        Resume folder for trainings inside the study.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    threads : int or None
        CPU threads.

    Raises
    ------
    ReproodError
        For wrong settings, missing files, or a number that is not finite.
    """
    where = resolve_device(device)
    make_repeatable(where, threads)
    keep_freed_memory()
    record = study(settings["use"])
    config = read_settings(record.config, settings["set"], f"study {settings['name']}")
    name, seeds = settings["name"], tuple(settings["seeds"])
    places = dict(zip(seeds, settings["benchmarks"], strict=False))
    problems, models, configs, records = {}, {}, {}, {}
    outliers: dict[int, dict[str, ImageSet]] = {}
    if places:
        auxiliary = tuple(settings["auxiliary"])
        folders = Folders.model_validate(settings["folders"])

        def load(benchmark: str) -> Problem:
            splits = ("train", "validation", "test", *auxiliary)
            files = {split: data / folders.trained(benchmark) / split for split in splits}
            task = {"benchmark": benchmark, "method": name, "backbone": settings["backbone"]}
            return load_problem(files, lambda channels: network(task, channels), where, auxiliary=auxiliary)

        read = dict.fromkeys(places.values()) if settings.get("data", True) else {}
        by_benchmark = {benchmark: load(benchmark) for benchmark in read}
        problems = {seed: by_benchmark[benchmark] for seed, benchmark in places.items() if benchmark in read}
        sets = {
            benchmark: {
                split: image_set(load_split(data / folders.benchmark(benchmark) / split), where)
                for split in settings.get("ood", ())
            }
            for benchmark in by_benchmark
        }
        outliers = {seed: sets[benchmark] for seed, benchmark in places.items() if benchmark in read}
        for method in settings["methods"]:
            paths = {seed: root / folders.file(places[seed], method, seed, "model.json") for seed in seeds}
            loaded = {seed: load_model(path.parent, where) for seed, path in paths.items()}
            models[method] = {seed: model for seed, (model, *_) in loaded.items()}
            configs[method] = next(iter(loaded.values()))[3]
            records[method] = {seed: record for seed, (_, record, *_) in loaded.items()}
    context = Context(name, seeds, where, problems, models, configs, settings["suite_seed"], state, outliers, records)
    write_findings(name, record.measure(config, context), out)


def write_findings(name: str, findings: Findings, out: Path) -> None:
    """Write `values.csv` (study, arm, seed, metric, value) and `arrays.npz`; the same findings give the same bytes."""
    for row in findings.rows:
        if not np.isfinite(row["value"]):
            raise ReproodError(
                f"Study {name}: {row['metric']} of {row['arm']}, seed {row['seed']}, is {row['value']}; "
                "a study's numbers must be finite."
            )
    with atomic_path(out / "arrays.npz") as temporary:
        write_npz(temporary, dict(findings.arrays))
    with atomic_path(out / "values.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"study": name, **row} for row in findings.rows)
