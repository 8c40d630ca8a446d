"""Transfer: both phases, the slower body, the linear probe, interrupted runs, clear errors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_problem import Net, image_set, problem, run
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.optimizers import build_optimizer
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import cutmix, erm, finetune
from reprood.methods.finetune import Config
from reprood.nets.classifier import Classifier

SHORT = Training(epochs=2, batch_size=16, lr=0.1, crop_padding=1)


def transfer(count: int = 48, classes: int = 4) -> Problem:
    return replace(problem(count), auxiliary={"source": image_set(64, classes=classes, seed=5)})


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    return {key: value.detach().numpy().tobytes() for key, value in model.state_dict().items()}


def test_first_phase_is_the_method_itself(tmp_path) -> None:
    """The pre-trained body is that of `erm` and `cutmix` on the source; labels of the source are used."""
    task = transfer()
    alone = replace(task, train=task.auxiliary["source"], classes=4, monitor={})
    for recipe in ("plain", "cutmix", "mixup", "cutout"):
        config = Config(training=SHORT, pretraining=SHORT, recipe=recipe, probability=0.7, alpha=0.4, cutout_size=4)
        ours, rows = finetune.pretrain(task, config, run(tmp_path / recipe))
        if recipe == "plain":
            theirs, _ = erm.train(alone, erm.Config(training=SHORT), run(tmp_path / f"{recipe} alone"))
        else:
            same = cutmix.Config(training=SHORT, mix=recipe, probability=0.7, alpha=0.4, cutout_size=4)
            theirs, _ = cutmix.train(alone, same, run(tmp_path / f"{recipe} alone"))
        assert bits(ours) == bits(theirs)
        assert ours.head.out_features == 4
        assert [row["phase"] for row in rows] == ["pretrain", "pretrain"]
        assert "source_error" in rows[-1]
        assert "test_error" not in rows[-1]


def test_slower_body_equals_a_smaller_rate() -> None:
    training = Training(lr=0.2, momentum=0.9, nesterov=True, weight_decay=0.05)
    outcome = []
    for ours in (True, False):
        with seeded(3):
            model = Classifier(Net(1), 3).double()
            data = torch.randn(4, 6, 1, 8, 8, dtype=torch.float64)
        if ours:
            optimizer = build_optimizer(model, training, finetune.slowed_groups(model, 0.1, training))
        else:
            groups = [{"params": model.backbone.parameters(), "lr": 0.02}, {"params": model.head.parameters()}]
            optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.9, nesterov=True, weight_decay=0.05)
        for images in data:
            optimizer.zero_grad()
            features = model.features(images)
            if ours:
                features = finetune.slowed(features, 0.1)
            functional.cross_entropy(model.head(features), torch.arange(6) % 3).backward()
            if ours:
                optimizer.step(0.2)
            else:
                optimizer.step()
        outcome.append(model)
    for first, second in zip(outcome[0].parameters(), outcome[1].parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_slowed_is_the_identity_forwards() -> None:
    features = torch.randn(5, 7)
    assert torch.equal(finetune.slowed(features, 0.3), features)


def test_linear_probe_leaves_the_body_alone(tmp_path) -> None:
    task = transfer()
    config = Config(training=SHORT, pretraining=SHORT, layers="head", recipe="cutmix")
    before, _ = finetune.pretrain(task, config, run(tmp_path / "before"))
    model, rows = finetune.train(task, config, run(tmp_path / "probe"))
    assert bits(model.backbone) == bits(before.backbone)
    assert [row["phase"] for row in rows] == ["pretrain"] * 2 + ["finetune"] * 2
    with seeded(run(tmp_path).seed("new head")):
        start = Classifier(Net(1), 3).head
    assert model.head.out_features == 3
    assert not torch.equal(model.head.weight, start.weight)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_whole_network_moves_and_small_rates_move_it_less(tmp_path) -> None:
    task, distance = transfer(), {}
    for rate in (1e-6, 0.1, 1.0):
        config = Config(training=SHORT, pretraining=SHORT, body_rate=rate)
        before, _ = finetune.pretrain(task, config, run(tmp_path / f"before {rate}"))
        model, _ = finetune.train(task, config, run(tmp_path / f"all {rate}"))
        distance[rate] = float((model.backbone.conv.weight - before.backbone.conv.weight).detach().norm())
    assert distance[1e-6] < 1e-4 < distance[0.1] < distance[1.0]


@pytest.mark.parametrize("recipe", ["plain", "cutmix", "mixup", "cutout"])
@pytest.mark.parametrize("layers", ["all", "head"])
def test_training_learns(tmp_path, recipe, layers) -> None:
    training = Training(epochs=8, batch_size=16, lr=0.1, crop_padding=1, monitor_every=8)
    config = Config(training=training, pretraining=training, recipe=recipe, layers=layers, cutout_size=4)
    _, rows = finetune.train(transfer(96), config, run(tmp_path))
    assert rows[-1]["phase"] == "finetune"
    assert rows[-1]["validation_error"] < 40


class Stopped(Exception):
    pass


@pytest.mark.parametrize("layers", ["all", "head"])
@pytest.mark.parametrize("stop_at", [3, 9, 10, 13])  # two epochs of 4 steps, then two of 3
def test_stopped_anywhere_ends_in_the_same_bits(tmp_path, monkeypatch, layers, stop_at) -> None:
    config = Config(training=SHORT, pretraining=SHORT, recipe="cutmix", layers=layers)
    whole, history = finetune.train(transfer(), config, run(tmp_path / "whole"))
    stop_after(monkeypatch, stop_at)
    job = run(tmp_path / "stopped", checkpoint_seconds=0)
    with pytest.raises(Stopped):
        finetune.train(transfer(), config, job)
    monkeypatch.undo()
    again, rows = finetune.train(transfer(), config, job)
    assert bits(again) == bits(whole)
    assert rows == history
    assert sum(entry["resumed"] for entry in job.log) > 0


def stop_after(monkeypatch: pytest.MonkeyPatch, checkpoints: int) -> None:
    """The run is killed after a number of checkpoints."""
    from reprood.engine import state as module

    original, left = module.save_checkpoint, [checkpoints]

    def save(path: Path, record: dict) -> None:
        original(path, record)
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(module, "save_checkpoint", save)


def test_errors(tmp_path) -> None:
    config = Config(training=SHORT, pretraining=SHORT, source="photos")
    with pytest.raises(ReproodError, match=r"no auxiliary set 'photos'.*has source\."):
        finetune.train(transfer(), config, run(tmp_path))
    with pytest.raises(ReproodError, match=r"has none\."):
        finetune.train(problem(48), config, run(tmp_path))
    source = transfer().auxiliary["source"]
    blind = replace(transfer(), auxiliary={"photos": ImageSet(source.images, torch.full_like(source.labels, -1))})
    with pytest.raises(ReproodError, match="labelled: true"):
        finetune.train(blind, config, run(tmp_path))


def test_defaults() -> None:
    config = Config()
    assert config.pretraining == cutmix.Config().training
    assert (config.recipe, config.alpha, config.cutout_size, config.probability) == ("plain", 1.0, None, None)
    assert (config.layers, config.body_rate, config.source) == ("all", 0.1, "source")
    with pytest.raises(ValueError, match="body_rate"):
        Config(body_rate=0)
