"""The short real training of every configuration of a suite."""

from pathlib import Path

import pytest
import yaml

from reprood.cli.trial import shortened, trial
from reprood.core.errors import ReproodError
from reprood.methods import registry
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


def test_a_second_call_goes_on_where_the_first_stopped_and_failures_do_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("config", "src"):
        (tmp_path / part).symlink_to(ROOT / part)
    chosen = {"suite": "smoke", "only": ["smoke_robust/hood", "smoke_robust/erm"]}
    first = list(trial(chosen, tmp_path, "cpu"))
    assert any("a batch of 32 needs about" in line for line in first)
    log = next((tmp_path / "logs" / "trial").iterdir())
    log.write_text(log.read_text()[:-9])  # interrupted while the last line was written
    again = list(trial(chosen, tmp_path, "cpu"))
    assert ["(from logs/" in line for line in again] == [True] * (len(first) - 2) + [False, False]
    assert all("(from logs/" in line for line in list(trial(chosen, tmp_path, "cpu"))[:-1])
    log.unlink()
    real = registry.method

    def broken(name: str) -> object:
        if name == "hood":
            raise RuntimeError("no such kernel")
        return real(name)

    monkeypatch.setattr(registry, "method", broken)
    lines = trial(chosen, tmp_path, "cpu")
    seen = [next(lines) for _ in first[:-1]]
    assert [("FAILED: RuntimeError: no such kernel" in line) for line in seen].count(True) == 1
    with pytest.raises(ReproodError, match="1 of 2 configurations failed: smoke_robust/hood"):
        next(lines)
