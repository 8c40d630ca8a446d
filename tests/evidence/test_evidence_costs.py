"""CPU-seconds of a replicate: logs before run records before the median of what is known."""

from types import SimpleNamespace

import fabricate
import pytest

from reprood.core.files import write_json
from reprood.evidence.costs import UNKNOWN, cpu_seconds

ARMS = [("toy", "erm"), ("toy", "good"), ("toy", "same")]


def layout():
    suite = fabricate.suite()
    return SimpleNamespace(
        suite=suite, jobs=tuple(suite.jobs()), run_file=lambda b, m, s, name: f"runs/{b}/{m}/{s}/{name}"
    )


def log(path, cpu: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"epoch 1\ntook 9.00 s, {cpu:.2f} CPU-s\n")


def test_costs(tmp_path):
    assert cpu_seconds(layout(), tmp_path, ARMS) == dict.fromkeys(ARMS, UNKNOWN)
    for seed, cpu in enumerate((10.0, 14.0)):
        log(tmp_path / "logs" / "train" / "toy" / "erm" / f"{seed}.log", cpu)
        log(tmp_path / "logs" / "predict" / "toy" / "erm" / f"{seed}.log", 2.0)
    record = {"threads": 2, "phases": [{"seconds": 10.0}, {"seconds": 5.0}]}
    for method in ("erm", "good"):
        write_json(tmp_path / "runs" / "toy" / method / "0" / "run.json", record)
    found = cpu_seconds(layout(), tmp_path, ARMS)
    assert found == pytest.approx({ARMS[0]: 14.0, ARMS[1]: 30.0, ARMS[2]: 22.0})


def test_other_folders_count_for_the_arm_of_their_plain_name(tmp_path):
    log(tmp_path / "logs" / "train" / "toy~0123abcd" / "erm" / "0.log", 7.0)
    assert cpu_seconds(layout(), tmp_path, ARMS)[ARMS[0]] == 7.0
