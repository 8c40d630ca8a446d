"""Detectors of logits: CPU seconds and memory to score 100,000 samples of 1,000 classes, each in a process of its own.

Logits are normal, with a standard deviation of 3; those that are fitted get 20,000 samples, one in four labelled wrong.

Run: python benchmarks/detectors.py [--rows N] [--classes N] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from reprood.detectors import registry
from reprood.detectors.record import Outputs, Reference

BEYOND = {"features", "train_features", "head", "pass"}  # inputs that are no logits


def names() -> list[str]:
    """Return the detectors that read logits alone."""
    return [name for name in registry.names() if not BEYOND & set(registry.detector(name).inputs)]


def measure(name: str, rows: int, classes: int) -> dict[str, float]:
    """Fit and score in this process; return CPU seconds of both, and MiB that scoring adds at its peak."""

    def memory(key: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**10

    rng = np.random.default_rng(0)
    logits, known = (rng.standard_normal((count, classes), np.float32) for count in (rows, 20 * classes))
    for values in (logits, known):
        values *= 3
    labels = known.argmax(axis=1)
    labels[::4] = 0
    detector = registry.detector(name)
    options, reference = detector.options(), Reference(Outputs(known), Outputs(known), labels, None, labels)
    started = time.process_time()
    fitted = detector.fit(reference, options) if detector.fit is not None else None
    between, before = time.process_time(), memory("VmRSS")
    detector.score(Outputs(logits), fitted, options)
    return {
        "fit": between - started,
        "score": time.process_time() - between,
        "added": max(0.0, memory("VmHWM") - before),
    }


def measured(name: str, rows: int, classes: int) -> dict[str, float]:
    """Measure in a process of its own."""
    code = f"import json, detectors; print(json.dumps(detectors.measure({name!r}, {rows}, {classes})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="samples (default 100,000)")
    parser.add_argument("--classes", type=int, default=1000, help="classes (default 1,000)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    found = {name: measured(name, options.rows, options.classes) for name in names()}
    print("| detector | CPU-seconds to fit | to score | MiB added at the peak |\n|---|---:|---:|---:|")
    for name, parts in found.items():
        print(f"| {name} | {parts['fit']:.2f} | {parts['score']:.2f} | {parts['added']:.0f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
