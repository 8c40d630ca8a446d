"""The short real training of every configuration of a suite."""

from pathlib import Path

import pytest
import yaml

from reprood.cli.trial import shortened, trial
from reprood.core.errors import ReproodError
from reprood.methods.resmooth.method import Config

ROOT = Path(__file__).resolve().parents[2]


def test_every_configuration_of_the_smoke_suite_trains() -> None:
    lines = list(trial({"suite": "smoke"}, ROOT, "cpu"))
    names = [line.split(":")[0] for line in lines]
    assert "smoke_robust/hood" in names
    assert "smoke_one_class_a/ss_one_class" in names
    assert "smoke_one_class_b/ss_one_class" not in names  # the same settings, network and shapes: tried once
    assert any("scores cnc" in line for line in lines)


def test_phases_are_shortened() -> None:
    config = shortened(Config(), 8)
    assert (config.training.epochs, config.training.batch_size, config.training.warmup_epochs) == (1, 8, 0)
    assert config.training.lr == Config().training.lr


def test_a_configuration_that_cannot_run_is_named(tmp_path: Path) -> None:
    suite = yaml.safe_load((ROOT / "config" / "suites" / "smoke.yaml").read_text())
    suite["benchmarks"]["smoke_robust"]["auxiliary"] = {}
    suite["benchmarks"]["smoke_robust"]["corruption"].pop("baseline")
    suite["runs"] = [{"benchmark": "smoke_robust", "methods": ["hood"]}]
    suite["studies"] = {}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    with pytest.raises(ReproodError, match="smoke_robust/hood"):
        list(trial({"suite": str(tmp_path / "own.yaml")}, ROOT, "cpu"))
