"""Data-parallel training: two processes agree with one, one of them writes, and what is rejected."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_problem import Net, save_benchmark, settings
from torch import nn
from train_in_parallel import CPU, IMAGES, TRAINING, Plain, train

from reprood.core.errors import ReproodError
from reprood.engine.distributed import Workers, join_workers, synchronise_statistics
from reprood.nets.classifier import Classifier
from reprood.train.run import train_run

SUPPORT = Path(__file__).parents[1] / "support"


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as started:  # fmt: skip
        try:
            out, errors = started.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)  # torchrun and its workers
            raise
    return subprocess.CompletedProcess(started.args, started.returncode, out, errors)


def in_parallel(mode: str, folder: Path) -> Path:
    done = torchrun(str(SUPPORT / "train_in_parallel.py"), mode, str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote (see train_in_parallel.py)."""
    return in_parallel("fit", tmp_path_factory.mktemp("parallel"))


def load(path: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, object]]]:
    weights, rows = torch.load(path, weights_only=True)
    return weights, rows


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path, trained) -> None:
    """Without batch statistics they differ in the order of sums only: 1e-5 in weights of size 1 after 12 steps."""
    model, rows = train(tmp_path, Workers())
    (first, first_rows), (second, second_rows) = (load(trained / f"whole{rank}") for rank in range(2))
    assert first_rows == second_rows
    for key, value in model.state_dict().items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(first_rows, rows, strict=True):
        assert ours == {**theirs, "train_loss": pytest.approx(theirs["train_loss"], rel=1e-5)}


@pytest.mark.slow
def test_all_processes_stop_together_and_resume_to_the_same_bits(trained) -> None:
    assert all((trained / f"stopped{rank}").exists() for rank in range(2))
    for rank in range(2):
        (expected, expected_rows), (resumed, rows) = load(trained / f"whole{rank}"), load(trained / f"parts{rank}")
        assert rows == expected_rows
        assert all(torch.equal(value, resumed[key]) for key, value in expected.items())


@pytest.mark.slow
def test_one_process_writes_the_run(tmp_path) -> None:
    save_benchmark(tmp_path / "data")
    in_parallel("run", tmp_path)
    names = {"history.csv", "model.json", "model.safetensors", "run.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert json.loads((tmp_path / "out" / "run.json").read_text())["processes"] == 2
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_shares_cover_a_batch(size, count) -> None:
    workers = [Workers(rank, size) for rank in range(size)]
    covered = [row for w in workers if w.weight(count) > 0 for row in range(count)[w.rows(count)]]
    assert covered == list(range(count))
    assert sum(w.weight(count) for w in workers) == pytest.approx(1.0)
    for w in workers:
        rows = len(range(count)[w.rows(count)])
        assert rows >= 1
        assert w.weight(count) in (0.0, rows / count)


def test_batch_normalisation_is_synchronised() -> None:
    model = synchronise_statistics(Classifier(Net(), 3), torch.device("cuda"))
    assert isinstance(model.backbone.norm, nn.SyncBatchNorm)
    assert set(model.state_dict()) == set(Classifier(Net(), 3).state_dict())


def test_batch_normalisation_on_a_cpu_is_rejected() -> None:
    with pytest.raises(ReproodError, match="needs CUDA devices"):
        synchronise_statistics(Classifier(Net(), 3), CPU)
    plain = Plain()
    assert synchronise_statistics(plain, CPU) is plain


def test_it_needs_torchrun() -> None:
    with pytest.raises(ReproodError, match="needs processes started by torchrun"), join_workers(CPU):
        pass


def test_variables_of_torchrun_alone_change_nothing(tmp_path, monkeypatch) -> None:
    """Some clusters set them for other purposes."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    save_benchmark(tmp_path / "data")
    train_run(settings("erm"), data=tmp_path / "data", out=tmp_path / "out", state=tmp_path / "state", device="cpu")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["processes"] == 1


def test_a_method_whose_loss_is_no_mean_over_samples_is_rejected(tmp_path) -> None:
    with pytest.raises(ReproodError, match=r"csi cannot be trained by several processes.*mean over samples"):
        train_run(
            {**settings("csi"), "settings": {}}, data=tmp_path, out=tmp_path / "out", state=tmp_path / "state",
            device="cpu", data_parallel=True,
        )  # fmt: skip


@pytest.mark.slow
def test_the_command_line(tmp_path) -> None:
    """`reprood train --data-parallel` under torchrun gets as far as the network's batch normalisation."""
    save_benchmark(tmp_path / "data")
    done = torchrun(
        "-m", "reprood", "train", "--data-parallel", "--device", "cpu", "--settings", json.dumps(settings("erm")),
        "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: Data-parallel training of a network with batch normalisation needs CUDA devices" in done.stderr


def test_one_process_has_no_image_of_the_last_batch() -> None:
    """The comparison of two processes with one covers this case."""
    assert Workers(0, 2).weight(IMAGES % TRAINING.batch_size) == 0.0
