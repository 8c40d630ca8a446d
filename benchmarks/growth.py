"""Measure how cost grows with images, classes, seeds, OOD sets and methods: CPU seconds, one plot each, log-log slopes.

A slope of 1 is proportional, of 2 quadratic; it is fitted to the larger half of the sizes. What is quadratic by nature
says so in its name.

Run: python benchmarks/growth.py [--repeats N] [--folder benchmarks] [--json FILE] [--small]
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from measure import machine, options_of, parser_of

from reprood.config.suite import Suite
from reprood.detectors import energy, knn, mahalanobis, msp, registry
from reprood.detectors.record import Outputs, Reference
from reprood.evaluate.outputs import Raw
from reprood.evaluate.predictions import Predictions
from reprood.evaluate.resample import Scores, replicate_detection
from reprood.evaluate.scores import compute
from reprood.evaluate.table import metrics_of
from reprood.pipeline import fingerprint
from reprood.pipeline.plan import Plan
from reprood.report.style import colours, new_figure, save
from workflow import synthetic

ROOT = Path(__file__).resolve().parent.parent
REPLICATES = 200
Task = Callable[[int], Callable[[], object]]  # a size -> what is measured at it


@dataclass(frozen=True)
class Curve:
    """CPU seconds of one task over sizes, and the slope of its larger half."""

    axis: str
    task: str
    sizes: list[int]
    seconds: list[float]
    slope: float


def generator_of() -> np.random.Generator:
    """Return a generator with the same draws for every size."""
    return np.random.default_rng(0)


def features_of(count: int, width: int = 128) -> np.ndarray:
    """Rectified features, float32."""
    return np.maximum(generator_of().normal(size=(count, width)).astype(np.float32), 0)


# --- evaluate


def benchmark_of(sets: int, seeds: int = 1, methods: int = 1) -> Suite:
    """Return a suite whose benchmark has this number of OOD sets."""
    record = synthetic((1, methods, seeds))
    outlier = {"dataset": "letters", "split": "test", "limit": 40, "shift": "far"}
    record["benchmarks"]["b0"]["ood"] = {f"set{number}": outlier for number in range(sets)}  # type: ignore[index]
    return Suite.model_validate(record)


def evaluated(images: int, sets: int = 3, scores: int = 2) -> Callable[[], object]:
    """Return the metrics of one run with the given number of images per split, OOD sets and scores."""
    generator = generator_of()
    splits = ["validation", "test", *(f"set{number}" for number in range(sets))]
    columns: dict[str, object] = {
        "split": np.repeat(splits, images),
        "row": np.tile(np.arange(images), len(splits)),
        "label": np.repeat([0, 0, *[-1] * sets], images),
        "prediction": np.zeros(images * len(splits), int),
        "label_rank": np.repeat([0, 0, *[-1] * sets], images),
    }
    columns |= {f"score_{name}": generator.random(images * len(splits)) for name in ("msp", "energy", "knn")[:scores]}
    facts = {"benchmark": "b0", "method": "m0", "seed": 0, "fitted": {}, "skipped": {}, "native": []}
    found, record = Predictions(pd.DataFrame(columns), facts), benchmark_of(sets).benchmarks["b0"]
    return lambda: metrics_of(found, record)


def arms(count: int, seeds: int, sets: int = 3, images: int = 400) -> list[list[Scores]]:
    """Return methods with runs, for the bootstrap."""
    generator = generator_of()
    names = [f"set{number}" for number in range(sets)]
    return [
        [
            Scores(generator.normal(1, 1, images), {name: generator.normal(0, 1, images) for name in names})
            for _ in range(seeds)
        ]
        for _ in range(count)
    ]


def resampled(methods: int = 2, seeds: int = 3, sets: int = 3) -> Callable[[], object]:
    """Resample all methods, seeds and OOD sets at once, in pairs."""
    found = arms(methods, seeds, sets)
    return lambda: replicate_detection(found, "auroc", generator_of(), REPLICATES)


def bootstrapped(images: int) -> Callable[[], object]:
    """Resample one run on one set."""
    generator = generator_of()
    scores = generator.normal(1, 1, images), generator.normal(0, 1, images)
    arm = [Scores(scores[0], {"set0": scores[1]})]
    return lambda: replicate_detection([arm], "auroc", generator_of(), REPLICATES)


# --- detectors


def scored(images: int, classes: int = 10, sets: int = 1) -> Callable[[], object]:
    """Score all sets with the detectors on stored outputs, except KNN."""
    outputs = features_of(images)
    weight = np.random.default_rng(1).normal(size=(classes, 128)).astype(np.float32)
    head = weight, np.zeros(classes, np.float32)
    stored = Outputs(outputs @ weight.T, outputs)
    known = Reference(stored, stored, np.arange(images) % classes, head)
    raw = Raw({}, {f"set{number}": stored for number in range(sets)}, known)
    detectors = registry.parse_options(dict.fromkeys(("msp", "energy", "mahalanobis", "react")))
    return lambda: [compute(name, options, raw) for name, options in detectors.items()]


def fitted(classes: int) -> Callable[[], object]:
    """Class means and shared covariance of 20,000 images."""
    features, labels = features_of(20_000), np.arange(20_000) % classes
    return lambda: mahalanobis.fit(features, labels, classes)


def of_logits(classes: int) -> Callable[[], object]:
    """MSP and energy of 5,000 images."""
    values = generator_of().normal(size=(5000, classes)).astype(np.float32)
    return lambda: (msp.msp(values), energy.energy(values, 1.0))


def neighbours(queries: int, bank: int) -> Callable[[], object]:
    """Find the k nearest neighbours."""
    first, second = features_of(queries), features_of(bank)
    return lambda: knn.score(first, second, 10)


# --- the plan


def planned(benchmarks: int = 2, methods: int = 4, seeds: int = 2, sets: int = 3) -> Callable[[], object]:
    """Read a suite and compute what Snakemake needs for its trainings and predictions."""
    fingerprint.load_cache(Path(tempfile.gettempdir()) / "reprood-benchmark-fingerprints.json")
    record = synthetic((benchmarks, methods, seeds))
    outlier = {"dataset": "letters", "split": "test", "limit": 40, "shift": "far"}
    for benchmark in record["benchmarks"].values():  # type: ignore[attr-defined]
        benchmark["ood"] = {f"set{number}": outlier for number in range(sets)}

    def ask() -> object:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "suite.yaml"
            path.write_text(yaml.dump(record, Dumper=yaml.CSafeDumper), encoding="utf-8")
            plan = Plan({"suite": str(path)}, ROOT)
            for benchmark, method, seed in plan.jobs:
                plan.train_parameters(benchmark, method, seed)
                plan.predict_parameters(benchmark, method)
                plan.code_of(benchmark, method, "reprood.train.run")
                plan.data_files(benchmark, plan.predicted_splits(benchmark, method))
                plan.evaluate_parameters(benchmark)
            return plan

    return ask


AXES: dict[str, tuple[list[int], dict[str, Task]]] = {
    "images": (
        [500, 1000, 2000, 4000, 8000, 16000],
        {
            "metrics of a run": evaluated,
            "bootstrap of an AUROC": bootstrapped,
            "MSP, energy, Mahalanobis, ReAct": scored,
            "KNN, bank of 4,000": lambda images: neighbours(images, 4000),
            "KNN, bank grows, too (quadratic)": lambda images: neighbours(images, images),
        },
    ),
    "classes": (
        [10, 30, 100, 300, 1000],
        {
            "MSP and energy": of_logits,
            "Mahalanobis: fit": fitted,
            "MSP, energy, Mahalanobis, ReAct": lambda classes: scored(5000, classes),
        },
    ),
    "seeds": (
        [1, 2, 4, 8, 16, 32],
        {
            "plan of 8 methods": lambda seeds: planned(seeds=seeds),
            "bootstrap of a difference": lambda seeds: resampled(seeds=seeds),
        },
    ),
    "ood_sets": (
        [1, 2, 4, 8, 16, 32],
        {
            "metrics of a run": lambda sets: evaluated(1000, sets),
            "bootstrap of a difference": lambda sets: resampled(sets=sets),
            "MSP, energy, Mahalanobis, ReAct": lambda sets: scored(1000, sets=sets),
            "plan of 8 methods": lambda sets: planned(sets=sets),
        },
    ),
    "methods": (
        [2, 4, 8, 16, 32, 64],
        {
            "plan": lambda methods: planned(methods=methods),
            "bootstrap of all": lambda methods: resampled(methods=methods),
        },
    ),
}


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return CPU seconds of one call: the minimum of some repeats, each long enough for the clock."""
    function()
    found = []
    for _ in range(repeats):
        calls, started = 0, time.process_time()
        while time.process_time() - started < 0.02:
            function()
            calls += 1
        found.append((time.process_time() - started) / calls)
    return min(found)


