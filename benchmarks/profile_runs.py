"""Profile trainings and predictions of the suite `quick`: which part of a run takes which share of its CPU time.

Run: python benchmarks/profile_runs.py [BENCHMARK/METHOD ...]

The benchmarks' data must have been built. A part includes what it calls; cProfile lengthens many small calls.
"""

import argparse
import cProfile
import json
import pstats
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas  # noqa: F401  # as in the process that runs the workflow's jobs
from measure import cpu_seconds, machine

from reprood.pipeline.plan import Plan
from reprood.predict.run import predict_run
from reprood.train.run import train_run

ROOT = Path(__file__).resolve().parent.parent
RUNS = ("fashion_ood/erm", "fashion_outliers/cnc", "fashion_one_class_trouser/csi", "brick_defects/cutpaste_3way",
        "fashion_augment/resmooth")  # fmt: skip

# end of the file's path ("~" for built-in functions), name of the function
FORWARD = ("modules/module.py", "_wrapped_call_impl")
PARTS: dict[str, list[tuple[str, str]]] = {
    "forward": [FORWARD],  # of every network, less that of the monitoring
    "backward": [("~", "run_backward")],
    "optimiser": [("engine/optimizers.py", "step")],
    "inputs": [("engine/batches.py", "inputs"), ("method.py", "inputs"), ("method.py", "views")],
    "monitoring": [
        ("fit.py", "errors"),
        ("method.py", "errors"),
        ("method.py", "shift_errors"),
        ("method.py", "monitor"),
    ],
    "checkpoints": [("engine/state.py", "save")],
    "bookkeeping": [("engine/state.py", "after_step")],
}
PREDICTED: dict[str, list[tuple[str, str]]] = {
    "logits and features": [("predict/forward.py", "forward_pass")],
    "ODIN": [("predict/passes.py", "run_passes")],
    "own scores": [("predict/native.py", "fit_native"), ("predict/native.py", "scores")],
    "anomaly maps": [("predict/native.py", "maps")],
    "attacks": [("predict/conditions.py", "attacked")],
    "occlusion": [("predict/conditions.py", "occluded")],
    "corruption": [("predict/conditions.py", "stored")],
    "files": [("predict/files.py", "write_predictions"), ("predict/files.py", "write_features")],
}


def shares(parts: dict[str, list[tuple[str, str]]], work: Callable[[], None]) -> tuple[float, dict[str, float]]:
    """Return the CPU seconds of `work`, and the share of each part and of the rest in percent."""
    profile = cProfile.Profile(cpu_seconds)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    spent = {
        (file, name.split("'")[1] if file == "~" and "'" in name else name): row[3]
        for (file, _, name), row in stats.stats.items()  # type: ignore[attr-defined]
    }
    found = {
        part: 100
        / total
        * sum(time for (file, name), time in spent.items() if (any(file.endswith(f) and n == name for f, n in places)))
        for part, places in parts.items()
    }
    if "monitoring" in found:
        found["forward"] -= found["monitoring"]
    return total, found | {"rest": 100 - sum(found.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", default=list(RUNS))
    options = parser.parse_args()
    plan = Plan({"suite": "quick"}, ROOT)
    print(f"\n{machine()}\n\n| run | stage | CPU seconds | shares, % |\n|---|---|---:|---|")
    for run in options.runs:
        benchmark, method = run.split("/")
        data = ROOT / "data" / "benchmarks" / benchmark
        requests = json.loads(plan.predict_parameters(benchmark, method))
        splits = {split: data / split for split in requests["splits"]}
        with tempfile.TemporaryDirectory() as folder:
            out, state = Path(folder) / "run", Path(folder) / "state"
            settings = json.loads(plan.train_parameters(benchmark, method, 0))
            train = partial(train_run, settings, data=data, out=out, state=state, threads=1)
            predict = partial(predict_run, out, splits, out, requests=requests, threads=1)
            for stage, parts, work in (("train", PARTS, train), ("predict", PREDICTED, predict)):
                seconds, found = shares(parts, work)
                text = ", ".join(f"{part} {share:.0f}" for part, share in found.items() if share >= 0.5)
                print(f"| {run} | {stage} | {seconds:.1f} | {text} |", flush=True)


if __name__ == "__main__":
    main()
