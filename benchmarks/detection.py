"""Detection scores: one forward pass for all, k-nearest neighbours and Mahalanobis against scikit-learn, peak memory.

Samples per CPU-second. One pass: the project runs a network once over each split and takes all detectors from what is
stored; the other way makes a pass for every detector and set, as a loop over detectors does.

Run: python benchmarks/detection.py [--repeats N] [--threads N] [--json FILE] [--small]
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
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from reprood.detectors import knn, mahalanobis, registry
from reprood.detectors.record import Outputs, Reference
from reprood.engine.seeds import seeded
from reprood.evaluate.outputs import Raw
from reprood.evaluate.scores import compute
from reprood.nets import wrn
from reprood.nets.classifier import Classifier
from reprood.predict.forward import forward_pass

CLASSES = 10
DETECTED: dict[str, dict[str, object]] = {
    "msp": {},
    "maxlogit": {},
    "energy": {},
    "mahalanobis": {},
    "knn": {"k": 50},
    "vim": {"dimension": 32},
    "react": {},
}
MEMORY = ("mahalanobis", "knn", "vim", "react")


def features_of(count: int, width: int, seed: int) -> np.ndarray:
    """Features as a network with rectified activations gives them, float32 [count, width]."""
    return np.maximum(np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32), 0)


# --- one pass for all detectors


def passes(count: int, sets: int, repeats: int) -> list[Row]:
    """Score a benchmark with all detectors on all OOD sets."""
    names = ["test", *(f"ood{number}" for number in range(sets))]
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.randn(count, 3, 32, 32, generator=generator) for name in ("train", "validation", *names)}
    labels = np.arange(count) % CLASSES
    with seeded(0):
        model = Classifier(wrn.build(3, depth=16, width=1), CLASSES).eval().requires_grad_(False)
    head = model.linear_head()

    layer = None if head is None else (head[0].numpy(), head[1].numpy())
    detectors = registry.parse_options(DETECTED)

    def run_on(split: str) -> Outputs:
        stored = forward_pass(model, head, lambda: iter(images[split].split(250)))
        assert stored.features is not None
        return Outputs(stored.logits.numpy(), stored.features.numpy())

    def outputs(*splits: str) -> Raw:
        reference = Reference(run_on("validation"), run_on("train"), labels, layer)
        return Raw({}, {split: run_on(split) for split in splits}, reference)

    def once() -> int:
        raw = outputs(*names)
        for name, options in detectors.items():
            compute(name, options, raw)
        return count * len(names) * len(detectors)

    def each() -> int:
        for name, options in detectors.items():
            compute(name, options, outputs(*names))
        return count * len(names) * len(detectors)

    ways = {"a pass for every detector and set": each, "reprood, one pass for all": once}
    return compare(f"{len(DETECTED)} detectors x {sets + 1} sets of {count} images, WRN-16-1", ways, repeats)


# --- against scikit-learn


def neighbours(bank_rows: int, rows: int, width: int, repeats: int) -> list[Row]:
    """Compute the distance to the 50th nearest neighbour."""
    bank, queries = features_of(bank_rows, width, 0), features_of(rows, width, 1)
    unit_bank, unit_queries = knn.unit(bank), knn.unit(queries)
    search = NearestNeighbors(n_neighbors=50, algorithm="brute").fit(unit_bank)

    def theirs() -> int:
        return len(search.kneighbors(unit_queries)[0])

    def ours() -> int:
        return len(knn.score(queries, bank, 50))

    distance = search.kneighbors(unit_queries[:100])[0][:, -1]
    if not np.allclose(-distance, knn.score(queries[:100], bank, 50), atol=1e-5):
        raise RuntimeError("the two ways do not agree")
    ways = {"scikit-learn, brute force": theirs, "reprood, chunked": ours}
    return compare(f"KNN, {rows:,} against {bank_rows:,} x {width}", ways, repeats)


def distances(rows: int, width: int, repeats: int) -> list[Row]:
    """Compute the Mahalanobis distance to the nearest of ten class means."""
    train, queries = features_of(20 * width, width, 0), features_of(rows, width, 1)
    labels = np.arange(len(train)) % CLASSES
    gaussians = mahalanobis.fit(train, labels, CLASSES)
    means = np.stack([train[labels == label].astype(float).mean(0) for label in range(CLASSES)])
    centred = train - means[labels]
    covariance = EmpiricalCovariance(assume_centered=True).fit(centred)
    precision = torch.from_numpy(covariance.precision_).float()

    def theirs() -> int:
        found = [covariance.mahalanobis(queries - mean) for mean in means]
        return len(np.min(found, axis=0))

    def released() -> int:
        """Compute the diagonal of a batch's product with itself, class by class, as in the authors' release."""
        for batch in torch.from_numpy(queries).split(200):
            for mean in torch.from_numpy(means).float():
                centred = batch - mean
                (centred @ precision @ centred.T).diag()
        return len(queries)

    def ours() -> int:
        return len(mahalanobis.score(queries, gaussians))

    expected = np.min([covariance.mahalanobis(queries[:50] - mean) for mean in means], axis=0)
    if not np.allclose(-expected, mahalanobis.score(queries[:50], gaussians), rtol=1e-5):
        raise RuntimeError("the two ways do not agree")
    ways: dict[str, Callable[[], int]] = {
        "scikit-learn, class by class": theirs,
        "released code, diagonal of a product": released,
        "reprood, whitened": ours,
    }
    return compare(f"Mahalanobis, {rows:,} x {width}, {CLASSES} classes", ways, repeats)


# --- memory


def peak(name: str, rows: int, width: int) -> dict[str, float]:
    """MiB of this process: after imports, with the features, at the peak of fitting and scoring them."""

    def memory_of(key: str) -> float:
        # not ru_maxrss, which a new process takes over from the one that started it
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**10

    started = memory_of("VmRSS")
    features = features_of(rows, width, 0)
    weight = np.random.default_rng(0).normal(size=(CLASSES, width)).astype(np.float32)
    stored = Outputs(features[:, :CLASSES].copy(), features)
    few = Outputs(stored.logits[:5000], features[:5000])
    known = Reference(few, stored, np.arange(rows) % CLASSES, (weight, np.zeros(CLASSES, np.float32)))
    detector = registry.detector(name)
    options = detector.options()
    held = memory_of("VmRSS")
    fitted = detector.fit(known, options) if detector.fit is not None else None
    queries = few if name == "knn" else stored  # 100,000 neighbours' searches would take minutes and no more memory
    detector.score(queries, fitted, options)
    highest = memory_of("VmHWM")
    return {"started": started, "features": held - started, "added": highest - held, "highest": highest}


def memory(rows: int, width: int) -> dict[str, dict[str, float]]:
    """Measure each detector in its own process."""
    found = {}
    for name in MEMORY:
        code = f"import json, detection; print(json.dumps(detection.peak({name!r}, {rows}, {width})))"
        done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=3)
    parser.add_argument("--small", action="store_true", help="sizes that take seconds, to see that it runs")
    options = options_of(parser)
    small = options.small
    rows = passes(60 if small else 500, 1 if small else 6, options.repeats)
    rows += neighbours(2000 if small else 100_000, 200 if small else 1000, 64 if small else 512, options.repeats)
    rows += distances(200 if small else 2000, 32 if small else 512, options.repeats)
    size = (2000, 64) if small else (100_000, 512)
    found = memory(*size)
    show(rows, None, "samples")
    print(f"\nMemory in MiB, {size[0]:,} x {size[1]} features in float32\n")
    print(
        "| detector | process before | features | added at the peak | peak of the process |\n|---|---:|---:|---:|---:|"
    )
    for name, parts in found.items():
        cells = " | ".join(f"{parts[key]:.0f}" for key in ("started", "features", "added", "highest"))
        print(f"| {name} | {cells} |")
    if options.json is not None:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows], "memory": found}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
