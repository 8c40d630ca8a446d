"""ReSmooth: reference values of the losses and the batch, the views, the three phases, resuming between and in them."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from golden_files import load
from pydantic import ValidationError
from tiny_problem import Net, problem, run
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.batches import make_inputs
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import normalise
from reprood.methods.resmooth import method as resmooth
from reprood.methods.resmooth.loss import (
    loss_terms,
    objective,
    resmoothed,
    smoothed,
    weighted_p,
)
from reprood.methods.resmooth.method import Config, Smoothed
from reprood.methods.resmooth.mixture import Mixture, fit_mixture
from reprood.nets.classifier import Classifier

SMALL = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1)
NEGATIVE = ("rotate", "jigsaw", "blur")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cases(name: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = load("resmooth", name)
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        yield {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).requires_grad_()


def pictures(count: int = 8, channels: int = 3, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, channels, size, size), generator=generator(seed)).to(torch.uint8)


# --- reference values ---


@pytest.mark.golden
def test_smoothing_reference() -> None:
    for get in cases("smoothing_losses"):
        labels, p, e = torch.from_numpy(get["y"]), torch.from_numpy(get["p_id"]), float(get["eps"].item())
        own, uniform = loss_terms(torch.from_numpy(get["logits"]), labels)
        np.testing.assert_allclose(own, get["nll"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(uniform, get["uniform"], rtol=0, atol=1e-9)
        np.testing.assert_allclose((1 - p) * e, get["sls_smooth"], rtol=0, atol=1e-9)
        for name in ("ls", "sls"):
            logits = leaf(get["logits"])
            loss = (smoothed(logits, labels, e) if name == "ls" else resmoothed(logits, labels, p, e)).mean()
            loss.backward()
            assert float(loss.detach()) == pytest.approx(float(get[f"{name}_loss"].item()), abs=1e-9)
            np.testing.assert_allclose(logits.grad.numpy(), get[f"{name}_grad"], rtol=0, atol=1e-9)


@pytest.mark.golden
def test_batch_reference() -> None:
    for get in cases("batch_objective"):
        weak, strong, labels = (torch.from_numpy(get[name]) for name in ("x_ori", "x_aug", "y"))
        share, count = float(get["prob"].item()), resmooth.weak_count(len(weak), float(get["prob"].item()))
        assert count == int(get["n_ori"].item())
        # The views are stood in for by pictures of the stored ones: composed() is given rows, not images.
        rows = torch.arange(len(weak)).view(-1, 1, 1, 1)
        composed = resmooth.make_composed(
            lambda part, _, weak=weak: weak[part.flatten()],
            lambda part, _, strong=strong: strong[part.flatten()],
            share,
        )
        assert torch.equal(composed(rows, generator()), torch.from_numpy(get["x_in"]))
        p = torch.from_numpy(get["p_id_aug"])
        if not int(get["use_gmm"].item()):
            p = torch.zeros(len(weak) - count)
        weighting = "reverse" if int(get["reverse"].item()) else "regular"
        logits = leaf(get["logits"])
        total, first, second = objective(
            logits,
            labels,
            weighted_p(p, count, weighting, generator()),
            count,
            share=share,
            smoothing=float(get["eps_aug"].item()),
            weak_smoothing=float(get["eps_org"].item()),
            plain_weak=weighting == "regular",
        )
        total.backward()
        for ours, name in ((total, "loss"), (first, "loss_org"), (second, "loss_aug")):
            assert float(ours.detach()) == pytest.approx(float(get[name].item()), abs=1e-6)
        np.testing.assert_allclose(logits.grad.numpy(), get["grad"], rtol=0, atol=1e-6)


# --- the losses ---


@pytest.mark.parametrize("form", ["code", "normalised"])
def test_losses_against_a_loop(form) -> None:
    logits = 3 * torch.randn(7, 5, generator=generator(), dtype=torch.float64)
    labels, e = torch.tensor([0, 1, 2, 3, 4, 0, 1]), 0.4
    p = torch.tensor([0.0, 1.0, 0.5, 0.2, 0.9, 0.4, 0.7], dtype=torch.float64)
    slow = []
    for row, label, chance in zip(logits.tolist(), labels.tolist(), p.tolist(), strict=True):
        logarithms = [value - np.log(sum(np.exp(row))) for value in row]
        own, uniform, amount = -logarithms[label], -sum(logarithms) / 5, (1 - chance) * e
        slow.append((1 - e if form == "code" else 1 - amount) * own + amount * uniform)
    np.testing.assert_allclose(resmoothed(logits, labels, p, e, form), slow, rtol=0, atol=1e-12)


def test_special_cases_of_the_losses() -> None:
    logits, labels = torch.randn(6, 4, generator=generator(), dtype=torch.float64), torch.arange(6) % 4
    plain = functional.cross_entropy(logits, labels, reduction="none")
    ones, zeros = torch.ones(6), torch.zeros(6)
    for e in (0.0, 0.3):
        smooth = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=e)
        torch.testing.assert_close(smoothed(logits, labels, e), smooth)
        for form in ("code", "normalised"):
            torch.testing.assert_close(resmoothed(logits, labels, zeros, e, form), smooth)
        torch.testing.assert_close(resmoothed(logits, labels, ones, e, "normalised"), plain)
        torch.testing.assert_close(resmoothed(logits, labels, ones, e, "code"), (1 - e) * plain)


def test_no_gradient_flows_through_p() -> None:
    p = torch.full((3,), 0.5, requires_grad=True)
    for form in ("code", "normalised"):
        resmoothed(torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 1, 0]), p, 0.4, form).sum().backward()
    assert p.grad is None


def test_empty_parts_count_nothing() -> None:
    logits, labels, p = torch.randn(4, 3, generator=generator()), torch.tensor([0, 1, 2, 0]), torch.rand(4)
    total, first, second = objective(logits, labels, p, 0, share=0.0, smoothing=0.2)
    assert float(first) == 0.0
    assert torch.equal(total, second)
    total, first, second = objective(logits, labels, p, 4, share=1.0, smoothing=0.2)
    assert float(second) == 0.0
    torch.testing.assert_close(total, functional.cross_entropy(logits, labels))


def test_weightings() -> None:
    p = torch.tensor([0.1, 0.9, 0.6], dtype=torch.float64)
    assert weighted_p(p, 2, "regular", generator()).tolist() == [1, 1, 0.1, 0.9, 0.6]
    assert weighted_p(p, 1, "reverse", generator()).tolist() == pytest.approx([0, 0.9, 0.1, 0.4])
    mixed = weighted_p(p, 3, "random", generator(1))
    assert sorted(mixed.tolist()) == [0.1, 0.6, 0.9, 1, 1, 1]
    assert mixed.tolist() != [1, 1, 1, 0.1, 0.9, 0.6]
    drawn = weighted_p(torch.zeros(4000), 0, "uniform", generator())
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)


def test_subset_rows() -> None:
    p = torch.tensor([0.9, 0.1, 0.5, 0.8, 0.2, 0.7])
    assert resmooth.subset_rows(p, "id").tolist() == [0, 2]
    assert resmooth.subset_rows(p, "ood").tolist() == [1, 4]
    assert resmooth.subset_rows(p, "mixed").tolist() == [0, 1]
    for subset in ("id", "ood", "mixed"):
        assert len(resmooth.subset_rows(torch.ones(5), subset)) == 0


# --- the views ---


def weak_of(seed: int = 0, channels: int = 3):
    task = problem(channels=channels, size=32)
    return make_inputs(task, Training(augment="none"), run(None)), task  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strong", ["randaugment", "severe", *NEGATIVE, "none"])
def test_strong_view(strong, channels) -> None:
    weak, task = weak_of(channels=channels)
    config = Config(strong=strong, magnitude=8, mixture=False, cutout=8)
    images = pictures(12, channels)
    before = images.clone()
    first, second, other = (resmooth.make_strong(weak, config)(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    plain = normalise(images, task.mean, task.std)
    assert first.shape == plain.shape
    # Cutout is a hole of zeros in every normalised image, whatever came before.
    holes = (first == 0).all(1).flatten(1).sum(1)
    assert int(holes.min()) >= 16
    if channels == 3:  # a grey level can be the mean of its channel
        assert int(holes.max()) <= 64
    if strong == "none":
        assert torch.equal(first[first != 0], plain[first != 0])


def test_order_of_the_augmentations() -> None:
    """RandAugment comes before the crop, whose border then stays black; jigsaw comes after it and moves the border."""
    task = problem(channels=3, size=32)
    weak = make_inputs(task, Training(crop_padding=4), run(None))  # type: ignore[arg-type]
    black = normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), task.mean, task.std)
    images = torch.full((400, 3, 32, 32), 90, dtype=torch.uint8)
    view = resmooth.make_strong(weak, Config(operations=1, magnitude=30))(images, generator())
    inverted = normalise(torch.full((1, 3, 1, 1), 165, dtype=torch.uint8), task.mean, task.std)
    dark = torch.isclose(view, black).all(1)
    turned = torch.isclose(view, inverted).all(1)
    rows = turned.flatten(1).any(1) & dark.flatten(1).any(1)
    assert int(rows.sum()) > 5
    assert bool((dark | turned)[rows].all())
    view = resmooth.make_strong(weak, Config(strong="jigsaw", mixture=False))(images, generator())
    dark = torch.isclose(view, black).all(1)
    inner = dark[:, 12:20, 12:20].flatten(1).any(1)
    assert int(inner.sum()) > 100


def test_composed_batches() -> None:
    def stamped(value: float):
        return lambda images, rng: torch.full((len(images), 1, 2, 2), value) + 0 * torch.rand(1, generator=rng)

    for size, share, count in ((256, 0.6, 153), (256, 0.2, 51), (7, 0.6, 4), (5, 0.0, 0), (5, 1.0, 5)):
        composed = resmooth.make_composed(stamped(0.0), stamped(1.0), share)(pictures(size, 1, 2), generator())
        assert composed[:, 0, 0, 0].tolist() == [0.0] * count + [1.0] * (size - count)


def test_illustration_shows_the_strong_view() -> None:
    images = normalise(pictures(6), (0.5,) * 3, (0.2,) * 3)
    shown = resmooth.illustrate(images, Config(), generator())
    assert shown.shape == images.shape
    assert float(shown.amin()) >= float(images.amin()) - 1e-4
    assert float(shown.amax()) <= float(images.amax()) + 1e-4
    assert not torch.equal(shown, images)
    turned = resmooth.illustrate(images, Config(strong="rotate", mixture=False), generator())
    matches = [torch.isclose(turned, torch.rot90(images, k, (2, 3)), atol=1e-4).flatten(1).all(1) for k in (1, 2, 3)]
    assert bool(torch.stack(matches).any(0).all())


# --- configuration ---


def test_defaults_are_the_codes() -> None:
    config = Config()
    training = config.training
    assert (config.operations, config.magnitude, config.cutout, config.weak_share, config.smoothing) == (
        2,
        28,
        0,
        0,
        0.4,
    )
    assert (config.form, config.weighting, config.mixture, config.baseline) == ("code", "regular", True, None)
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (200, 256, 0.1, 5e-4)
    assert (training.momentum, training.nesterov, training.drop_last) == (0.9, True, True)
    rates = [training.rate(epoch, 0, 100) for epoch in range(200)]
    np.testing.assert_allclose(rates[:8], [0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.1, 0.1], atol=1e-5)
    assert rates[-1] == pytest.approx(3.02e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strong": "rotate"}, "mixture to false"),
        ({"mixture": False, "weighting": "reverse"}, "need the mixture"),
        ({"mixture": False, "subset": "id"}, "need the mixture"),
        ({"subset": "ood", "weak_share": 0.2}, "weak_share to 0"),
        ({"strong": "severe"}, "up to 10"),
        ({"smoothing": 1.0}, "less than 1"),
        ({"magnitude": 31}, "30"),
        ({"rho": 0.2}, "rho"),
    ],
)
def test_impossible_settings_are_refused(values, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**values)


# --- training ---


def test_three_phases(tmp_path, monkeypatch) -> None:
    """f_D is trained on weak views, the mixture is that of its log-losses, f_D' starts from its own initialisation."""
    task = problem(48, size=12)
    seen = []

    def spy(model, data, training, job, weak, strong):
        seen.append(model)
        return losses(model, data, training, job, weak, strong)

    losses = resmooth.training_log_losses
    monkeypatch.setattr(resmooth, "training_log_losses", spy)
    model, rows = resmooth.train(task, Config(training=SMALL), run(tmp_path))
    assert isinstance(model, Smoothed)
    assert not model.training
    assert [row["phase"] for row in rows] == ["baseline"] * 2 + ["train"] * 2
    assert {"baseline_validation_error", "baseline_test_error"} < set(rows[0])
    assert "test_error" not in rows[1]
    assert {"validation_error", "test_error"} < set(rows[2])

    job = run(tmp_path / "again")
    with seeded(job.seed("baseline initialisation")):
        plain = Classifier(Net(), 3)
    resmooth.fit(
        plain,
        lambda network, batch: functional.cross_entropy(network(batch.images), batch.labels),
        task.train,
        SMALL,
        job,
        problem=task,
        phase="baseline",
    )
    for ours, theirs in zip(seen[0].state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    weak = make_inputs(task, SMALL, job)
    pooled = losses(plain, task.train, SMALL, job, weak, resmooth.make_strong(weak, Config(training=SMALL)))
    assert len(pooled) == 96
    expected = fit_mixture(pooled)
    np.testing.assert_allclose(model.mixture, [expected.means, expected.variances, expected.weights], rtol=1e-12)
    last = rows[1]
    assert (last["id_mean"], last["ood_mean"]) == expected.means
    assert (last["id_variance"], last["ood_weight"]) == (expected.variances[0], expected.weights[1])
    assert last["mixture_collapsed"] == int(expected.collapsed)


def test_first_step_against_the_formulas(tmp_path, monkeypatch) -> None:
    """One step with two weak and six strong views: what the network was given and what its loss was."""
    task, config = problem(8, size=12), Config(training=SMALL.model_copy(update={"batch_size": 8}), weak_share=0.25)
    teacher = Classifier(Net(), 3).eval()
    mixture = Mixture((-2.0, 0.2), (0.3, 0.1), (0.4, 0.6))
    monkeypatch.setattr(resmooth, "train_baseline", lambda *_: (teacher, [{}]))
    monkeypatch.setattr(resmooth, "fit_mixture", lambda _: mixture)
    found = []

    def stop(model, loss, data, training, job, *, inputs, **_):
        rng = generator(3)
        images = inputs(data.images, rng)
        batch = resmooth.Batch(images, data.labels, torch.arange(8), rng, 0, 0, 0.0)
        model.eval()
        found.append((images, float(loss(model, batch).detach()), model(images).detach()))
        return []

    monkeypatch.setattr(resmooth, "fit", stop)
    resmooth.train(task, config, run(tmp_path))
    images, value, logits = found[0]
    weak = make_inputs(task, config.training, run(tmp_path))
    rng = generator(3)
    expected = weak(task.train.images[:2], rng)
    assert torch.equal(images[:2], expected)
    assert torch.equal(images[2:], resmooth.make_strong(weak, config)(task.train.images[2:], rng))
    labels, e = task.train.labels, config.smoothing
    logarithms = logits.log_softmax(1)
    own, uniform = -logarithms[torch.arange(8), labels], -logarithms.mean(1)
    z = torch.log(functional.cross_entropy(teacher(images[2:]), labels[2:], reduction="none") + 1e-10).double()
    heights = [
        w / v**0.5 * torch.exp(-0.5 * (z - m) ** 2 / v)
        for m, v, w in zip(mixture.means, mixture.variances, mixture.weights, strict=True)
    ]
    p = heights[0] / (heights[0] + heights[1])
    strong = ((1 - e) * own[2:] + (1 - p) * e * uniform[2:]).mean()
    assert value == pytest.approx(float((0.25 * own[:2].mean() + 0.75 * strong).detach()), rel=1e-5)


@pytest.mark.parametrize("subset", ["id", "ood", "mixed"])
def test_a_subset_learns_from_chosen_images_and_normalises_all(tmp_path, monkeypatch, subset) -> None:
    """As in the code: all strong views pass through the network, and then the predictions are indexed."""
    training = SMALL.model_copy(update={"batch_size": 8})
    task, config = problem(8, size=12), Config(training=training, subset=subset, smoothing=0.0)
    teacher = Classifier(Net(), 3).eval()
    monkeypatch.setattr(resmooth, "train_baseline", lambda *_: (teacher, [{}]))
    monkeypatch.setattr(resmooth, "fit_mixture", lambda _: Mixture((-2.0, 0.2), (0.3, 0.1), (0.4, 0.6)))
    monkeypatch.setattr(resmooth, "subset_rows", lambda p, which: torch.tensor([1, 4, 6]))
    seen = []

    def stop(model, loss, data, training, job, *, inputs, **_):
        images = inputs(data.images, generator(3))
        batch = resmooth.Batch(images, data.labels, torch.arange(8), generator(4), 0, 0, 0.0)

        def network(inner):
            seen.append(len(inner))
            return model(inner)

        norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
        model.train()
        value = float(loss(network, batch).detach())
        statistics = norm.running_mean.clone()
        norm.reset_running_stats()
        logits = model(images)
        assert torch.equal(norm.running_mean, statistics)
        chosen = torch.tensor([1, 4, 6])
        plain = functional.cross_entropy(logits[chosen], data.labels[chosen])
        assert value == pytest.approx(float(plain.detach()), rel=1e-6)
        return []

    monkeypatch.setattr(resmooth, "fit", stop)
    resmooth.train(task, config, run(tmp_path))
    assert seen == [8]


def test_the_loss_is_a_float32_in_a_bf16_run(tmp_path) -> None:
    _, rows = resmooth.train(problem(48, size=12), Config(training=SMALL), run(tmp_path, precision="bf16"))
    sums = [torch.tensor(3 * row["train_loss"], dtype=torch.float64) for row in rows]
    assert all(float(value.bfloat16()) != float(value) for value in sums)


def test_without_a_mixture_there_is_one_phase(tmp_path) -> None:
    model, rows = resmooth.train(
        problem(48, size=12), Config(training=SMALL, mixture=False, smoothing=0.0), run(tmp_path)
    )
    assert [row["phase"] for row in rows] == ["train"] * 2
    assert not model.mixture.any()
    assert not (tmp_path / "baseline.checkpoint").exists()


def test_weak_views_alone_are_plain_training(tmp_path) -> None:
    """rho = 1 and no mixture: bit for bit the plain classifier of the same recipe."""
    from reprood.methods import erm

    task = problem(48, size=12)
    config = Config(training=SMALL, mixture=False, weak_share=1.0, strong="none")
    ours, _ = resmooth.train(task, config, run(tmp_path / "a"))
    theirs, _ = erm.train(task, erm.Config(training=SMALL), run(tmp_path / "b"))
    torch.testing.assert_close(ours.head.weight, theirs.head.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.backbone.conv.weight, theirs.backbone.conv.weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"weighting": "reverse", "weak_share": 0.3},
        {"weighting": "random"},
        {"weighting": "uniform", "form": "normalised"},
        {"subset": "id"},
        {"subset": "ood"},
        {"strong": "severe", "magnitude": 5},
        {"baseline": SMALL.model_copy(update={"epochs": 1})},
        *({"strong": strong, "mixture": False, "weak_share": 0.6, "cutout": 4} for strong in NEGATIVE),
    ],
    ids=str,
)
def test_every_arm_trains(tmp_path, change, precision) -> None:
    model, rows = resmooth.train(
        problem(50, size=12, channels=3), Config(training=SMALL, **change), run(tmp_path, precision=precision)
    )
    assert np.isfinite(rows[-1]["train_loss"])
    assert torch.isfinite(model(torch.zeros(2, 3, 12, 12))).all()


