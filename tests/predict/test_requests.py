"""What the plan requests of predictions: raw outputs, never detectors; and what an evaluation depends on."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprood.core.errors import ReproodError
from reprood.pipeline.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SMOKE = yaml.safe_load((ROOT / "config" / "suites" / "smoke.yaml").read_text())


def plan(folder: Path, change: Callable[[dict[str, Any]], object] = lambda benchmarks: None) -> Plan:
    suite = copy.deepcopy(SMOKE)
    change(suite["benchmarks"])
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return Plan({"suite": str(path)}, ROOT)


def requests(made: Plan, benchmark: str, method: str) -> dict[str, Any]:
    return json.loads(made.predict_parameters(benchmark, method))


def test_requests_follow_from_the_detectors_inputs(tmp_path: Path) -> None:
    made = plan(tmp_path)
    letters = requests(made, "smoke_letters", "erm")
    assert set(letters) == {"splits", "features", "passes", "evaluations", "attacks", "occlusion"}
    assert letters["features"] is True
    assert letters["splits"] == ["train", "validation", "test", "other_letters", "uniform"]
    assert [made["kind"] for made in letters["passes"].values()] == ["odin"]
    robust = requests(made, "smoke_robust", "erm")
    assert (robust["features"], robust["passes"], robust["evaluations"]) == (False, {}, [])
    assert "train" not in robust["splits"]
    assert "baseline" not in robust["corruption"]
    assert "localisation" not in robust
    objects = requests(made, "smoke_objects", "erm")
    assert (objects["evaluations"], objects["localisation"]) == (["localisation"], {"threshold": 0.15})


def test_a_threshold_of_the_maps_changes_predictions_and_no_training(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(tmp_path, lambda benchmarks: benchmarks["smoke_objects"].update(localisation={"threshold": 0.3}))
    assert json.loads(after.predict_parameters("smoke_objects", "erm"))["localisation"] == {"threshold": 0.3}
    assert before.suite.folders.trained("smoke_objects") == after.suite.folders.trained("smoke_objects")
    assert before.predict_parameters("smoke_robust", "erm") == after.predict_parameters("smoke_robust", "erm")


def test_a_detector_on_logits_changes_no_prediction(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(tmp_path, lambda benchmarks: benchmarks["smoke_robust"]["detectors"].update(maxlogit={}))
    for benchmark, method in before.pairs:
        assert before.predict_parameters(benchmark, method) == after.predict_parameters(benchmark, method)
    changed = {
        name
        for name in before.benchmarks
        if (before.evaluate_parameters(name), before.evaluate_code(name))
        != (after.evaluate_parameters(name), after.evaluate_code(name))
    }
    assert changed == {"smoke_robust"}
    assert set(json.loads(after.evaluate_code("smoke_robust"))["detectors"]) == {"msp", "energy", "maxlogit"}


def test_features_are_requested_by_a_detector_or_by_hand(tmp_path: Path) -> None:
    by_hand = plan(tmp_path, lambda benchmarks: benchmarks["smoke_robust"].update(features=True))
    assert requests(by_hand, "smoke_robust", "erm")["features"] is True
    assert "train" in requests(by_hand, "smoke_robust", "erm")["splits"], "any detector can be added"
    assert f"{by_hand.run_folder('smoke_robust', 'erm', 0)}/features.safetensors" in by_hand.evaluated_files(
        "smoke_robust"
    )
    react = plan(tmp_path, lambda benchmarks: benchmarks["smoke_robust"]["detectors"].update(react={}))
    assert requests(react, "smoke_robust", "erm")["features"] is True
    assert "train" not in requests(react, "smoke_robust", "erm")["splits"]
    knn = plan(tmp_path, lambda benchmarks: benchmarks["smoke_robust"]["detectors"].update(knn={}))
    assert "train" in requests(knn, "smoke_robust", "erm")["splits"]
    assert plan(tmp_path).evaluated_files("smoke_objects") == ["runs/smoke_objects/erm/0/predictions.parquet"]


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ({"mps": {}}, "benchmark smoke_robust: There is no detector 'mps'; did you mean 'msp'?"),
        ({"../knn": {}}, "no detector '../knn'"),
        ({"knn": {"k": -1}}, "detectors.knn.k"),
    ],
)
def test_unknown_detectors_are_rejected_with_the_benchmark(
    tmp_path: Path, detectors: dict[str, Any], words: str
) -> None:
    with pytest.raises(ReproodError) as caught:
        plan(tmp_path, lambda benchmarks: benchmarks["smoke_robust"].update(detectors=detectors))
    assert words in str(caught.value)
