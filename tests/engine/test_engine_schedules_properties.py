"""Every learning-rate schedule at any length against the definition in the authors' code, written out step by step.

The reference values cover a few lengths; rounding of the drops shows at others.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reprood.engine.training import Training
from reprood.methods.biamat.recipe import Recipe

Rates = Callable[[Training, int], list[float]]  # a training, steps per epoch -> the rate of every step


def torch_rates(scheduler: Callable[[torch.optim.Optimizer], object], lr: float, count: int) -> list[float]:
    """Return the rates that a scheduler of torch sets for `count` consecutive steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    stepped = scheduler(optimizer)
    rates = []
    for _ in range(count):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        stepped.step()  # type: ignore[attr-defined]
    return rates


def by_epoch(rate: Callable[[int], float], training: Training, steps: int) -> list[float]:
    return [rate(epoch) for epoch in range(training.epochs) for _ in range(steps)]


def constant(training: Training, steps: int) -> list[float]:
    return [training.lr] * training.epochs * steps


def multistep(training: Training, steps: int) -> list[float]:
    """Generalized ODIN: MultiStepLR with int(f * E)."""
    drops = [int(share * training.epochs) for share in training.milestones]
    return by_epoch(lambda epoch: training.lr * training.gamma ** sum(epoch >= d for d in drops), training, steps)


def floor_steps(training: Training, steps: int) -> list[float]:
    """CutMix, CIFAR: adjust_learning_rate with floor divisions by floats."""

    def rate(epoch: int) -> float:
        lr = training.lr
        for share in training.milestones:
            lr *= training.gamma ** (epoch // (training.epochs * share))
        return lr

    return by_epoch(rate, training, steps)


def imagenet_steps(training: Training, steps: int) -> list[float]:
    """CutMix, ImageNet: every 75 epochs of 300, else every 30."""
    every = 75 if training.epochs == 300 else 30
    return by_epoch(lambda epoch: training.lr * training.gamma ** (epoch // every), training, steps)


def cosine(training: Training, steps: int) -> list[float]:
    def make(optimizer: torch.optim.Optimizer) -> object:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs, eta_min=training.final_lr)

    rates = torch_rates(make, training.lr, training.epochs)
    return by_epoch(lambda epoch: rates[epoch], training, steps)


def cosine_step(training: Training, steps: int) -> list[float]:
    """Outlier Exposure, HOOD, self-supervision: LambdaLR with cosine_annealing(step, total, 1, final / lr)."""
    total, low = training.epochs * steps, training.final_lr / training.lr

    def factor(step: int) -> float:
        return low + (1 - low) * 0.5 * (1 + math.cos(step / total * math.pi))

    return torch_rates(lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, factor), training.lr, total)


def warmup_restart(training: Training, steps: int) -> list[float]:
    """ReSmooth: the warm-up package, then CosineAnnealingLR's closed form from lr on."""
    warm, factor = int(training.warmup_epochs), training.warmup_factor

    def rate(epoch: int) -> float:
        if epoch <= warm:
            share = epoch / warm if warm else 0.0
            return training.lr * (share if factor == 1 and warm else (factor - 1) * share + 1)
        return training.lr * (1 + math.cos(math.pi * (epoch - warm - 1) / training.epochs)) / 2

    return by_epoch(rate, training, steps)


def gradual(training: Training, steps: int, after: Callable[[float], float]) -> list[float]:
    """CSI: GradualWarmupScheduler, stepped after the optimiser, so that each step uses the previous position."""
    rates = []
    for number in range(training.epochs * steps):
        position = max(number - 1, 0) / steps
        warm, peak = training.warmup_epochs, training.warmup_factor
        if position <= warm:
            rates.append(training.lr * (1 + (peak - 1) * position / warm) if warm else training.lr * peak)
        else:
            rates.append(training.lr * peak * after(position - warm))
    return rates


def gradual_cosine(training: Training, steps: int) -> list[float]:
    return gradual(training, steps, lambda behind: (1 + math.cos(math.pi * behind / training.epochs)) / 2)


def gradual_multistep(training: Training, steps: int) -> list[float]:
    drops = [int(share * training.epochs) for share in training.milestones]
    return gradual(training, steps, lambda behind: training.gamma ** sum(behind >= drop for drop in drops))


SCHEDULES: dict[str, Rates] = {
    "constant": constant, "multistep": multistep, "floor_steps": floor_steps, "imagenet_steps": imagenet_steps,
    "cosine": cosine, "cosine_step": cosine_step, "warmup_restart": warmup_restart, "gradual_cosine": gradual_cosine,
    "gradual_multistep": gradual_multistep,
}  # fmt: skip


def at(training: Training, steps: int) -> list[float]:
    """BiaMAT, adversarial training: piecewise constant in steps, at 3/5 and 9/10 of all; boundaries included."""
    total = training.epochs * steps
    first, second = Fraction(3 * total, 5), Fraction(9 * total, 10)
    return [training.lr * 0.1 ** ((step > first) + (step > second)) for step in range(total)]


def bag_of_tricks(training: Training, steps: int) -> list[float]:
    """BiaMAT, TRADES: adjust_learning_rate with epochs from 1."""

    def rate(epoch: int) -> float:
        lr = training.lr
        if epoch + 1 >= int(training.epochs * (100 / 110)):
            lr = training.lr * 0.1
        if epoch + 1 >= int(training.epochs * (105 / 110)):
            lr = training.lr * 0.01
        return lr

    return by_epoch(rate, training, steps)


def trades(training: Training, steps: int) -> list[float]:
    def rate(epoch: int) -> float:
        lr = training.lr
        if epoch + 1 >= int(training.epochs * 0.75):
            lr = training.lr * 0.1
        if epoch + 1 >= training.epochs * 0.9:
            lr = training.lr * 0.01
        return lr

    return by_epoch(rate, training, steps)


DROPS: dict[str, Rates] = {"at": at, "bag_of_tricks": bag_of_tricks, "trades": trades}


def rates(training: Training, steps: int) -> list[float]:
    return [training.rate(epoch, step, steps) for epoch in range(training.epochs) for step in range(steps)]


def test_every_schedule_has_a_definition_here() -> None:
    assert set(SCHEDULES) == set(get_args(Training.model_fields["schedule"].annotation))
    assert {*DROPS, "none"} == set(get_args(Recipe.model_fields["drops"].annotation))


LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([90, 99, 100, 110, 120, 150, 200, 299, 300, 301, 400]))
RATES = st.sampled_from([0.0125, 0.05, 0.1, 0.25, 1.0])
SHARES = st.sampled_from([(0.5, 0.75), (0.3, 0.6, 0.9), (0.6, 0.9), (0.33, 0.34), (1.0,)])


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=60, deadline=None)
@given(epochs=LENGTHS, lr=RATES, steps=st.integers(1, 4), shares=SHARES, warm=st.integers(0, 5), data=st.data())
def test_schedules(name: str, epochs: int, lr: float, steps: int, shares: tuple[float, ...], warm: int, data) -> None:
    given_values = {"schedule": name, "epochs": epochs, "lr": lr, "milestones": shares}
    given_values |= {"gamma": data.draw(st.sampled_from([0.1, 0.2, 0.5]))}
    if name.startswith("cosine"):
        given_values |= {"final_lr": data.draw(st.sampled_from([0.0, 1e-6, lr / 10]))}
    if name.startswith(("warmup", "gradual")):
        given_values |= {"warmup_epochs": min(warm, epochs), "warmup_factor": data.draw(st.sampled_from([1, 2, 10]))}
    training = Training(**given_values)
    assert rates(training, steps) == pytest.approx(SCHEDULES[name](training, steps), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", DROPS)
@settings(max_examples=60, deadline=None)
@given(epochs=LENGTHS, lr=RATES, steps=st.integers(1, 4))
def test_schedules_of_biamat(name: str, epochs: int, lr: float, steps: int) -> None:
    recipe = Recipe(drops=name, epochs=epochs, lr=lr)
    assert rates(recipe, steps) == pytest.approx(DROPS[name](recipe, steps), rel=1e-9)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if not name.startswith(("warmup", "gradual"))])
