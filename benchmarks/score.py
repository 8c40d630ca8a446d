"""`reprood.score` next to pytorch-ood: the same network, sets and detectors; time and peak memory.

pytorch-ood has two ways: a loop over detectors and sets with `OODMetrics`, as in its examples, and
`Benchmark.evaluate`, which keeps logits and features of a set for all detectors; either fits each detector with a pass
of its own. reprood computes two metrics more and, if asked, intervals. All ways must give the same AUROC and FPR95.

Run: python benchmarks/score.py [--repeats N] [--threads N] [--json FILE] [--images N] [--sets N]
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from measure import Row, compare, machine, options_of, parser_of, show
from pytorch_ood import detector as theirs
from pytorch_ood.benchmark import Benchmark
from pytorch_ood.metrics import OODMetrics
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import reprood
from reprood.engine.seeds import seeded
from reprood.nets import wrn
from reprood.nets.classifier import Classifier

CLASSES, BATCH, K, DIMENSION = 10, 250, 50, 64
DETECTORS = {
    "msp": {},
    "maxlogit": {},
    "energy": {},
    "mahalanobis": {},
    "knn": {"k": K},
    "vim": {"dimension": DIMENSION},
}
Results = dict[tuple[str, str], tuple[float, float]]  # (detector, OOD set) -> AUROC, FPR95 with OOD positive


class Task:
    """A WRN-16-2 with random weights, and sets of random images that differ in their contrast."""

    def __init__(self, count: int, sets: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.train, self.id, *others = (
            (0.5 + 0.1 * number) * torch.randn(count, 3, 32, 32, generator=generator) for number in (5, 5, *range(sets))
        )
        self.ood = {f"ood{number}": images for number, images in enumerate(others)}
        self.labels = torch.arange(count) % CLASSES
        with seeded(0):
            self.model = Classifier(wrn.build(3, depth=16, width=2), CLASSES).eval().requires_grad_(False)
        self.scored = count * (sets + 1) * len(DETECTORS)

    def tested(self, images: torch.Tensor) -> ConcatDataset:
        """Return the ID test set followed by an OOD set, as pytorch-ood takes them."""
        return ConcatDataset(
            [TensorDataset(self.id, self.labels), TensorDataset(images, torch.full((len(images),), -1))]
        )

    def fitted(self) -> dict[str, theirs.MaxSoftmax]:
        """Return pytorch-ood's detectors, fitted."""
        model, (weight, bias) = self.model, self.model.linear_head()
        made = {
            "msp": theirs.MaxSoftmax(model),
            "maxlogit": theirs.MaxLogit(model),
            "energy": theirs.EnergyBased(model),
            "mahalanobis": theirs.Mahalanobis(model.features),
            "knn": theirs.KNN(model.features, k=K),
            "vim": theirs.ViM(model.features, d=DIMENSION, w=weight, b=bias),
        }
        train = DataLoader(TensorDataset(self.train, self.labels), BATCH)
        for one in made.values():
            one.to("cpu").fit(train)
        return made

    def loop(self) -> Results:
        """Make a pass for every detector and set."""
        found = {}
        for name, detector in self.fitted().items():
            for group, images in self.ood.items():
                metrics = OODMetrics()
                for inputs, labels in DataLoader(self.tested(images), BATCH):
                    metrics.update(detector(inputs), labels)
                values = metrics.compute()
                found[name, group] = values["AUROC"], values["FPR95TPR"]
        return found

    def evaluate(self) -> Results:
        """Keep logits and features of each set for all detectors."""
        task, made = self, self.fitted()

        class Sets(Benchmark):
            ood_names = list(task.ood)

            def train_set(self):
                return TensorDataset(task.train, task.labels)

            def test_sets(self, known=True, unknown=True):
                return [task.tested(images) for images in task.ood.values()]

        rows = Sets().evaluate(list(made.values()), loader_kwargs={"batch_size": BATCH})
        names = {type(one).__name__: name for name, one in made.items()}
        return {(names[row["Detector"]], row["Dataset"]): (row["AUROC"], row["FPR95TPR"]) for row in rows}

    def score(self, replicates: int) -> Results:
        """Score with one pass for all."""
        table = reprood.score(
            self.model, id=self.id, ood=self.ood, train=(self.train, self.labels), detectors=DETECTORS,
            batch_size=BATCH, replicates=replicates,
        )  # fmt: skip
        rows = table[table["ood"] != "mean"].itertuples()
        return {(row.detector, row.ood): (row.auroc, row.fpr95_ood_positive) for row in rows}

    def ways(self) -> dict[str, Callable[[], Results]]:
        """Return the ways by name."""
        return {
            "pytorch-ood, a pass for every detector and set": self.loop,
            "pytorch-ood, Benchmark.evaluate": self.evaluate,
            "reprood.score": lambda: self.score(0),
            "reprood.score, with intervals": lambda: self.score(200),
        }


def check(task: Task) -> None:
    """Compare the values of all ways where the definitions agree.

    Raises
    ------
    RuntimeError
        When a value differs by more than float32 allows.
    """
    first, *others = (way() for way in task.ways().values())
    for other in others:
        for key, values in first.items():
            if not np.allclose(values, other[key], atol=5 / len(task.id)):
                raise RuntimeError(f"the ways do not agree on {key}: {values} and {other[key]}")


def times(count: int, sets: int, repeats: int) -> list[Row]:
    task = Task(count, sets)
    check(task)

    def timed(way: Callable[[], Results]) -> Callable[[], int]:
        def run() -> int:
            way()
            return task.scored

        return run

    ways = {name: timed(way) for name, way in task.ways().items()}
    return compare(f"{len(DETECTORS)} detectors, {sets} OOD sets, {count} images each, WRN-16-2", ways, repeats)


def peak(way: str, count: int, sets: int) -> dict[str, float]:
    """MiB of this process: with network and images, and at the peak of scoring."""

    def memory_of(key: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**10

    task = Task(count, sets)
    started = memory_of("VmRSS")
    task.ways()[way]()
    return {"before": started, "added": memory_of("VmHWM") - started}


def memory(count: int, sets: int) -> dict[str, dict[str, float]]:
    """Measure each way in its own process."""
    found = {}
    for way in Task(1, 1).ways():
        code = f"import json, score; print(json.dumps(score.peak({way!r}, {count}, {sets})))"
        done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=True)
        found[way] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=3)
    parser.add_argument("--images", type=int, default=200, help="of each set (default 200)")
    parser.add_argument("--sets", type=int, default=3, help="OOD sets (default 3)")
    options = options_of(parser)
    size = (options.images, options.sets)
    rows = times(*size, options.repeats)
    found = memory(*size)
    show(rows, None, "scores")
    print("\n| way | MiB before | MiB added at the peak |\n|---|---:|---:|")
    for way, parts in found.items():
        print(f"| {way} | {parts['before']:.0f} | {parts['added']:.0f} |")
    if options.json is not None:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows], "memory": found}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