def slope(sizes: list[int], spent: list[float]) -> float:
    """Fit the slope of the larger half of the sizes, on logarithms."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(spent[half:]), 1)[0])


def draw(axis: str, found: list[Curve], folder: Path) -> None:
    """Draw time against size, with a line of slope 1."""
    figure = new_figure(6.4, 2.8)
    plot = figure.subplots()
    for name, colour in colours([curve.task for curve in found]).items():
        curve = next(one for one in found if one.task == name)
        plot.loglog(curve.sizes, curve.seconds, "o-", ms=3, color=colour, label=f"{name}: {curve.slope:.2f}")
    sizes = np.array(found[0].sizes, float)
    least = min(curve.seconds[0] for curve in found)
    plot.loglog(sizes, least * sizes / sizes[0], "--", color="#888888", lw=0.8, label="proportional: 1")
    for ticks, places in ((plot.xaxis, found[0].sizes), (plot.yaxis, [10.0**power for power in range(-4, 3)])):
        ticks.set_major_locator(FixedLocator(places))
        ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ticks.set_minor_formatter(NullFormatter())
    plot.minorticks_off()
    plot.set(xlabel=axis.replace("_", " ").replace("ood", "OOD"), ylabel="CPU seconds")
    plot.legend(
        fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1), title="slope of the larger half", title_fontsize=7
    )
    with tempfile.TemporaryDirectory() as name:
        save(figure, folder / f"growth_{axis}.svg", Path(name) / "unused.png")


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=3)
    parser.add_argument("--folder", type=Path, help="write a plot of each axis into this folder")
    parser.add_argument("--small", action="store_true", help="three small sizes, to see that it runs")
    options = options_of(parser)
    curves = []
    print(
        f"\n{machine()}\n\n| grows | task | sizes | CPU s, smallest | CPU s, largest | slope |\n"
        "|---|---|---|---:|---:|---:|"
    )
    for axis, (sizes, tasks) in AXES.items():
        chosen = sizes[:3] if options.small else sizes
        for name, task in tasks.items():
            spent = [seconds(task(size), options.repeats) for size in chosen]
            curves.append(Curve(axis, name, chosen, spent, slope(chosen, spent)))
            row = f"{chosen[0]:,} to {chosen[-1]:,} | {spent[0]:.4f} | {spent[-1]:.4f} | {curves[-1].slope:.2f}"
            print(f"| {axis.replace('_', ' ')} | {name} | {row} |", flush=True)
        if options.folder is not None:
            draw(axis, [curve for curve in curves if curve.axis == axis], options.folder)
    if options.json is not None:
        content = {"machine": machine(), "curves": [asdict(curve) for curve in curves]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
