"""Learning rates: the papers' reference values, and that `fit` really uses them."""

import math

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import problem, run
from torch import nn

from reprood.engine import schedules
from reprood.engine.fit import fit
from reprood.engine.training import Training


def cutmix_cases() -> list[tuple[Training, np.ndarray]]:
    arrays = load("cutmix", "lr_schedule")
    cases = []
    for i in range(int(arrays["n_cases"])):
        rule = "imagenet_steps" if int(arrays[f"c{i}_is_imagenet"]) else "floor_steps"
        epochs = int(arrays[f"c{i}_epochs"])
        cases.append((Training(epochs=epochs, lr=float(arrays[f"c{i}_lr0"]), schedule=rule), arrays[f"c{i}_lr"]))
    return cases


@pytest.mark.golden
def test_cutmix_rates() -> None:
    for training, expected in cutmix_cases():
        rates = [training.rate(epoch, 3, 10) for epoch in range(training.epochs)]
        np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.golden
def test_godin_rates() -> None:
    arrays = load("godin", "lr_schedule")
    assert arrays
    for key, expected in arrays.items():
        epochs = int(key.removeprefix("lr_"))
        assert len(expected) == epochs
        lr = float(expected[0]) / schedules.multistep(1.0, 0, epochs, (0.5, 0.75))  # the file does not state it
        training = Training(epochs=epochs, lr=lr, schedule="multistep")
        rates = [training.rate(epoch, 0, 10) for epoch in range(training.epochs)]
        np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_odd_number_of_epochs_drops_where_each_code_does() -> None:
    floor = [schedules.floor_steps(1.0, e, 7, (0.5, 0.75)) for e in range(7)]
    assert [round(-math.log10(rate)) for rate in floor] == [0, 0, 0, 0, 1, 1, 2]
    multi = [schedules.multistep(1.0, e, 7, (0.5, 0.75)) for e in range(7)]
    assert [round(-math.log10(rate)) for rate in multi] == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.golden
def test_history_and_weights_follow_the_schedule(tmp_path) -> None:
    """The gradient is 1 and nothing else moves the weight, so each step must move it by exactly the rate."""

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    training, expected = min(cutmix_cases(), key=lambda case: case[0].epochs)
    training = training.model_copy(update={"momentum": 0.0, "weight_decay": 0.0, "batch_size": 25, "augment": "none"})
    model, seen = Line(), []

    def loss(network, batch):
        seen.append(float(network.weight.detach()))
        return network.weight.sum()

    rows = fit(model, loss, problem(50).train, training, run(tmp_path), problem=problem(50), monitor=lambda network: {})
    np.testing.assert_allclose([row["lr"] for row in rows], expected, rtol=1e-12)
    moves = -np.diff([*seen, float(model.weight.detach())])
    np.testing.assert_allclose(moves, np.repeat(expected, 2), rtol=1e-9)


def test_cosine_per_epoch_and_per_step() -> None:
    by_epoch = Training(epochs=4, lr=0.2, schedule="cosine")
    assert by_epoch.rate(0, 0, 5) == by_epoch.rate(0, 4, 5) == pytest.approx(0.2)
    assert by_epoch.rate(2, 0, 5) == pytest.approx(0.1)
    by_step = Training(epochs=4, lr=0.2, final_lr=0.01, schedule="cosine_step")
    rates = [by_step.rate(e, s, 5) for e in range(4) for s in range(5)]
    slow = [0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * i / 20)) for i in range(20)]
    np.testing.assert_allclose(rates, slow, rtol=1e-12)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.01)
    stepped = []
    for _ in range(20):
        stepped.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    np.testing.assert_allclose(rates, stepped, rtol=1e-9)


def test_warmup_is_linear_and_ends_at_the_schedule() -> None:
    training = Training(epochs=10, lr=1.0, schedule="constant", warmup_epochs=2, warmup_start=0.1)
    rates = [training.rate(e, s, 4) for e in range(3) for s in range(4)]
    np.testing.assert_allclose(rates[:8], 0.1 + 0.9 * np.arange(8) / 8, rtol=1e-12)
    assert rates[8:] == [1.0] * 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"milestones": (0.5, 1.5)}, "milestones"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov"),
        ({"batch_size": 2, "smallest_batch": 3}, "smallest_batch"),
        ({"epochs": 2, "warmup_epochs": 3}, "warmup_epochs"),
        ({"learning_rate": 1}, "learning_rate"),
    ],
)
def test_impossible_settings_are_rejected(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**values)


@pytest.mark.parametrize(
    ("count", "values", "steps"),
    [(50, {}, 4), (49, {}, 4), (49, {"smallest_batch": 2}, 3), (50, {"drop_last": True}, 3), (48, {}, 3)],
)
def test_number_of_steps(count, values, steps) -> None:
    assert Training(batch_size=16, **values).steps(count) == steps