@pytest.mark.parametrize("size", [28, 64])
def test_other_sizes(tmp_path, size) -> None:
    training = SMALL.model_copy(update={"epochs": 1})
    _, rows = resmooth.train(problem(32, size=size), Config(training=training), run(tmp_path))
    assert np.isfinite(rows[-1]["train_loss"])


def test_training_learns(tmp_path) -> None:
    training = Training(epochs=8, batch_size=16, lr=0.1, crop_padding=1, monitor_every=8)
    for change in ({"strong": "none", "cutout": 3}, {"strong": "rotate", "mixture": False}):
        config = Config(training=training, smoothing=0.2, **change)
        _, rows = resmooth.train(problem(96, size=12), config, run(tmp_path / change["strong"]))
        assert rows[-1]["validation_error"] < 40


def test_an_empty_subset_changes_nothing_but_decay(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resmooth, "subset_rows", lambda p, subset: torch.arange(0))
    training = SMALL.model_copy(update={"weight_decay": 0.0})
    model, rows = resmooth.train(problem(32), Config(training=training, subset="id"), run(tmp_path))
    with seeded(run(tmp_path).seed("initialisation")):
        start = Smoothed(Net(), 3)
    assert torch.equal(model.head.weight, start.head.weight)
    assert rows[-1]["train_loss"] == 0.0


