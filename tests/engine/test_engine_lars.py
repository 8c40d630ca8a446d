"""LARS and CSI's schedule: against a loop over numbers, checkpoints, invalid settings."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_problem import Net, problem, run
from torch import nn
from torch.nn import functional

from reprood.engine import schedules
from reprood.engine.fit import fit
from reprood.engine.optimizers import LARS, SGD, build_optimizer, decay_groups
from reprood.engine.training import Training
from reprood.nets.classifier import Classifier


def by_hand(weight, gradient, velocity, rate, decay, momentum, trust=1e-3, eps=1e-8):
    size, slope = math.sqrt(sum(w * w for w in weight)), math.sqrt(sum(g * g for g in gradient))
    ratio = trust * size / (slope + decay * size + eps) if size > 0 and slope > 0 else 1.0
    step = [ratio * (g + decay * w) for w, g in zip(weight, gradient, strict=True)]
    velocity = step if velocity is None else [momentum * v + s for v, s in zip(velocity, step, strict=True)]
    return [w - rate * v for w, v in zip(weight, velocity, strict=True)], velocity


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=4), "b": np.zeros(3), "c": rng.normal(size=5)}
    parameters = {name: nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    decays = {"a": 0.1, "b": 0.1, "c": 0.0}
    groups = [{"params": [parameters[name]], "weight_decay": decays[name]} for name in start]
    optimizer, state = LARS(groups, 0.8), {name: (list(value), None) for name, value in start.items()}
    for step in range(6):
        rate = 0.5 / (step + 1)
        for name, parameter in parameters.items():
            gradient = np.zeros(len(start[name])) if (name, step) == ("c", 2) else rng.normal(size=len(start[name]))
            parameter.grad = torch.tensor(gradient)
            state[name] = by_hand(state[name][0], gradient, state[name][1], rate, decays[name], 0.8)
        optimizer.step(rate)
        for name, parameter in parameters.items():
            np.testing.assert_allclose(parameter.detach().numpy(), state[name][0], rtol=1e-12, atol=1e-15)


def test_scale_of_gradients_does_not_matter_without_decay() -> None:
    moved = []
    for factor in (1.0, 1e4):
        weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        optimizer = LARS([{"params": [weight], "weight_decay": 0.0}], 0.9)
        weight.grad = factor * torch.tensor([0.0, 1.0])
        optimizer.step(1.0)
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0], torch.tensor([3.0, 4.0 - 0.005]))
    torch.testing.assert_close(moved[0], moved[1])


def test_choice() -> None:
    net = Classifier(Net(), 3)
    assert isinstance(build_optimizer(net, Training()), SGD)
    lars = build_optimizer(net, Training(optimizer="lars", weight_decay=0.2), decay_groups(net, [net.head.bias]))
    assert isinstance(lars, LARS)
    assert sorted(set(lars.decays)) == [0.0, 0.2]
    with pytest.raises(ValueError, match="nesterov"):
        Training(optimizer="lars", nesterov=True)


def test_a_training_learns_and_is_resumed(tmp_path: Path) -> None:
    training = Training(
        epochs=6, batch_size=10, optimizer="lars", lr=0.5, schedule="gradual_cosine", warmup_epochs=1, warmup_factor=10
    )

    def loss(network, batch):
        return functional.cross_entropy(network(batch.images), batch.labels)

    class Killed(Exception):
        pass

    def killed(network, batch):
        if (batch.epoch, batch.step) == (3, 2):
            raise Killed
        return loss(network, batch)

    def start(folder: str, lossy, **changes):
        torch.manual_seed(0)
        net = Classifier(Net(), 3)
        rows = fit(net, lossy, problem(50).train, training, run(tmp_path / folder, **changes), problem=problem(50))
        return net, rows

    whole, rows = start("whole", loss)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] - 0.1
    with pytest.raises(Killed):
        start("parts", killed, checkpoint_seconds=0)
    again, same = start("parts", loss)
    assert same == rows
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_gradual_rates() -> None:
    training = Training(epochs=20, lr=0.1, schedule="gradual_cosine", warmup_epochs=4, warmup_factor=10)
    rates = [training.rate(*divmod(place, 5), 5) for place in range(100)]
    assert rates[0] == rates[1] == pytest.approx(0.1)
    assert rates[11] == pytest.approx(0.1 * (1 + 9 * 2 / 4))  # the place before is epoch 2
    assert max(rates) == rates[21] == pytest.approx(1.0)
    assert rates[71] == pytest.approx((1 + math.cos(math.pi * 10 / 20)) / 2)
    assert rates[-1] > (1 + math.cos(math.pi * 16 / 20)) / 2  # never near 0
    steps = training.model_copy(update={"schedule": "gradual_multistep", "milestones": (0.25, 0.5), "gamma": 0.5})
    by_epoch = [steps.rate(epoch, 1, 5) for epoch in range(20)]
    np.testing.assert_allclose(by_epoch[4:], [1.0] * 5 + [0.5] * 5 + [0.25] * 6)
    assert schedules.gradual(0.1, 0.0, 10, 0, 10) == pytest.approx(1.0)  # no warm-up: the peak at once


@pytest.mark.parametrize("warm", [0, 1, 3, 10])
@pytest.mark.parametrize("epochs", [1, 2, 7, 11, 30, 37, 101])
def test_gradual_multistep_is_torchs_multistep_after_the_warm_up(epochs: int, warm: int) -> None:
    """For any length: the rates of MultiStepLR with the milestones int(f * epochs), stepped with position - warm."""
    shares, steps, optimizer = (0.5, 0.75), 4, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(f * epochs) for f in shares], gamma=0.1)
    rates = [optimizer.param_groups[0]["lr"]]  # after this number of whole epochs
    for _ in range(epochs):
        optimizer.step()
        theirs.step()
        rates.append(optimizer.param_groups[0]["lr"])
    for place in range(warm * steps + 1, (warm + epochs) * steps):
        behind = (place - warm * steps) / steps
        rate = schedules.gradual(0.1, place / steps, epochs, warm, 10, shares)
        assert rate == pytest.approx(rates[int(behind)], rel=1e-12), behind


def test_the_history_has_the_rates(tmp_path: Path) -> None:
    training = Training(
        epochs=3, batch_size=25, lr=0.01, schedule="gradual_cosine", warmup_epochs=1, warmup_factor=4, augment="none"
    )
    given = replace(problem(50), monitor={})

    def loss(network, batch):
        return functional.cross_entropy(network(batch.images), batch.labels)

    rows = fit(Classifier(Net(), 3), loss, given.train, training, run(tmp_path), problem=given)
    expected = [schedules.gradual(0.01, max(2 * e - 1, 0) / 2, 3, 1, 4) for e in range(3)]
    np.testing.assert_allclose([row["lr"] for row in rows], expected)
