"""A method whose outputs are given has one job of its own in the plan, and no training."""

import json
import re
from pathlib import Path

import pytest
import yaml

from reprood.cli.check import check_suite
from reprood.core.errors import ReproodError
from reprood.offload.pack import pending_jobs
from reprood.pipeline.plan import Plan
from reprood.pipeline.why import explain_edit

ROOT = Path(__file__).resolve().parents[2]


def suite(tmp_path: Path, **external) -> Path:
    """Write a suite in which `cutmix` of two methods is external."""
    smoke = yaml.safe_load((ROOT / "config" / "suites" / "smoke.yaml").read_text())
    record = {key: smoke[key] for key in ("scale", "seeds", "precision", "settings")}
    record["benchmarks"] = {"smoke_letters": smoke["benchmarks"]["smoke_letters"]}
    given = {"use": "external", "label": "Mine", "set": {"folder": str(tmp_path / "{method}" / "{seed}"), **external}}
    record["methods"] = {"erm": smoke["methods"]["erm"], "cutmix": given}
    record["runs"] = [{"benchmark": "smoke_letters", "methods": ["erm", "cutmix"]}]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"title": "Mine", **record}))
    return path


def test_given_outputs_take_the_place_of_training_and_prediction(tmp_path):
    plan = Plan({"suite": str(suite(tmp_path))}, ROOT)
    run = ("smoke_letters", "cutmix", 0)
    assert plan.external_jobs() == [run, ("smoke_letters", "cutmix", 1)]
    settings = json.loads(plan.external_parameters(*run))
    assert settings["splits"] == ["train", "validation", "test", "other_letters", "uniform"]
    assert settings["features"] is True  # knn reads them
    assert settings["passes"] == ["odin_t1000_e0.0014"]
    (tmp_path / "cutmix" / "0").mkdir(parents=True)
    (tmp_path / "cutmix" / "0" / "test.csv").touch()
    assert plan.external_inputs(*run)[-1] == str(tmp_path / "cutmix" / "0" / "test.csv")
    folder = plan.run_folder(*run)
    assert folder.startswith("runs/smoke_letters/cutmix~")  # not the folder of the committed CutMix
    assert f"{folder}/run.json" in plan.external_outputs(*run)
    trained = re.compile(rf"runs/smoke_letters/(?P<method>{plan.trained_methods})/0/model.json")
    assert trained.fullmatch(plan.run_file("smoke_letters", "erm", 0, "model.json"))
    assert not trained.fullmatch(f"{folder}/model.json")
    assert trained.fullmatch("runs/smoke_letters/cutmix_one_hot/0/model.json")
    assert list(json.loads(plan.example_records("smoke_letters"))) == ["erm"]
    edit = "\n".join(explain_edit(Path("src/reprood/predict/external.py"), plan))
    assert "smoke_letters/cutmix" in edit
    assert "all jobs" not in edit


def test_given_weights_take_the_place_of_training_only(tmp_path):
    settings = {"folder": "", "weights": str(tmp_path / "{seed}.pt"), "network": "reprood:wrn,depth=10", "mean": 0.5,
                "std": 0.2}  # fmt: skip
    path = suite(tmp_path, **settings)
    plan = Plan({"suite": str(path)}, ROOT)
    run = ("smoke_letters", "cutmix", 1)
    external = json.loads(plan.external_parameters(*run))["external"]
    assert external == {
        "weights": str(tmp_path / "1.pt"), "network": "reprood:wrn,depth=10", "mean": [0.5], "std": [0.2],
        "input_size": 0, "layer": "",
    }  # fmt: skip
    folder = plan.run_folder(*run)
    names = ("model.safetensors", "model.json", "history.csv", "run.json")
    assert plan.external_outputs(*run) == [f"{folder}/{name}" for name in names]
    place = folder.removeprefix("runs/smoke_letters/").removesuffix("1")
    assert re.match(plan.predicted_methods + "/", place)
    assert not re.match(plan.trained_methods + "/", place)
    assert plan.external_entries("cutmix") == ("reprood.train.given", "reprood.nets.wrn")
    assert plan.entries_of(*run[:2], "x") == ("x", "reprood.methods.external", "reprood.nets.wrn")
    assert "smoke_letters/cutmix: weights are given, nothing is trained" in check_suite({"suite": str(path)}, ROOT)


def test_a_check_says_that_nothing_is_trained(tmp_path):
    lines = check_suite({"suite": str(suite(tmp_path))}, ROOT)
    assert "smoke_letters/cutmix: outputs are given, nothing is trained" in lines


def test_given_outputs_are_not_packed_for_another_machine(tmp_path):
    config = {"suite": str(suite(tmp_path))}
    with pytest.raises(ReproodError, match="No run of suite"):
        pending_jobs(Plan(config, ROOT), ROOT, [], ["smoke_letters/cutmix"])


def test_a_wrong_setting_is_one_sentence(tmp_path):
    with pytest.raises(ReproodError, match="method cutmix: epochs: this key is not known; choose from folder"):
        Plan({"suite": str(suite(tmp_path, epochs=3))}, ROOT)