@settings(max_examples=30, deadline=None)
@given(epochs=st.integers(1, 30), steps=st.integers(1, 4), share=st.floats(0, 1), start=st.sampled_from([0.0, 0.2]))
def test_the_linear_warm_up_ends_at_the_schedule(
    name: str, epochs: int, steps: int, share: float, start: float
) -> None:
    """The warm-up multiplies the schedule's rate by a line from `start` to 1 and leaves all later rates."""
    plain = Training(schedule=name, epochs=epochs, lr=0.1)
    warm = share * epochs
    risen = plain.model_copy(update={"warmup_epochs": warm, "warmup_start": start})
    for place, (ours, base) in enumerate(zip(rates(risen, steps), rates(plain, steps), strict=True)):
        position = place // steps + place % steps / steps
        factor = start + (1 - start) * position / warm if position < warm else 1.0
        assert ours == pytest.approx(base * factor, rel=1e-9, abs=1e-15)


def test_stated_values() -> None:
    """Values that were computed with the authors' code at lengths that no reference file has."""
    eleven = Recipe(drops="bag_of_tricks", epochs=11, lr=0.05)
    assert [eleven.rate(epoch - 1, 0, 3) for epoch in range(1, 12)] == pytest.approx([0.05] * 9 + [0.0005] * 2)
    long = Recipe(drops="bag_of_tricks", epochs=37, lr=0.1)
    assert [long.rate(epoch - 1, 0, 3) for epoch in (32, 33, 34, 35, 37)] == pytest.approx(
        [0.1, 0.01, 0.01, 0.001, 0.001]
    )
    csi = Training(schedule="gradual_multistep", epochs=30, lr=1.0, warmup_epochs=3, warmup_factor=1)
    # Each step uses the rate of the step before: position 18.0 is that of step 1 of epoch 18.
    assert [csi.rate(18, 0, 2), csi.rate(18, 1, 2), csi.rate(25, 0, 2), csi.rate(25, 1, 2)] == pytest.approx(
        [1.0, 0.1, 0.1, 0.01]
    )
