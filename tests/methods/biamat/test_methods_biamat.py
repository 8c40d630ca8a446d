"""BiaMAT: gate and losses by hand, what a step changes, training with every selection, resuming, settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_problem import Net, image_set, problem, run
from torch import Tensor
from torch.nn import functional

from reprood.attacks.projected import attack_labels
from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.robust_error import robust_error_percent
from reprood.images.augment import normalise
from reprood.methods.biamat import method
from reprood.methods.biamat import step as biamat_step
from reprood.methods.biamat.loss import (
    HeadLogits,
    at_loss,
    at_objective,
    confidence,
    gate_threshold,
    out_then_in,
    trades_loss,
    trades_objective,
)
from reprood.methods.biamat.method import Config
from reprood.methods.biamat.net import RobustNet, TwoHeads
from reprood.methods.biamat.recipe import Recipe
from reprood.methods.biamat.step import Ascent, at_step, gate, trades_step

SHORT = Recipe(epochs=3, batch_size=16, lr=0.05, crop_padding=1, drop_last=True, monitor_every=1)
COMMON = {"training": SHORT, "steps": 2, "gate_warmup_epochs": 1}
ARMS: dict[str, dict[str, object]] = {
    "at": {"selection": "none"},
    "gated": {},
    "naive": {"selection": "all_in"},
    "out": {"selection": "all_out", "gate_warmup_epochs": 0},
    "shuffled": {"selection": "all_in", "shuffle_labels": True},
    "trades": {"loss": "trades", "selection": "none"},
    "trades gated": {"loss": "trades"},
    "trades plain": {"loss": "trades", "plain_auxiliary": True},
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def task(count: int = 48, classes: int = 4) -> Problem:
    return replace(problem(count), auxiliary={"others": image_set(40, classes=classes, seed=5)})


def config(arm: str, **changes: object) -> Config:
    return Config(**{**COMMON, **ARMS[arm], **changes})


def answers(rows: int, inner: int, seed: int = 0) -> HeadLogits:
    made = generator(seed)
    return HeadLogits(
        2 * torch.randn(rows, 3, generator=made, dtype=torch.float64),
        2 * torch.randn(inner, 5, generator=made, dtype=torch.float64),
    )


def network(classes: int = 4, loss: str = "at") -> TwoHeads:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        primary = method.build(Config(loss=loss), Net(), 3)
        return TwoHeads(primary, classes).train()


# --- losses and gate, by hand ---

LABELS, LABELS_IN = torch.tensor([2, 0]), torch.tensor([4, 1, 0])


def log_p(row: Tensor) -> list[float]:
    return [float(value) for value in row - torch.logsumexp(row, 0)]


def test_adversarial_loss_by_hand() -> None:
    found = answers(4, 3)
    own = [-log_p(row)[label] for row, label in zip(found.primary[:2], LABELS.tolist(), strict=True)]
    uniform = [-sum(log_p(row)) / 3 for row in found.primary[2:]]
    inner = [-log_p(row)[label] for row, label in zip(found.auxiliary, LABELS_IN.tolist(), strict=True)]
    parts = at_loss(found, LABELS, LABELS_IN, 0.7)
    assert float(parts.primary) == pytest.approx(sum(own) / 2)
    assert float(parts.auxiliary) == pytest.approx(0.7 * (sum(uniform) + sum(inner)) / 5)
    assert float(at_objective(found, LABELS, LABELS_IN)) == pytest.approx(sum(own) + sum(uniform) + sum(inner))


@pytest.mark.parametrize("plain", [False, True])
def test_trades_loss_by_hand(plain: bool) -> None:
    found, natural = answers(4, 3), answers(4, 3, seed=1)

    def divergence(changed: Tensor, before: Tensor) -> float:
        p, q = log_p(before), log_p(changed)
        return sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True))

    outer = [divergence(*pair) for pair in zip(found.primary, natural.primary, strict=True)]
    inner = [divergence(*pair) for pair in zip(found.auxiliary, natural.auxiliary, strict=True)]
    soft = [-log_p(row)[y] for row, y in zip(natural.primary[:2], LABELS.tolist(), strict=True)]
    soft += [-sum(log_p(row)) / 3 for row in natural.primary[2:]]
    hard = [-log_p(row)[y] for row, y in zip(natural.auxiliary, LABELS_IN.tolist(), strict=True)]
    bare = [-log_p(row)[y] for row, y in zip(found.auxiliary, LABELS_IN.tolist(), strict=True)]
    each = [a + 6 * b for a, b in zip(soft, outer, strict=True)]
    within = bare if plain else [a + 6 * b for a, b in zip(hard, inner, strict=True)]
    parts = trades_loss(found, natural, LABELS, LABELS_IN, 0.5, 6.0, plain_auxiliary=plain)
    assert float(parts.primary) == pytest.approx(sum(each[:2]) / 2)
    assert float(parts.auxiliary) == pytest.approx(0.5 * (sum(each[2:]) + sum(within)) / 5)
    objective = trades_objective(found, natural, LABELS_IN if plain else None)
    assert float(objective) == pytest.approx(sum(outer) + sum(bare if plain else inner))


def test_without_auxiliary_images_the_loss_is_the_primary_one() -> None:
    found, natural = answers(2, 0), answers(2, 0, seed=1)
    none = torch.zeros(0, dtype=torch.int64)
    for parts in (at_loss(found, LABELS, none, 1.0), trades_loss(found, natural, LABELS, none, 1.0, 6.0)):
        assert float(parts.auxiliary) == 0
    expected = functional.cross_entropy(found.primary, LABELS)
    torch.testing.assert_close(at_loss(found, LABELS, none, 1.0).primary, expected)


def test_order_and_threshold() -> None:
    order, count = out_then_in(torch.tensor([False, True, False, True, True]))
    assert order.tolist() == [1, 3, 4, 0, 2]
    assert count == 3
    logits = torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0]])
    assert confidence(logits).tolist() == pytest.approx([0.5, 0.75])
    assert float(gate_threshold(logits, 0.8)) == pytest.approx(0.5)


def test_the_gate_asks_in_evaluation_mode_and_keeps_its_threshold() -> None:
    model = network()
    with torch.no_grad():
        model.primary.head.weight.mul_(20)
    images = torch.rand(12, 1, 8, 8, generator=generator())
    before = {name: value.clone() for name, value in model.primary.backbone.state_dict().items()}
    outside = gate(model, images[:6], images[6:], 0.9)
    model.eval().requires_grad_(False)
    sure = [confidence(model.head_logits(part, 6).primary) for part in (images[:6], images[6:])]
    assert float(model.primary.threshold) == pytest.approx(0.9 * float(sure[0].mean()), rel=1e-6)
    assert torch.equal(outside, sure[1] < model.primary.threshold)
    assert model.counted.tolist() == [6, int((~outside).sum())]
    assert all(torch.equal(before[name], value) for name, value in model.primary.backbone.state_dict().items())
    kept = model.primary.threshold.clone()
    gate(model.train(), images[6:], images[:6], 0.2)
    assert torch.equal(model.primary.threshold, kept)
    assert model.training
    assert int(model.counted[0]) == 12


# --- one step ---


@pytest.mark.parametrize("step", [at_step, trades_step])
def test_a_step_against_a_plain_loop(step, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack written out with autograd on a copy; the batch statistics count the right number of passes."""
    model, shadow = network().double(), network().double()
    images = torch.rand(9, 1, 8, 8, generator=generator(), dtype=torch.float64)
    labels, labels_in = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 1, 2])
    noise = 0.1 * torch.rand(images.shape, generator=generator(1), dtype=torch.float64) - 0.05
    trades = step is trades_step
    attacked: list[Tensor] = []
    inner = biamat_step.pgd

    def watched(*arguments: object, **options: object) -> Tensor:
        attacked.append(inner(*arguments, **options))
        return attacked[-1]

    monkeypatch.setattr(biamat_step, "pgd", watched)
    parts = step(model, images, labels, labels_in, noise, 0.5, Ascent(0.1, 0.04, 3))
    found = images + noise if trades else (images + noise).clamp(0, 1)
    shadow.train(not trades)
    soft = torch.cat([functional.one_hot(labels, 3).double(), torch.full((2, 3), 1 / 3, dtype=torch.float64)])
    for _ in range(3):
        leaf = found.clone().requires_grad_()
        first, last = shadow.head_logits(leaf, 5)
        if trades:
            with torch.no_grad():
                before = shadow.head_logits(images, 5)
            pairs = ((first, before.primary), (last, before.auxiliary))
            height = sum((n.softmax(1) * (n.log_softmax(1) - a.log_softmax(1))).sum() for a, n in pairs)
        else:
            height = -(soft * first.log_softmax(1)).sum() - last.log_softmax(1)[torch.arange(4), labels_in].sum()
        (slope,) = torch.autograd.grad(height, leaf)
        moved = found + 0.04 * slope.sign()
        found = torch.minimum(torch.maximum(moved, images - 0.1), images + 0.1).clamp(0, 1)
    torch.testing.assert_close(attacked[-1], found, rtol=0, atol=1e-12)
    assert int(model.primary.backbone.norm.num_batches_tracked) == (2 if trades else 1)
    reference = network().double()
    for part in (images, found) if trades else (found,):
        reference.head_logits(part, 5)
    torch.testing.assert_close(model.primary.backbone.norm.running_mean, reference.primary.backbone.norm.running_mean)
    assert parts.primary.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("step", [at_step, trades_step])
