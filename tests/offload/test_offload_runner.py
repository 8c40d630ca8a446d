"""Visits: a budget that cuts a training, a next visit that goes on, a job that fails without stopping the others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_problem import save_benchmark, settings

from reprood.core.files import read_json, sha256_file
from reprood.offload.child import STOPPED, Patience
from reprood.train.run import train_run

TESTS = Path(__file__).resolve().parent.parent


def visit(folder: Path, *until: str) -> str:
    """Work off the jobs; interrupt the visit as soon as all of the files `until` are there."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])}
    command = [sys.executable, str(TESTS / "offload" / "work_off.py"), str(folder), "1000" if until else "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        if until:
            end = time.monotonic() + 100
            while not all((folder / "out" / name).exists() for name in until) and time.monotonic() < end:
                time.sleep(0.02)
            process.terminate()
        told = process.communicate(timeout=100)[1]
    assert process.returncode == 0, told
    return told


def record(folder: Path, kind: str, method: str) -> dict:
    return read_json(folder / "out" / "records" / f"{kind}.bench.{method}.0.json")["done"]


def test_a_visit_is_cut_and_the_next_one_goes_on(tmp_path) -> None:
    save_benchmark(tmp_path / "data" / "benchmarks" / "bench")
    told = visit(
        tmp_path,
        "records/train.bench.short.0.json",
        "records/train.bench.broken.0.json",
        "logs/heartbeat/bench.long.0.json",
    )
    assert record(tmp_path, "train", "short")["status"] == "done"
    assert "diverged" in record(tmp_path, "train", "broken")["reason"]
    assert record(tmp_path, "train", "long")["status"] == "stopped"
    assert "FAILED" in told
    assert "stopped at a checkpoint" in told
    assert list((tmp_path / "out" / "state" / "train" / "bench" / "long").rglob("train.checkpoint"))
    assert not (tmp_path / "out" / "runs" / "bench" / "long" / "0" / "run.json").exists()

    visit(tmp_path)
    done = record(tmp_path, "train", "long")
    assert (done["status"], done["visits"]) == ("done", [1, 2])
    assert record(tmp_path, "predict", "short")["status"] == "done"
    assert record(tmp_path, "train", "broken")["visits"] == [1]  # tried once
    run = tmp_path / "out" / "runs" / "bench" / "long" / "0"
    assert read_json(run / "run.json")["phases"][0]["resumed"] == 1
    assert done["files"]["runs/bench/long/0/model.safetensors"] == sha256_file(run / "model.safetensors")
    # the same bits as without an interruption
    train_run(
        {**settings("erm", epochs=60), "method": "long"},
        data=tmp_path / "data" / "benchmarks" / "bench",
        out=tmp_path / "whole",
        state=tmp_path / "state",
        device="cpu",
        threads=1,
    )
    assert sha256_file(tmp_path / "whole" / "model.safetensors") == sha256_file(run / "model.safetensors")


def test_asked_to_stop_there_is_one_checkpoint_and_then_an_end(monkeypatch) -> None:
    monkeypatch.setattr(Patience, "asked", False)
    monkeypatch.setattr(Patience, "answered", False)
    patience = Patience(30.0)
    assert not patience <= 29.0
    assert patience <= 31.0
    monkeypatch.setattr(Patience, "asked", True)
    assert patience <= 0.5
    with pytest.raises(SystemExit) as end:
        assert patience <= 0.6
    assert end.value.code == STOPPED
