"""DIAS: its steps against slow references, its ablations, trainings, and one that is killed."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_problem import Net, problem, run, save_benchmark, settings
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.engine.optimizers import SGD, Adam
from reprood.engine.problem import Problem
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.dias import method as dias
from reprood.methods.dias.dcgan import Discriminator, Generator
from reprood.methods.dias.method import Config, initial_networks, train, train_networks
from reprood.methods.dias.net import GENERATED, REAL, Dias, StagedClassifier
from reprood.methods.dias.step import (
    Adversaries,
    Weights,
    copycat_step,
    gan_step,
    real_loss,
    smoothed_cross_entropy,
)
from reprood.nets.staged import build

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1)
TINY = Config(training=SHORT, gan_width=2, noise=5)


def task(count: int = 40, channels: int = 1) -> Problem:
    return replace(problem(count, size=8, channels=channels), backbone=lambda: build(channels, width=2))


def classifier(seed: int = 0, dropout: float = 0.0) -> StagedClassifier:
    with seeded(seed):
        return StagedClassifier(build(1, width=2, dropout=dropout), 3).double()


def sgd(net: nn.Module) -> SGD:
    return SGD([{"params": list(net.parameters()), "weight_decay": 0.0}], 0.0, False)


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double(), torch.tensor([0, 1, 2, 0, 1, 2])


def adversaries() -> Adversaries:
    with seeded(5):
        generator, discriminator = Generator(5, 1, 8, 2).double(), Discriminator(1, 8, 2).double()
    return Adversaries(generator, discriminator, Adam(generator.parameters()), Adam(discriminator.parameters()), 1e-3)


def noise() -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, 6, 5, 1, 1, generator=torch.Generator().manual_seed(2)).double()
    return first, second


def bits(net: nn.Module) -> list[bytes]:
    return [value.detach().contiguous().numpy().tobytes() for value in net.state_dict().values()]


# --- losses ---


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_smoothed_cross_entropy_written_out(smoothing) -> None:
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = torch.tensor(row).exp().sum().log()
        for k, value in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / 4
            total -= target * float(value - log_sum)
    assert float(smoothed_cross_entropy(logits, labels, smoothing)) == pytest.approx(total / 5, abs=1e-5)
    other = smoothed_cross_entropy(logits, labels.flip(0), smoothing)
    assert bool(torch.isclose(other, smoothed_cross_entropy(logits, labels, smoothing))) == (smoothing == 1)
    assert smoothed_cross_entropy(logits.bfloat16(), labels).dtype == torch.float32


def test_real_loss_is_binary_cross_entropy() -> None:
    odds = torch.tensor([-3.0, 0.0, 2.0, 200.0])
    p = odds.double().sigmoid()[:3]
    assert float(real_loss(odds[:3], True)) == pytest.approx(float(-p.log().mean()), rel=1e-5)
    assert float(real_loss(odds[:3], False)) == pytest.approx(float(-(1 - p).log().mean()), rel=1e-5)
    assert float(real_loss(odds, False)) > 49  # where 1 - p is 0, it is still finite
    assert torch.isfinite(real_loss(odds, False))


# --- steps ---


def test_the_classifiers_loss_in_the_copycats_pass() -> None:
    net, copycat, (images, labels) = classifier(0), classifier(1), batch()
    weights = Weights(smoothing=0.3, fake_smoothing=0.8, fake_ratio=0.7)
    found = copycat_step(net, sgd(net), copycat, sgd(copycat), images, labels, 0.05, weights, nullcontext)
    fakes = found["easy"] + found["hard_first"] + found["hard_second"]
    torch.testing.assert_close(found["loss"], found["cross_entropy"] + 0.7 * fakes / 3)
    # by hand: the copycat after its step, in evaluation mode, and the classifier as it was
    reference = classifier(0)
    first, second, features = copycat.eval().outputs(images)
    reference.train()
    own = smoothed_cross_entropy(reference(images), labels)
    torch.testing.assert_close(found["cross_entropy"], own)
    expected = {
        "hard_first": smoothed_cross_entropy(reference.logits_from(first, 1), labels, 0.3),
        "hard_second": smoothed_cross_entropy(reference.logits_from(second, 2), labels, 0.3),
        "easy": smoothed_cross_entropy(reference.head(features), labels, 0.8),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    (own + 0.7 * sum(expected.values()) / 3).backward()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.detach(), theirs.detach() - 0.05 * theirs.grad)


def test_the_copycat_is_pulled_to_the_classifier() -> None:
    net, copycat, (images, labels) = classifier(0).eval(), classifier(1), batch()
    with torch.no_grad():
        goals = net.outputs(images)[:2]
        maps = classifier(1).train().outputs(images)
    found = copycat_step(net, sgd(net), copycat, sgd(copycat), images, labels, 0.05, Weights(), nullcontext)
    gaps = [(own - goal).abs().mean() for own, goal in zip(maps[:2], goals, strict=True)]
    torch.testing.assert_close(found["copycat_pull"].detach(), (gaps[0] + gaps[1]) / 2)
    for _ in range(40):
        after = copycat_step(
            net, sgd(net), copycat, sgd(copycat), images, labels, 0.05, Weights(pull_ratio=20.0), nullcontext
        )
    assert float(after["copycat_pull"].detach()) < 0.7 * float(found["copycat_pull"].detach())


def test_modes_and_statistics_in_the_copycats_pass() -> None:
    """The classifier's own statistics of stages 2 and 3 are moved by the copycat's maps, those of stage 1 are not."""
    net, copycat, (images, labels) = classifier(0), classifier(1), batch()
    copycat_step(net, sgd(net), copycat, sgd(copycat), images, labels, 0.05, Weights(), nullcontext)
    counts = [[int(unit.norms[REAL].num_batches_tracked) for unit in stage.units] for stage in net.backbone.stages]
    assert counts == [[1] * 3, [2] * 3, [3] * 3]
    assert {int(unit.norms[REAL].num_batches_tracked) for s in copycat.backbone.stages for unit in s.units} == {1}
    for each in (net, copycat):
        used = {int(unit.norms[GENERATED].num_batches_tracked) for s in each.backbone.stages for unit in s.units}
        assert used == {0}


def test_the_gan_pass_written_out() -> None:
    net, rivals, (images, labels) = classifier(), adversaries(), batch()
    weights = Weights(beta=0.4, fake_smoothing=0.9)
    found = gan_step(net, sgd(net), rivals, images, labels, noise(), 0.05, weights, nullcontext)
    # by hand, with networks of their own
    reference, other = classifier().train(), adversaries()
    generator, discriminator = other.generator, other.discriminator
    fakes = generator(noise()[0])
    real = -discriminator(images).sigmoid().log().mean()
    fake = -(1 - discriminator(fakes.detach()).sigmoid()).log().mean()
    torch.testing.assert_close(found["discriminator_real"], real)
    torch.testing.assert_close(found["discriminator_fake"], fake)
    (real + fake).backward()
    other.discriminator_optimizer.step(1e-3)
    fooled = -discriminator(fakes).sigmoid().log().mean()
    uniform = smoothed_cross_entropy(reference(fakes, GENERATED), labels, 0.9)
    torch.testing.assert_close(found["generator_adversarial"], fooled)
    torch.testing.assert_close(found["generator_uniform"], uniform)
    gradients = torch.autograd.grad(fooled - 0.4 * uniform, list(generator.parameters()))
    for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
        parameter.grad = gradient
    other.generator_optimizer.step(1e-3)
    assert bits(rivals.generator)[0] == bits(generator)[0]
    with torch.no_grad():
        again = generator(noise()[1])
    loss = smoothed_cross_entropy(reference(images), labels)
    loss = loss + 0.4 * smoothed_cross_entropy(reference(again, GENERATED), labels, 0.9)
    torch.testing.assert_close(found["loss"], loss)
    reference.zero_grad()
    loss.backward()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach() - 0.05 * theirs.grad)
    for ours, theirs in zip(rivals.discriminator.parameters(), discriminator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_generator_looks_for_images_of_which_the_classifier_is_sure() -> None:
    """With a large weight its uniform-target loss rises from step to step; the classifier stays."""
    net, rivals, (images, labels) = classifier(), adversaries(), batch()
    values = []
    for _ in range(30):
        found = gan_step(net, sgd(net), rivals, images, labels, noise(), 0.0, Weights(beta=50.0), nullcontext)
        values.append(float(found["generator_uniform"].detach()))
    assert values[-1] > values[0]


def test_the_norms_of_generated_images_keep_moving_in_the_copycat_pass() -> None:
    """Momentum and weight decay continue in both kinds of step without generated images, as with zero gradients."""
    images, labels = batch()
    rate, momentum, decay = 0.05, 0.9, 0.01
    for plain in (False, True):
        net, copycat = classifier(), classifier(1)
        optimizer = SGD([{"params": list(net.parameters()), "weight_decay": decay}], momentum, False)
        weight = net.backbone.stages[1].units[0].norms[GENERATED].weight
        before = weight.detach().clone()
        gan_step(net, optimizer, adversaries(), images, labels, noise(), rate, Weights(), nullcontext)
        between = weight.detach().clone()
        velocity = momentum * (before - between) / rate + decay * between
        if plain:
            dias.plain_step(net, optimizer, images, labels, rate, nullcontext, all_norms=True)
        else:
            copycat_step(
                net, optimizer, copycat, sgd(copycat), images, labels, rate, Weights(), nullcontext, all_norms=True
            )
        torch.testing.assert_close(weight.detach(), between - rate * velocity)
        assert not torch.equal(weight, between)


@pytest.mark.parametrize(
    ("levels", "learn", "moves"),
    [
        (("easy", "moderate", "hard"), True, True),
        (("moderate",), True, True),
        (("easy", "hard"), True, False),
        (("easy", "moderate", "hard"), False, False),
    ],
)
def test_norms_of_generated_images_move_only_if_they_are_trained(tmp_path, levels, learn, moves) -> None:
    config = TINY.model_copy(update={"levels": levels, "learn": learn})
    _, networks, _ = train_networks(task(), config, run(tmp_path))
    first = initial_networks(task(), config, run(tmp_path)).classifier.backbone.stages[1].units[0].norms[GENERATED]
    last = networks.classifier.backbone.stages[1].units[0].norms[GENERATED]
    assert torch.equal(first.weight, last.weight) != moves


def test_without_learning_the_fakes_leave_no_trace() -> None:
    """Parameters and statistics are those of cross-entropy alone, dropout or not."""
    images, labels = batch()
    plain, watched = classifier(dropout=0.3), classifier(dropout=0.3)
    rivals, copycat = adversaries(), classifier(1, dropout=0.3)
    for _ in range(2):
        torch.manual_seed(0)
        dias.plain_step(plain, sgd(plain), images, labels, 0.05, nullcontext)
        torch.manual_seed(0)
        gan_step(
            watched, sgd(watched), rivals, images, labels, noise(), 0.05, Weights(), nullcontext, learn=False
        )  # no dropout is drawn before the classifier's own step
    assert bits(plain) == bits(watched)
    found = copycat_step(
        watched, sgd(watched), copycat, sgd(copycat), images, labels, 0.05, Weights(), nullcontext, learn=False
    )
    assert set(found) == {"loss", "copycat_cross_entropy", "copycat_pull", "cross_entropy"}
    assert int(watched.backbone.stages[2].units[0].norms[GENERATED].num_batches_tracked) == 0
    assert int(watched.backbone.stages[2].units[0].norms[REAL].num_batches_tracked) == 3


# --- the method ---


def test_the_papers_values() -> None:
    config = Config()
    rates = [config.training.rate(epoch, 0, 10) for epoch in (0, 59, 60, 119, 120, 179, 180, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
    assert config.weights == Weights(0.5, 1.0, 0.1, 1.0, 0.1)
    assert (config.training.batch_size, config.training.momentum, config.training.nesterov) == (64, 0.9, False)


@pytest.mark.parametrize("channels", [1, 3])
def test_training_is_deterministic(tmp_path, channels) -> None:
    given = task(channels=channels)
    model, rows = train(given, TINY, run(tmp_path / "a"))
    again, same = train(given, TINY, run(tmp_path / "b"))
    other, _ = train(given, TINY, run(tmp_path / "c", root_seed=8))
    assert rows == same
    assert bits(model) == bits(again) != bits(other)
    expected = {
        "phase", "epoch", "lr", "train_loss", "discriminator_real", "discriminator_fake", "generator_adversarial",
        "generator_uniform", "gan_cross_entropy", "moderate", "copycat_cross_entropy", "copycat_pull",
        "cross_entropy", "hard_first", "hard_second", "easy", "validation_error", "test_error",
    }  # fmt: skip
    assert set(rows[-1]) == expected
    assert not model.training


@pytest.mark.parametrize(
    ("levels", "networks", "losses"),
    [
        ((), (False, False), set()),
        (("easy",), (True, False), {"easy"}),
        (("hard",), (True, False), {"hard_first", "hard_second"}),
        (("moderate",), (False, True), {"moderate"}),
        (("easy", "hard"), (True, False), {"easy", "hard_first", "hard_second"}),
    ],
)
def test_ablations_train_what_they_need(tmp_path, levels, networks, losses) -> None:
    config = TINY.model_copy(update={"levels": levels})
    _, found, rows = train_networks(task(), config, run(tmp_path))
    assert (found.copycat is not None, found.generator is not None) == networks
    assert (found.discriminator is not None) == networks[1]
    every = {"easy", "hard_first", "hard_second", "moderate"}
    assert every & set(rows[0]) == losses


def test_without_levels_it_is_cross_entropy_as_often(tmp_path) -> None:
    """With and without fakes that are not learnt from, up to the draws of dropout; here there is none."""
    given = replace(task(), backbone=lambda: build(1, width=2, dropout=0.0))
    plain, rows = train(given, TINY.model_copy(update={"levels": ()}), run(tmp_path / "a"))
    watched, _, seen = train_networks(given, TINY.model_copy(update={"learn": False}), run(tmp_path / "b"))
    assert bits(plain) == bits(watched)
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in seen]


def test_networks_have_weights_of_their_own(tmp_path) -> None:
    found = initial_networks(task(), TINY, run(tmp_path))
    assert not torch.equal(found.classifier.head.weight, found.copycat.head.weight)
    alone = initial_networks(task(), TINY.model_copy(update={"levels": ()}), run(tmp_path))
    assert bits(alone.classifier) == bits(found.classifier)


def test_the_model_takes_the_normalisation_back(tmp_path) -> None:
    given = task(channels=3)
    model, networks, _ = train_networks(given, TINY, run(tmp_path))
    raw = given.validation.images.float() / 255
    normalised = (raw - torch.tensor(given.mean).view(1, 3, 1, 1)) / torch.tensor(given.std).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(normalised), networks.classifier(raw), rtol=1e-4, atol=1e-5)
        weight, bias = model.linear_head()
        torch.testing.assert_close(model.features(normalised) @ weight.T + bias, model(normalised))
        torch.testing.assert_close(model.maps(normalised).mean((2, 3)), model.features(normalised))
    stored = dias.build(TINY, build(3, width=2), given.classes).eval()
    stored.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(stored(normalised), model(normalised))


def test_training_images_are_not_normalised(tmp_path, monkeypatch) -> None:
    seen = []
    inner = dias.gan_step

    def spy(net, optimizer, rivals, images, *rest, **more):
        seen.append((float(images.min()), float(images.max())))
        return inner(net, optimizer, rivals, images, *rest, **more)

    monkeypatch.setattr(dias, "gan_step", spy)
    train(task(), TINY, run(tmp_path))
    assert all(low >= 0 and high <= 1 for low, high in seen)
    assert max(high for _, high in seen) > 0.7


def test_bf16_agrees_with_fp32_at_first(tmp_path) -> None:
    short = TINY.model_copy(update={"training": SHORT.model_copy(update={"epochs": 1})})
    found = [train(task(), short, run(tmp_path / p, precision=p))[1][0] for p in ("fp32", "bf16")]
    for name in ("train_loss", "discriminator_real", "moderate", "easy", "hard_first", "copycat_pull"):
        assert found[1][name] == pytest.approx(found[0][name], rel=0.05), name
    assert found[0]["train_loss"] != found[1]["train_loss"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": ["easy", "easy"]}, "not name a level twice"),
        ({"levels": ["harder"]}, "levels"),
        ({"smoothing": 1.5}, "smoothing"),
        ({"gan_betas": [0.5, 1.0]}, "gan_betas"),
        ({"training": {"ema": 0.9}}, "training.ema"),
        ({"fakes": 3}, "fakes"),
    ],
)
def test_wrong_settings(change, words) -> None:
    with pytest.raises(ValueError, match=words):
        Config.model_validate(change)


def test_networks_and_images_that_do_not_fit(tmp_path) -> None:
    with pytest.raises(ReproodError, match="name: staged"):
        dias.build(TINY, Net(), 3)
    odd = replace(problem(20, size=7), backbone=lambda: build(1, width=2))
    with pytest.raises(ReproodError, match="7 pixels"):
        train(odd, TINY, run(tmp_path))
    assert isinstance(dias.build(TINY, build(1, width=2), 3), Dias)


def trainer(tmp_path: Path, record: dict, name: str, kills: int) -> int:
    script = Path(__file__).parents[2] / "support" / "kill_trainer.py"
    folders = [str(tmp_path / part) for part in ("data", f"out_{name}", f"state_{name}")]
    command = [sys.executable, str(script), json.dumps(record), *folders, str(kills), "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=120)
    return int(done.stdout)


@pytest.mark.parametrize("precision", ["bf16"])
@pytest.mark.slow
def test_killed_three_times_ends_in_the_same_bits(tmp_path, precision) -> None:
    save_benchmark(tmp_path / "data", count=96)
    record = {**settings("dias", epochs=4, batch_size=16), "precision": precision}
    record["settings"] |= {"gan_width": 2, "noise": 5}
    record["backbone"] = {"name": "staged", "width": 2}
    assert trainer(tmp_path, record, "whole", kills=0) == 0
    assert trainer(tmp_path, record, "killed", kills=3) == 3
    for file in ("model.safetensors", "model.json", "history.csv"):
        assert sha256_file(tmp_path / "out_whole" / file) == sha256_file(tmp_path / "out_killed" / file), file
    phases = [json.loads((tmp_path / f"out_{n}" / "run.json").read_text())["phases"] for n in ("whole", "killed")]
    assert phases[0][0]["resumed"] == 0
    assert phases[1][0]["resumed"] > 1