def test_the_attack_of_a_step_does_not_depend_on_the_precision(step, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast the attacked images have the bits of fp32; the loss is computed in bf16 and differs."""
    images = torch.rand(9, 1, 8, 8, generator=generator())
    noise = 0.001 * torch.randn(images.shape, generator=generator(1))
    attacked: list[Tensor] = []
    inner = biamat_step.pgd

    def watched(*arguments: object, **options: object) -> Tensor:
        attacked.append(inner(*arguments, **options))
        return attacked[-1]

    monkeypatch.setattr(biamat_step, "pgd", watched)
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            parts = step(
                network(), images, torch.tensor([0, 1, 2]), torch.tensor([3, 0]), noise, 0.5, Ascent(0.1, 0.03, 4)
            )
        losses.append(float(parts.primary.detach() + parts.auxiliary.detach()))
    assert torch.equal(*attacked)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# --- the network ---


@pytest.mark.parametrize("input_step", ["per_image", "none", "channels"])
def test_normalised_and_pixel_images_are_answered_alike(input_step) -> None:
    model = RobustNet(Net(3), 4, input_step).eval()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    model.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    pixels = torch.rand(5, 3, 8, 8, generator=generator())
    images = normalise(pixels, mean, std)
    torch.testing.assert_close(model.features(images), model.pixel_features(pixels))
    if input_step == "channels":
        torch.testing.assert_close(model.pixel_features(pixels), model.backbone(images))
    weight, bias = model.linear_head()
    torch.testing.assert_close(model(images), functional.linear(model.features(images), weight, bias))


def test_a_network_without_convolutions() -> None:
    class Flat(torch.nn.Module):
        width = 4

    with pytest.raises(ReproodError, match="Flat has no convolution"):
        method.build(Config(), Flat(), 3)


# --- training ---


@pytest.mark.parametrize("arm", ARMS)
def test_training(arm: str, tmp_path: Path) -> None:
    settings = config(arm)
    model, rows = method.train(task(), settings, run(tmp_path))
    assert len(rows) == 3
    assert np.isfinite([row["train_loss"] for row in rows]).all()
    gated = settings.selection == "gate"
    assert ["auxiliary_in" in row for row in rows] == [False, gated, gated]
    assert (float(model.threshold) > 0) == gated
    if gated:
        assert all(0 <= row["auxiliary_in"] <= 1 for row in rows[1:])
        assert {row["gate_threshold"] for row in rows[1:]} == {float(model.threshold)}
    images = torch.randn(5, 1, 8, 8, generator=generator())
    fresh = method.build(settings, Net(), 3)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.eval()(images), model(images))
    assert torch.equal(model.mean.flatten(), torch.tensor([0.4]))


def test_the_task_is_learnt(tmp_path: Path) -> None:
    long = SHORT.model_copy(update={"epochs": 25, "augment": "none"})
    _, rows = method.train(
        task(96), config("gated", training=long, gate_warmup_epochs=3, input_step="none"), run(tmp_path)
    )
    assert rows[-1]["test_error"] < 20 < rows[0]["test_error"]


def test_the_history_has_the_robust_error_and_the_training_does_not_depend_on_it(tmp_path: Path) -> None:
    settings = config("trades gated", monitor_steps=4, eps=0.1, step=0.03)
    model, rows = method.train(task(), settings, run(tmp_path / "a"))
    other, plain = method.train(task(), settings.model_copy(update={"monitor_steps": 0}), run(tmp_path / "b"))
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), other.state_dict().values()))
    names = ("validation_robust_error", "test_robust_error")
    assert all(name in row for row in rows for name in names)
    assert not any(name in row for row in plain for name in names)
    assert [{key: value for key, value in row.items() if key not in names} for row in rows] == plain
    data, first = task().monitor["test"], task().monitor["test"].labels[:7]
    attack = {"eps": 0.1, "step": 0.03, "steps": 4}
    images = data.images.float() / 255
    attacked = attack_labels(
        model.pixel_logits, images, data.labels, generator=run(tmp_path).generator("robust error"), **attack
    )
    wrong = (model.pixel_logits(attacked).argmax(1) != data.labels).double()
    assert rows[-1]["test_robust_error"] == pytest.approx(100 * float(wrong.mean()))
    assert rows[-1]["test_robust_error"] >= rows[-1]["test_error"]
    model.train()
    limited = robust_error_percent(model, model.pixel_logits, data, run(tmp_path), limit=7, **attack)
    attacked = attack_labels(
        model.eval().pixel_logits, images[:7], first, generator=run(tmp_path).generator("robust error"), **attack
    )
    wrong = (model.pixel_logits(attacked).argmax(1) != first).double()
    assert limited == pytest.approx(100 * float(wrong.mean()))


def trained(arm: str, folder: Path, given: Problem | None = None, **changes: object) -> dict[str, Tensor]:
    model, _ = method.train(given or task(), config(arm, **changes), run(folder))
    return {name: value for name, value in model.state_dict().items() if "num_batches" not in name}


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return any(not torch.equal(first[name], second[name]) for name in first)


def test_what_the_settings_change(tmp_path: Path) -> None:
    naive = trained("naive", tmp_path / "a")
    assert not differ(naive, trained("naive", tmp_path / "b"))
    assert differ(naive, trained("shuffled", tmp_path / "c"))
    # a threshold that no image falls below, and one that all fall below
    assert not differ(naive, trained("gated", tmp_path / "d", gamma=0))
    out = trained("naive", tmp_path / "e", selection="all_out")
    low = trained("gated", tmp_path / "f", gamma=100)
    assert not any(differ({n: out[n]}, {n: low[n]}) for n in out if n != "threshold")
    assert differ(out, naive)


def test_the_warm_up_has_weight_0(tmp_path: Path) -> None:
    """With weight 0 all along no threshold is set, and the auxiliary images matter by the batch statistics alone."""
    blind = trained("gated", tmp_path / "a", gate_warmup_epochs=3)
    assert float(blind["threshold"]) == 0
    assert not differ(blind, trained("naive", tmp_path / "b", alpha=0))
    assert differ(blind, trained("at", tmp_path / "c"))


def test_outliers_need_no_labels(tmp_path: Path) -> None:
    given = task()
    unlabelled = ImageSet(given.auxiliary["others"].images, torch.full((40,), -1))
    given = replace(given, auxiliary={"others": unlabelled})
    method.train(given, config("out"), run(tmp_path / "a"))
    for changes in ({"selection": "gate"}, {"gate_warmup_epochs": 1}):
        with pytest.raises(ReproodError, match="labelled: true"):
            method.train(given, config("out", **changes), run(tmp_path / "b"))


def test_weight_decay_covers_kernels_alone_in_adversarial_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    inner = method.fit

    def watched(*arguments: object, **options: object) -> object:
        seen.append(options["groups"])
        return inner(*arguments, **options)

    monkeypatch.setattr(method, "fit", watched)
    trained("naive", tmp_path / "a")
    trained("trades gated", tmp_path / "b")
    decayed, free = seen[0]
    assert {parameter.dim() for parameter in decayed["params"]} == {2, 4}
    assert len(decayed["params"]) == 3  # a convolution and two heads
    assert {parameter.dim() for parameter in free["params"]} == {1}
    assert free["weight_decay"] == 0
    assert seen[1] is None


class Killed(Exception):
    pass


@pytest.mark.parametrize("arm", ["gated", "trades gated"])
def test_killed_training_ends_in_the_same_bits(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(arm)
    whole, expected = method.train(task(), settings, run(tmp_path / "whole"))
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    inner = method.start_noise
    for survived in (2, 3, 1):
        left = [survived]

        def dying(*arguments: object, left: list[int] = left) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(method, "start_noise", dying)
            method.train(task(), settings, job)
    resumed, rows = method.train(task(), settings, job)
    assert rows == expected
    for (key, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key


def test_bf16(tmp_path: Path) -> None:
    _, rows = method.train(task(), config("gated"), run(tmp_path, precision="bf16"))
    assert np.isfinite([row["train_loss"] for row in rows]).all()


# --- settings ---


def test_the_programs_own_values() -> None:
    at, trades = Config(), Config(loss="trades")
    assert (at.weight, at.threshold_share, at.ascent) == (1.0, 0.55, Ascent(8 / 255, 2 / 255, 10))
    assert (trades.weight, trades.threshold_share, trades.ascent) == (0.5, 0.5, Ascent(0.031, 0.007, 10))
    assert (method.build(at, Net(), 3).input_step, method.build(trades, Net(), 3).input_step) == ("per_image", "none")
    assert Config(alpha=0, gamma=0, eps=0.1, step=0.05).ascent == Ascent(0.1, 0.05, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plain_auxiliary": True}, "plain_auxiliary belongs to loss: trades"),
        ({"selection": "all_out", "shuffle_labels": True}, "uses no auxiliary labels"),
        ({"training": {"ema": 0.9}}, "average the gate's threshold"),
        ({"training": {"schedule": "cosine"}}, "drops: at replaces schedule: cosine"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**settings)


def test_a_schedule_of_the_suite() -> None:
    cosine = Recipe(epochs=10, lr=0.1, drops="none", schedule="cosine")
    assert cosine.rate(5, 0, 10) == pytest.approx(0.05)
    rising = Recipe(epochs=10, lr=0.1, warmup_epochs=2)
    assert [rising.rate(epoch, 0, 10) for epoch in (0, 1, 2)] == pytest.approx([0, 0.05, 0.1])
    boundary = Recipe(epochs=10, lr=0.1)
    assert [boundary.rate(6, step, 10) for step in (0, 1)] == pytest.approx([0.1, 0.01])
