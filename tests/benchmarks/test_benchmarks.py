"""The benchmarks run at their smallest sizes, so that a changed function does not leave them behind."""

import importlib
import math
from pathlib import Path

import pytest

from reprood.config.suite import Suite

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a script of the folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def check_rows(rows, ways: int) -> None:
    assert len(rows) == ways
    assert all(row.images_per_cpu_second > 0 and row.ratio > 0 for row in rows)
    assert rows[0].ratio == 1


def test_pasted_input(benchmark):
    pasted = benchmark("pasted_input")
    check_rows(pasted.cutmix(128, 32, 1), 2)
    check_rows(pasted.cutpaste(32, 64, ((2, 5), (8, 20)), 1), 2)


def test_detection(benchmark):
    detection = benchmark("detection")
    check_rows(detection.passes(50, 1, 1), 2)
    check_rows(detection.neighbours(300, 120, 16, 1), 2)  # compares the answers, too
    check_rows(detection.distances(60, 8, 1), 3)


def test_metrics(benchmark):
    metrics = benchmark("metrics")
    check_rows(metrics.kernel(2000, True, 1, {}), 4)  # compares the answers, too
    check_rows(metrics.bootstrap(200, 40, 5, 1), 4)


def test_score(benchmark):
    score = benchmark("score")
    score.check(score.Task(100, 1))  # compares the answers


def test_growth(benchmark, tmp_path):
    growth = benchmark("growth")
    assert math.isclose(growth.slope([1, 2, 4, 8], [5.0, 5.0, 6.0, 24.0]), 2.0)
    curves = []
    for axis in ("ood_sets", "methods"):
        sizes, tasks = growth.AXES[axis]
        name, task = next(iter(tasks.items()))
        spent = [growth.seconds(task(size), 1) for size in sizes[:4]]
        curves.append(growth.Curve(axis, name, sizes[:4], spent, growth.slope(sizes[:4], spent)))
        growth.draw(axis, curves[-1:], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"growth_{axis}.svg" for axis in ("ood_sets", "methods")
    )


def test_precision(benchmark):
    precision = benchmark("precision")
    train, test, outliers = precision.digits()
    problem = precision.problem_of(train, test)
    training = precision.Training(epochs=1, batch_size=64, lr=0.05, augment="none")
    model, losses = precision.trained(problem, training, 0, precision.EAGER)
    assert precision.outcome(model, losses, test, outliers, problem).loss == losses[-1]
    assert precision.recorded(train, test)["bf16"]["precision"] == "bf16"
    rows = list(precision.audit(problem, model, 1))
    assert [row.step for row in rows if not row.within] == []
    assert rows[0].pixels == 1.0
    assert all(row.loss > 0 for row in rows[1:]), "bf16 was not used"


def test_workflow(benchmark):
    workflow = benchmark("workflow")
    for jobs, shape in workflow.SHAPES.items():
        runs = len(tuple(Suite.model_validate(workflow.synthetic(shape)).jobs()))
        assert 0.7 * jobs < 3 * runs < 1.1 * jobs
    costs = list(workflow.fingerprints(1))
    assert len({cost.what for cost in costs}) == 3
    assert all(cost.lowest <= cost.cpu <= cost.highest for cost in costs)


def test_roof(benchmark):
    roof = benchmark("roof")
    network = "WRN-10-1, stem stride 2"
    step, images = roof.step_of(network, "fp32", batch=4)
    # multiplications and additions of the forward pass: the stem, three blocks, two shortcuts and the head
    shapes = [(1, 16, 9, 14), *[(16, 16, 9, 14)] * 2, (16, 32, 9, 7), (32, 32, 9, 7), (16, 32, 1, 7)]
    shapes += [(32, 64, 9, 4), (64, 64, 9, 4), (32, 64, 1, 4)]
    forward = sum(inputs * outputs * kernel * side**2 for inputs, outputs, kernel, side in shapes) + 64 * 10
    stem = 16 * 9 * 14**2  # the images need no gradient
    assert images == 4
    assert roof.operations(step) == 4 * 2 * (3 * forward - stem)
    row = roof.share(network, "fp32", 100.0, 1, batch=4)
    assert row.roof_percent == pytest.approx(row.gflops)
    assert row.gflops > 0
    assert roof.roof("fp32", 1, (64,)) > 0


def test_detectors(benchmark):
    detectors = benchmark("detectors")
    assert {"msp", "gen", "openmax"} <= set(detectors.names())
    found = detectors.measure("openmax", 50, 4)
    assert set(found) == {"fit", "score", "added"}


def test_streaming(benchmark, tmp_path):
    streaming = benchmark("streaming")
    size = streaming.write_set(tmp_path, 20)
    reference, ours = streaming.speed(tmp_path, 0, 1)
    assert (reference.ratio, reference.cpu_ratio) == (1, 1)
    assert ours.per_second > 0
    assert ours.per_cpu_second > 0
    found = streaming.memory(tmp_path, size, 1)
    assert found.images == 20
    assert found.before > 0
