"""Work off four jobs of a small benchmark: python work_off.py FOLDER SECONDS (0: until all is done)."""

import json
import sys
import tempfile
import time
from pathlib import Path

from tiny_problem import settings

from reprood.core.files import read_json
from reprood.offload.jobs import Job
from reprood.offload.runner import Runner, make_slots

CODE = "0123456789abcdef"


def jobs(data: Path) -> list[Job]:
    """A short, a failing and a long training, and the prediction of the short one."""
    folder = data / "benchmarks" / "bench"
    content = {split: read_json(folder / split / "meta.json")["content"] for split in ("train", "validation", "test")}
    made = []
    for method, cost, changes in (
        ("short", 1.0, {"epochs": 1}),
        ("broken", 2.0, {"lr": 1e12, "weight_decay": 1.0}),
        ("long", 3.0, {"epochs": 60}),
    ):
        text = json.dumps({**settings("erm", **changes), "method": method})
        arguments = ("train", "--settings", text, "--data", "data/benchmarks/bench", "--code", CODE, "--threads", "1")
        arguments += ("--out", f"runs/bench/{method}/0")
        made.append(Job("train", "bench", method, 0, arguments, text, CODE, content, cost))
    text = json.dumps({"splits": ["validation", "test"], "detectors": {"energy": {}}, "evaluations": []})
    arguments = ("predict", "--settings", text, "--data", "data/benchmarks/bench", "--run", "runs/bench/short/0")
    arguments += ("--threads", "1", "--out", "runs/bench/short/0/predictions.parquet")
    return [*made, Job("predict", "bench", "short", 0, arguments, text, CODE, content, 1.0)]


def main(folder: Path, seconds: float) -> None:
    import reprood.predict.run
    import reprood.train.run  # noqa: F401 - forks have them

    out = folder / "out"
    visit = len(list((out / "visits").glob("*"))) + 1
    (out / "visits").mkdir(parents=True, exist_ok=True)
    (out / "visits" / f"{visit:03d}.json").write_text("{}")
    with tempfile.TemporaryDirectory() as scratch:
        slots = make_slots(out, folder / "data", Path(scratch), 2, [])
        variables = {"REPROOD_DEVICE": "cpu", "REPROOD_CHECKPOINT_SECONDS": "1000"}
        runner = Runner(jobs(folder / "data"), out, visit, variables, retry=False)
        runner.least = {"train": 0.5, "predict": 1e6}  # a prediction waits for a visit without a budget
        runner.work(slots, "shortest", time.monotonic() + (seconds or float("inf")), grace=10, every=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
