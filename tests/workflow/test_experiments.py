"""Experiments share what is equal with the reproduction and overwrite nothing."""

import re
from pathlib import Path

import pytest
import yaml
from smoke_plan import METHODS, SEEDS, evaluated

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1500)]


def experiment(built, path: Path, change) -> dict[str, int]:
    """Return the plan of a suite that is the finished one with a change, and not a committed one."""
    suite = yaml.safe_load((built.folder / "config" / "suites" / "smoke.yaml").read_text())
    change(suite)
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return built.plan(suite=str(path))


def test_an_experiment_that_changes_nothing_only_evaluates_and_reports(built, tmp_path):
    plan = experiment(built, tmp_path / "own.yaml", lambda suite: None)
    assert {"audit", "collect_metrics", "pages"} <= set(plan)
    assert not {"dataset", "split", "lint_benchmark", "corrupted", "train", "predict"} & set(plan)


def test_an_experiment_with_another_ood_set_uses_the_models_of_the_reproduction(built, tmp_path):
    def change(suite):
        outliers = {"dataset": "gaussian_noise", "split": "test", "limit": 50, "shift": "noise"}
        suite["benchmarks"]["smoke_letters"]["ood"]["gaussian"] = outliers

    plan = experiment(built, tmp_path / "own.yaml", change)
    assert "train" not in plan
    assert plan["predict"] == len(METHODS) * len(SEEDS)


def test_an_experiment_with_another_detector_predicts_nothing(built, tmp_path):
    def change(suite):
        suite["benchmarks"]["smoke_letters"]["detectors"]["oe_cross_entropy"] = {}

    plan = experiment(built, tmp_path / "own.yaml", change)
    assert not {"dataset", "split", "lint_benchmark", "train", "predict"} & set(plan)
    assert "smoke_letters" in evaluated(plan)


def test_an_experiment_with_another_setting_trains_and_overwrites_nothing(built, tmp_path):
    path = tmp_path / "own.yaml"
    plan = experiment(built, path, lambda suite: suite["methods"]["cutmix"].update(set={"alpha": 0.5}))
    assert plan["train"] == plan["predict"] == len(SEEDS)
    done = built.run("snakemake", "-n", "--config", f"suite={path}")
    written = re.findall(r"^    output: (.*)$", done.stdout + done.stderr, flags=re.MULTILINE)
    names = [name for line in written for name in line.split(", ")]
    assert names
    assert not [name for name in names if (built.folder / name).exists()]
    assert built.plan() == {}
