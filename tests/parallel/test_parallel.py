"""A training in two processes is the training in one, but for the order of sums."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.parallel import launch
from reprood.parallel.collectives import shares
from reprood.train.run import train_run
from tiny_problem import save_benchmark, settings

TESTS = Path(__file__).resolve().parent.parent


def flat(folder: Path) -> np.ndarray:
    stored = load_file(folder / "model.safetensors")
    return np.concatenate([stored[key].ravel() for key in sorted(stored)]).astype(float)


def test_two_processes_give_the_result_of_one(tmp_path) -> None:
    save_benchmark(tmp_path / "data", count=90)  # the last batch of an epoch has 10 images
    record = settings("cutmix", lr=0.002)
    record["backbone"]["dropout"] = 0.2
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(TESTS / "parallel" / "together.py"), str(tmp_path), json.dumps(record)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    errors = read_json(tmp_path / "errors.json")
    assert max(errors.values()) < 1e-12, errors

    train_run(record, data=tmp_path / "data", out=tmp_path / "alone", state=tmp_path / "s", device="cpu", threads=1)
    alone, together = flat(tmp_path / "alone"), flat(tmp_path / "together")
    assert np.linalg.norm(together - alone) / np.linalg.norm(alone) < 1e-4
    told = read_json(tmp_path / "together" / "run.json")
    assert told["parallel"] == {"processes": 2, "backend": "gloo", "same_bits": True}
    assert "parallel" not in read_json(tmp_path / "alone" / "run.json")
    assert done.stderr.count("epoch 2/2") == 1  # one process reports
    assert not list(tmp_path.glob("state*"))


def test_shares_are_even_and_whole() -> None:
    assert shares(13, 2) == [7, 6]
    assert shares(3, 4) == [1, 1, 1, 0]
    assert sum(shares(500, 7)) == 500


def test_what_is_not_trained_in_several_processes(monkeypatch) -> None:
    with pytest.raises(ReproodError, match="method hood is not trained in several processes"):
        launch.refuse({"use": "hood"}, "cpu", 0)
    with pytest.raises(ReproodError, match="compiled network"):
        launch.refuse({"use": "erm", "compile": True}, "cpu", 0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ReproodError, match="2 processes and 1 GPUs"):
        launch.refuse({"use": "erm"}, "auto", 1)
    launch.refuse({"use": "erm"}, "cpu", 1)
    monkeypatch.setenv(launch.VARIABLE, "two")
    with pytest.raises(ReproodError, match="expected a number of processes"):
        launch.wanted()
