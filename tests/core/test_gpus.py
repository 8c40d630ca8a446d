"""One GPU per job."""

import os
import threading

import pytest

from reprood.core.gpus import lock_folder, one_gpu, usable_gpus, visible_gpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with the GPUs 3 and 5, outside of Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    return tmp_path


def test_without_gpus_nothing_is_locked(machine, monkeypatch):
    with one_gpu("cpu") as gpu:
        assert gpu is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with one_gpu("auto") as gpu:
        assert gpu is None
    assert not list(machine.iterdir())


def test_concurrent_jobs_get_different_gpus(machine, monkeypatch):
    monkeypatch.setattr("reprood.core.gpus.usable_gpus", lambda device: ["3", "5"])  # threads share one environment
    both = threading.Barrier(3)
    release = threading.Event()
    taken, failures = [], []

    def job(first: bool) -> None:
        try:
            with one_gpu("auto", poll=0.01) as gpu:
                taken.append(gpu)
                if first:
                    both.wait(timeout=20)
                    release.wait(timeout=20)
        except Exception as error:
            failures.append(error)

    holders = [threading.Thread(target=job, args=(True,)) for _ in range(2)]
    for thread in holders:
        thread.start()
    both.wait(timeout=20)
    assert sorted(taken) == ["3", "5"]
    waiting = threading.Thread(target=job, args=(False,))
    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()  # both are busy
    assert len(taken) == 2
    release.set()
    for thread in (*holders, waiting):
        thread.join(timeout=20)
    assert not failures
    assert len(taken) == 3


def test_visible_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 2")
    assert visible_gpus() == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_the_locked_gpu_is_the_only_visible_one(machine):
    with one_gpu("cuda") as gpu:
        assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_other_machines_and_other_slurm_jobs_have_other_locks(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folders = set()
    for machine in ("node1", "node2"):
        monkeypatch.setattr("platform.node", lambda machine=machine: machine)
        folders.add(lock_folder())
    for job in ("12", "13"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        folders.add(lock_folder())
    assert len(folders) == 4


def test_a_slurm_job_uses_only_the_gpu_allocated_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "reprood.core.gpus.visible_gpus", lambda: os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert usable_gpus("auto") == ["0", "1"]
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert usable_gpus("auto") == usable_gpus("cpu") == []
    assert usable_gpus("cuda") == ["0", "1"]
    with one_gpu("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with one_gpu("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert [path.name for path in (tmp_path / "state/gpu/slurm-12").iterdir()] == ["1.lock"]
