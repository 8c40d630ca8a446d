"""Visits: one that is ended stops trainings at a checkpoint, the next one resumes; a failed job stops no other."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny_problem import save_benchmark, settings

from reprood.core.files import read_json, sha256_file
from reprood.offload.bundle import MANIFEST
from reprood.offload.jobs import Job
from reprood.offload.pack import RUN
from reprood.pipeline.fingerprint import PACKAGE
from reprood.pipeline.outputs import PREDICTED_FILES
from reprood.train.run import train_run

CODE = "0123456789abcdef"
DATA = "data/benchmarks/bench"


def job(kind: str, method: str, text: str) -> Job:
    folder = f"runs/bench/{method}/0"
    outputs = PREDICTED_FILES if kind == "predict" else ("model.safetensors", "run.json")
    outputs = tuple(f"{folder}/{name}" for name in outputs)
    specific = ("--code", CODE, "--out", folder) if kind == "train" else ("--run", folder, "--out", folder)
    command = (kind, "--settings", text, "--data", DATA, "--threads", "1", *specific)
    log = f"logs/{kind}/bench/{method}/0.log"
    return Job(kind, "bench", method, 0, command, text, CODE, {}, (), folder, outputs, log)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A short, a failing and a long training, and the prediction of the short one."""
    folder = tmp_path / "bundle"
    save_benchmark(folder / DATA)
    jobs = [
        job("train", method, json.dumps({**settings("erm", **changes), "method": method}))
        for method, changes in (
            ("short", {"epochs": 1}),
            ("broken", {"lr": 1e12, "weight_decay": 1.0}),
            ("long", {"epochs": 60}),
        )
    ]
    predict = json.dumps({"splits": ["validation", "test"], "evaluations": []})
    jobs.insert(1, job("predict", "short", predict))
    facts = {"suite": "tiny", "models": [], "files": {}}
    (folder / MANIFEST).write_text(json.dumps({**facts, "jobs": [asdict(one) for one in jobs]}))
    (folder / "run.py").write_text(RUN)
    (folder / "src").symlink_to(PACKAGE.parent)
    return folder


def visit(bundle: Path, *options: str, until: str = "", status: int = 0) -> str:
    """Run a visit; end it with SIGTERM as soon as the file `until` is in the output folder."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "run.py", "--out", "out", "--device", "cpu", "--checkpoint-seconds", "1000", *options]
    with subprocess.Popen(command, cwd=bundle, env=environment, stderr=subprocess.PIPE, text=True) as process:
        if until:
            while not (bundle / "out" / until).exists() and process.poll() is None:
                time.sleep(0.02)
            process.terminate()
        text = process.communicate(timeout=300)[1]
    assert process.returncode == status, text
    return text


def result(bundle: Path, kind: str, method: str) -> dict:
    return read_json(bundle / "out" / "records" / f"{kind}.bench.{method}.0.json")["result"]


@pytest.mark.slow
def test_a_visit_is_ended_and_the_next_one_resumes(bundle, tmp_path):
    text = visit(bundle, until="logs/heartbeat/bench.long.0.json", status=1)
    assert "failed: train broken" not in text
    assert result(bundle, "train", "short")["status"] == "done"
    assert result(bundle, "predict", "short")["model"] == result(bundle, "train", "short")["model"]
    assert "diverged" in result(bundle, "train", "broken")["reason"]
    assert "failed: train bench/broken/0" in text
    assert result(bundle, "train", "long")["status"] == "stopped"
    assert list((bundle / "out" / "state" / "train" / "bench" / "long").rglob("*.checkpoint"))
    assert not (bundle / "out" / "runs" / "bench" / "long" / "0" / "run.json").exists()

    visit(bundle, status=1)
    done = result(bundle, "train", "long")
    assert (done["status"], len(done["visits"])) == ("done", 2)
    assert len(result(bundle, "train", "broken")["visits"]) == 1  # failed jobs are run again with --retry only
    run = bundle / "out" / "runs" / "bench" / "long" / "0"
    assert read_json(run / "run.json")["phases"][0]["resumed"] == 1
    assert done["files"]["runs/bench/long/0/model.safetensors"] == sha256_file(run / "model.safetensors")
    # the same bits as without a stop
    train_run(
        {**settings("erm", epochs=60), "method": "long"},
        data=bundle / DATA,
        out=tmp_path / "undisturbed",
        state=tmp_path / "state",
        device="cpu",
        threads=1,
    )
    assert sha256_file(tmp_path / "undisturbed" / "model.safetensors") == sha256_file(run / "model.safetensors")


def test_a_visit_without_time_starts_nothing(bundle):
    visit(bundle, "--budget", "20")
    assert not (bundle / "out" / "records").exists()


def test_mistakes_are_one_sentence(bundle):
    assert (
        visit(bundle, "--only", "nothing", status=1)
        == "error: No job of this bundle matches nothing; --list shows all.\n"
    )
    manifest = read_json(bundle / MANIFEST)
    (bundle / MANIFEST).write_text(json.dumps({**manifest, "files": {"run.py": "0" * 64}}))
    assert "run.py is not the file that was packed" in visit(bundle, status=1)