def test_a_collapsed_mixture_is_logged(tmp_path, monkeypatch, caplog) -> None:
    inner = resmooth.training_log_losses

    def with_zeros(*arguments) -> Tensor:
        losses = 0.01 * inner(*arguments)
        losses[0] = -23.03
        return losses

    monkeypatch.setattr(resmooth, "training_log_losses", with_zeros)
    with caplog.at_level(logging.WARNING):
        _, rows = resmooth.train(problem(96), Config(training=SMALL), run(tmp_path))
    assert "the mixture has collapsed" in caplog.text
    assert "bench/method/0" in caplog.text
    assert rows[1]["mixture_collapsed"] == 1


class Killed(Exception):
    pass


@pytest.mark.parametrize("change", [{"weak_share": 0.2, "cutout": 4}, {"weighting": "random"}], ids=str)
def test_killed_training_ends_in_the_same_bits(tmp_path, monkeypatch, change) -> None:
    """Killed within f_D's phase, between the phases (in the mixture) and within the last phase."""
    task = problem(50, size=12, dropout=0.2)
    config = Config(training=SMALL, **change)
    whole, expected = resmooth.train(task, config, run(tmp_path / "whole"))

    def mortal(module, name: str, survived: int):
        inner, left = getattr(module, name), [survived]

        def dying(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments, **options)

        return dying

    # A phase has 8 steps. What dies is the n-th call of a function: f_D's loss, the mixture, the last phase's loss.
    deaths = (
        (functional, "cross_entropy", 3),
        (functional, "cross_entropy", 2),
        (resmooth, "fit_mixture", 0),
        (resmooth, "log_losses", 3),
        (resmooth, "objective", 3),
        (resmooth, "objective", 2),
    )
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    for module, name, survived in deaths:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module, name, mortal(module, name, survived))
            resmooth.train(task, config, job)
    resumed, rows = resmooth.train(task, config, job)
    assert rows == expected
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_model_survives_storage(tmp_path) -> None:
    model, _ = resmooth.train(problem(32), Config(training=SMALL), run(tmp_path))
    fresh = resmooth.build(Config(), Net(), 3)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.mixture, model.mixture)
    images = torch.randn(4, 1, 8, 8, generator=generator())
    weight, bias = fresh.eval().linear_head()
    torch.testing.assert_close(fresh(images), fresh.features(images) @ weight.T + bias)
    assert isinstance(fresh, nn.Module)
