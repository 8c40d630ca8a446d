"""Outlier Exposure: training with outliers in one forward pass, from scratch and as fine-tuning."""

from dataclasses import replace

import pytest
import torch
from tiny_problem import Net, image_set, problem, run
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.problem import Problem
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import erm, oe
from reprood.methods.oe import Config, uniform_cross_entropy

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1, drop_last=True)


def with_outliers(count: int = 50, **changes: object) -> Problem:
    return replace(problem(count, **changes), auxiliary={"letters": image_set(70, seed=5)})


def test_defaults_are_the_codes() -> None:
    training = Config().training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (100, 128, 0.1, 5e-4)
    assert (training.nesterov, training.schedule, training.final_lr) == (True, "cosine_step", 1e-6)
    assert training.steps(50000) == 391  # the last batch, of 80 images, is kept
    assert (Config().weight, Config().pretrain) == (0.5, None)


def test_outliers_are_needed(tmp_path) -> None:
    with pytest.raises(ReproodError, match=r"bench/method/0.*the benchmark has none.*'auxiliary'"):
        oe.train(problem(50), Config(training=SHORT), run(tmp_path))


def test_training_learns_and_outliers_get_uniform_predictions(tmp_path) -> None:
    dark = replace(problem(96), auxiliary={"dark": image_set(70, classes=1, seed=5)})
    dark.auxiliary["dark"].images.div_(8, rounding_mode="floor")
    training = SHORT.model_copy(update={"epochs": 15, "lr": 0.1, "monitor_every": 15})
    unsure = {}
    for weight in (0.0, 2.0):
        config = Config(training=training, weight=weight)
        model, rows = oe.train(dark, config, run(tmp_path / str(weight)))
        assert rows[-1]["validation_error"] < 40
        assert not model.training
        outliers = (dark.auxiliary["dark"].images / 255 - 0.4) / 0.2
        with torch.no_grad():
            unsure[weight] = float(uniform_cross_entropy(model(outliers)).mean())
    assert unsure[2.0] < 0.7 * unsure[0.0]


def test_first_step_is_one_joint_forward(tmp_path) -> None:
    task = replace(problem(16), auxiliary={"letters": image_set(50, seed=5)})
    config = Config(training=Training(epochs=1, batch_size=16, augment="none"))
    job = run(tmp_path)
    _, rows = oe.train(task, config, job)
    with seeded(job.seed("initialisation")):
        model = oe.build(config, Net(), 3).train()
    order = torch.randperm(16, generator=job.generator("train", "order", 0))
    both = torch.cat((task.train.images[order], task.auxiliary["letters"].images[:32]))
    logits = model((both / 255 - 0.4) / 0.2)
    expected = functional.cross_entropy(logits[:16], task.train.labels[order])
    expected = expected + 0.5 * uniform_cross_entropy(logits[16:]).mean()
    assert rows[0]["train_loss"] == pytest.approx(float(expected.detach()), rel=1e-4)


def test_a_short_last_batch_has_as_many_outliers_as_the_others(tmp_path, monkeypatch) -> None:
    sizes = []
    inner = oe.oe_loss

    def watched(logits, labels, outlier_logits, weight) -> Tensor:
        sizes.append((len(logits), len(labels), len(outlier_logits)))
        return inner(logits, labels, outlier_logits, weight)

    monkeypatch.setattr(oe, "oe_loss", watched)
    training = Config().training.model_copy(update={"epochs": 2, "batch_size": 16, "crop_padding": 1})
    oe.train(with_outliers(50), Config(training=training), run(tmp_path))
    assert sizes == 2 * [(16, 16, 32), (16, 16, 32), (16, 16, 32), (2, 2, 32)]


def test_fine_tuning_starts_from_the_plain_classifier(tmp_path) -> None:
    slow = SHORT.model_copy(update={"epochs": 1, "lr": 1e-12, "final_lr": 0.0, "weight_decay": 0.0})
    model, rows = oe.train(with_outliers(), Config(pretrain=SHORT, training=slow), run(tmp_path / "ours"))
    assert [row["phase"] for row in rows] == ["pretrain", "pretrain", "train"]
    job = run(tmp_path / "theirs")
    with seeded(job.seed("initialisation")):
        plain = erm.build(erm.Config(), Net(), 3)

    def loss(network, batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    oe.fit(plain, loss, problem(50).train, SHORT, job, problem=problem(50), phase="pretrain")
    torch.testing.assert_close(model.linear_head()[0], plain.linear_head()[0], rtol=0, atol=1e-7)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("change", "kills"),
    [({}, (2, 3)), ({"order": "random"}, (2, 3)), ({"pretrain": SHORT.model_copy(update={"epochs": 1})}, (2, 3, 2))],
)
def test_killed_training_ends_in_the_same_bits(tmp_path, monkeypatch, change, kills) -> None:
    """Each kill comes after the stated number of steps; with pre-training (3 steps) one during it and two after it."""
    task, config = with_outliers(dropout=0.2), Config(training=SHORT, **change)
    whole, expected = oe.train(task, config, run(tmp_path / "whole"))

    inner = functional.cross_entropy
    for survived in kills:
        left = [survived]

        def dying(*arguments, left=left) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(functional, "cross_entropy", dying)
            oe.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    resumed, rows = oe.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    assert rows == expected
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
