"""One device, one job."""

import io
import os
import threading
import time

from reprood.cli.watch import duration, heartbeats, table
from reprood.core.gpus import devices_for, leased, lock_folder, one_gpu, visible_gpus


def test_without_devices_nothing_is_leased(tmp_path):
    with leased([], tmp_path) as device:
        assert device is None
    assert not list(tmp_path.iterdir())


def test_concurrent_jobs_get_different_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    held, most, lock = [], [], threading.Lock()

    def job():
        with leased(["3", "5"], tmp_path, poll=0.01) as device:
            with lock:
                assert device not in held
                held.append(device)
                most.append(len(held))
            time.sleep(0.05)
            with lock:
                held.remove(device)

    threads = [threading.Thread(target=job) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(most) == 6
    assert max(most) == 2


def test_visible_devices_are_the_given_ones(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 2")
    assert visible_gpus() == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_lease_makes_the_device_the_only_visible_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with leased(["4", "7"], tmp_path):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"


def test_watch_shows_running_and_stalled_trainings(tmp_path):
    from rich.console import Console

    from reprood.core.files import write_json

    beat = {"run": "b/m/0", "phase": "train", "epoch": 3, "epochs": 9, "loss": 0.5, "seconds_left": 3700}
    write_json(tmp_path / "a.json", {**beat, "time": 1000.0, "images_per_second": 900.0})
    write_json(tmp_path / "b.json", {**beat, "run": "b/m/1", "time": 100.0, "loss": None})
    (tmp_path / "broken.json").write_text("{")
    beats = heartbeats(tmp_path)
    assert [b["run"] for b in beats] == ["b/m/0", "b/m/1"]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(beats, now=1001.0))
    text = console.export_text()
    assert "3/9" in text
    assert "1:01:40" in text
    assert text.count("stalled?") == 1
    assert duration(59.6) == "1:00"


def test_devices_of_other_machines_and_other_slurm_jobs_are_other_devices(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folders = set()
    for machine in ("node1", "node2"):
        monkeypatch.setattr("platform.node", lambda machine=machine: machine)
        folders.add(lock_folder())
    for job in ("12", "13"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        folders.add(lock_folder())
    assert len(folders) == 4


def test_a_slurm_job_takes_the_gpu_it_was_given_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "reprood.core.gpus.visible_gpus", lambda: os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert devices_for("auto") == ["0", "1"]
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert devices_for("auto") == devices_for("cpu") == []
    assert devices_for("cuda") == ["0", "1"]
    with one_gpu("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with one_gpu("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert [path.name for path in (tmp_path / "state/gpu/slurm-12").iterdir()] == ["1.lock"]
