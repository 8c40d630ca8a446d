"""One-class novelty detection by transformations: reference values, the score by hand, training, clear errors."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import Net, problem, run
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.training import Training
from reprood.methods import ss_one_class as method
from reprood.methods.ss_one_class import Config

ROTNET, BOTH, ALL = ("rotation",), ("rotation", "translation"), ("rotation", "translation", "resize")
SHORT = Training(epochs=2, batch_size=16, lr=0.1, augment="none", monitor_every=2)


def oriented(count: int, size: int = 8, seed: int = 0) -> ImageSet:
    """Dark images with one bright corner, the same in all, so that rotations and translations can be recognised."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, 1, size, size)).astype(np.uint8)
    images[:, :, 1 : size // 2, 1:3] += 180
    return ImageSet(torch.from_numpy(images), torch.zeros(count, dtype=torch.int64))


def one_class(count: int = 32, **changes: object) -> Problem:
    validation = oriented(24, seed=1)
    sets = {"train": oriented(count), "validation": validation, "monitor": {"validation": validation}}
    return replace(problem(16, classes=1), **{**sets, **changes})


def trained(heads: tuple[str, ...], tmp_path: Path, **settings: object) -> tuple[torch.nn.Module, Config, list[dict]]:
    config = Config(training=SHORT, heads=heads, **settings)
    model, rows = method.train(one_class(), config, run(tmp_path))
    return model, config, rows


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    return {key: value.detach().numpy().tobytes() for key, value in model.state_dict().items()}


@pytest.mark.golden
def test_loss_reference() -> None:
    arrays = load("ss_ood", "one_class")
    logits = torch.from_numpy(arrays["train_logits"].copy()).requires_grad_()
    loss = method.heads_cross_entropy(logits, torch.from_numpy(arrays["train_targets"]), Config())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(arrays["train_loss"]), abs=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), arrays["train_grad"], rtol=0, atol=1e-5)


@pytest.mark.golden
def test_score_reference() -> None:
    arrays = load("ss_ood", "one_class")
    codes = method.transformations(Config())
    pixels = np.unique(np.abs(arrays["test_configs"][:, 0])).max()
    values = np.array([0, -pixels, pixels])
    ours = np.column_stack([values[codes[:, 0]], values[codes[:, 1]], codes[:, 2]])
    np.testing.assert_array_equal(ours, arrays["test_configs"])
    logits = torch.from_numpy(arrays["test_logits"])
    actual = sum(
        method.applied_probability(part, code.expand(part.shape[0], -1), Config())
        for part, code in zip(logits, codes, strict=True)
    )
    np.testing.assert_allclose(-actual.numpy(), arrays["test_scores"], rtol=0, atol=1e-5)
    count = int(arrays["n_in"])
    auroc = (actual[:count, None] > actual[None, count:]).double().mean()
    assert float(auroc) == pytest.approx(float(arrays["auroc"]), abs=1e-5)


def by_hand(image: np.ndarray, code: tuple[int, ...], pixels: int) -> np.ndarray:
    """One image [C, H, W]: enlarged pixel by pixel, moved by looking up the mirrored place, turned by numpy."""
    side = image.shape[1]
    if code[3]:
        large = round(side * 300 / 224)
        start = round((large - side) / 2)
        places = np.clip((np.arange(large) + 0.5) * side / large - 0.5, 0, side - 1)[start : start + side]
        low, share = np.floor(places).astype(int), places - np.floor(places)
        high = np.minimum(low + 1, side - 1)
        rows = image[:, low] * (1 - share)[:, None] + image[:, high] * share[:, None]
        image = rows[:, :, low] * (1 - share) + rows[:, :, high] * share
    right, down = ((0, -pixels, pixels)[c] for c in code[:2])
    moved = np.empty_like(image)
    for i, j in product(range(side), range(side)):
        source = [abs(i - down), abs(j - right)]
        source = [2 * (side - 1) - s if s >= side else s for s in source]
        moved[:, i, j] = image[:, source[0], source[1]]
    return np.rot90(moved, code[2], (1, 2))


@pytest.mark.parametrize("heads", [ROTNET, BOTH, ALL])
def test_score_against_a_loop(heads) -> None:
    """Every transformation of every image alone, the whole network in evaluation mode, probabilities by hand."""
    config, pixels = Config(heads=heads), 2
    torch.manual_seed(0)
    model = method.build(config, Net(1), 1).eval()
    with torch.no_grad():
        model.heads.weight.mul_(4)
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    moves, zooms = (range(3) if "translation" in heads else (0,)), (range(2) if "resize" in heads else (0,))
    expected = []
    for image in images.numpy().astype(np.float64):
        total = 0.0
        for x, y, r, z in product(moves, moves, range(4), zooms):
            shown = torch.from_numpy(by_hand(image, (x, y, r, z), pixels).copy()).float()
            outputs = np.exp(model.heads(model.features(shown[None])).detach().double().numpy()[0])
            start = 0
            for answer, size, head in (
                (x, 3, "translation"),
                (y, 3, "translation"),
                (r, 4, "rotation"),
                (z, 2, "resize"),
            ):
                if head in heads:
                    total += outputs[start + answer] / outputs[start : start + size].sum()
                    start += size
        expected.append(total)
    actual = method.scores(model, images, config, {})
    assert list(actual) == ["transformations"]
    assert actual["transformations"].dtype == torch.float64
    np.testing.assert_allclose(actual["transformations"].numpy(), expected, rtol=1e-5)
    alone = method.scores(model, images[:1], config, {})["transformations"]
    np.testing.assert_allclose(alone.numpy(), expected[:1], rtol=1e-5)


@pytest.mark.parametrize("heads", [ROTNET, BOTH, ALL])
def test_transformed_by_hand(heads) -> None:
    config = Config(heads=heads)
    codes = method.transformations(config)
    assert len(codes) == {ROTNET: 4, BOTH: 36, ALL: 72}[heads] == len(set(map(tuple, codes.tolist())))
    assert len(method.placements(config)) == len(codes) // 4
    images = torch.rand(len(codes), 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    actual = method.transformed(images, codes, config)
    for image, code, ours in zip(images.numpy(), codes.tolist(), actual.numpy(), strict=True):
        np.testing.assert_allclose(ours, by_hand(image, code, 3), atol=1e-12)
    assert torch.equal(actual[0], images[0])


def test_all_turns() -> None:
    images, codes = torch.arange(2 * 9.0).view(2, 1, 3, 3), torch.tensor([[1, 2, 0, 0], [0, 1, 0, 1]])
    turned, known = method.all_turns(images, codes)
    assert turned.shape == (8, 1, 3, 3)
    for i in range(4):
        assert torch.equal(turned[2 * i : 2 * i + 2], torch.rot90(images, i, (2, 3)))
        assert known[2 * i].tolist() == [1, 2, i, 0]
        assert known[2 * i + 1].tolist() == [0, 1, i, 1]
    assert codes.tolist() == [[1, 2, 0, 0], [0, 1, 0, 1]]


def test_perfect_and_blind_networks() -> None:
    codes = method.transformations(Config())
    sure = torch.cat([functional.one_hot(codes[:, c], n) for c, n in ((0, 3), (1, 3), (2, 4))], 1) * 50.0
    assert float(method.applied_probability(sure, codes, Config()).sum()) == pytest.approx(108)
    assert float(method.applied_probability(torch.zeros(36, 10), codes, Config()).sum()) == pytest.approx(33)
    assert float(method.heads_cross_entropy(sure, codes, Config())) == pytest.approx(0, abs=1e-12)
    chance = (2 * np.log(3) + np.log(4)) / 3
    assert float(method.heads_cross_entropy(torch.zeros(36, 10), codes, Config())) == pytest.approx(chance)
    assert float(method.heads_to_uniform(torch.zeros(36, 10), Config())) == pytest.approx(chance)
    assert float(method.heads_to_uniform(sure, Config())) > chance


class Recorder(torch.nn.Module):
    """A network that keeps what it is shown."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = Net(1), []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.detach().clone())
        return self.inner(images)


@pytest.mark.parametrize(("sampling", "items"), [("every", 5 * 9), ("random", 5)])
def test_what_an_epoch_shows(tmp_path, sampling, items) -> None:
    """`every`: each image under each placement and turn once an epoch; `random`: under four turns of one placement."""
    training = SHORT.model_copy(update={"epochs": 1, "batch_size": 7})
    config = Config(training=training, sampling=sampling)
    task = one_class(5, backbone=Recorder)
    model, _ = method.train(task, config, run(tmp_path))
    shown = torch.cat(model.backbone.seen)
    assert len(shown) == 4 * items
    normalised = (task.train.images.double().numpy() / 255 - 0.4) / 0.2
    versions = {
        (row, *code): by_hand(image, code, 2)
        for row, image in enumerate(normalised)
        for code in product(range(3), range(3), range(4), (0,))
    }
    actual = []
    for image in shown.double().numpy():
        actual += [key for key, version in versions.items() if np.allclose(image, version, atol=1e-5)]
    assert len(actual) == len(set(actual)) == 4 * items
    for row in range(5):
        mine = [key for key in actual if key[0] == row]
        assert len(mine) == 4 * items // 5
        assert {key[3] for key in mine} == {0, 1, 2, 3}
        assert sampling == "every" or len({key[1:3] for key in mine}) == 1


def test_codes_belong_to_what_is_shown(tmp_path, monkeypatch) -> None:
    """The codes that the loss is given are those of the images that the network is given."""
    pairs: list[tuple[Tensor, Tensor]] = []
    original = method.all_turns

    def spy(images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        pairs.append(original(images, codes))
        return pairs[-1]

    monkeypatch.setattr(method, "all_turns", spy)
    config = Config(training=SHORT.model_copy(update={"epochs": 1}), heads=ALL, sampling="random")
    task = one_class(4, monitor={})
    method.train(task, config, run(tmp_path))
    normalised = (task.train.images.double().numpy() / 255 - 0.4) / 0.2
    for shown, codes in pairs:
        for image, code in zip(shown.double().numpy(), codes.tolist(), strict=True):
            assert any(np.allclose(image, by_hand(one, code, 2), atol=1e-5) for one in normalised)


@pytest.mark.parametrize("sampling", ["every", "random"])
@pytest.mark.parametrize("heads", [ROTNET, BOTH, ALL])
def test_training_learns_and_tells_novel_images(tmp_path, heads, sampling) -> None:
    many = 1 if sampling == "every" and heads != ROTNET else 6
    training = Training(epochs=5 * many, batch_size=16, lr=0.1, augment="none", monitor_every=30)
    config = Config(training=training, heads=heads, sampling=sampling)
    model, rows = method.train(one_class(48), config, run(tmp_path))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert set(rows[-1]) == {"phase", "epoch", "lr", "train_loss", "validation_transformation_error"}
    own = (oriented(20, seed=5).images / 255 - 0.4) / 0.2
    novel = (torch.randint(0, 240, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255 - 0.4) / 0.2
    inside, outside = (method.scores(model, images, config, {})["transformations"] for images in (own, novel))
    assert float((inside[:, None] > outside).double().mean()) > 0.8
    assert model(own).shape == (20, 1)
    assert bool((model(own) == 0).all())
    assert model.linear_head() is None
    assert model.features(own).shape == (20, 8)


def test_bf16_is_close_to_fp32(tmp_path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = Config(training=SHORT, heads=ALL)
        _, rows = method.train(one_class(), config, run(tmp_path / precision, precision=precision))
        losses.append(rows[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_outliers_pull_towards_uniform(tmp_path) -> None:
    strange = ImageSet(torch.randint(0, 240, (40, 1, 8, 8), dtype=torch.uint8), torch.full((40,), -1))
    images = (strange.images / 255 - 0.4) / 0.2
    training = Training(epochs=3, batch_size=16, lr=0.1, augment="none")
    sums = {}
    for weight in (0.0, 2.0):
        config = Config(training=training, outlier_weight=weight)
        task = one_class(48, auxiliary={"strange": strange})
        model, _ = method.train(task, config, run(tmp_path / str(weight)))
        logits = model.transformation_logits(images).detach()
        sums[weight] = float(method.heads_to_uniform(logits, config))
    chance = (2 * np.log(3) + np.log(4)) / 3
    assert chance < sums[2.0] < sums[0.0]


def test_outlier_loss_is_the_sum_of_its_parts(tmp_path) -> None:
    """With outliers equal to the class's images, and rotation alone, both parts are seen in the first loss."""
    task = one_class(16, auxiliary={"same": oriented(1)})
    training = SHORT.model_copy(update={"epochs": 1, "lr": 1e-9})
    losses = {}
    for weight in (1e-12, 1.0, 3.0):
        config = Config(training=training, heads=ROTNET, outlier_weight=weight, outliers="same")
        _, rows = method.train(task, config, run(tmp_path / str(weight)))
        losses[weight] = rows[0]["train_loss"]
    part = (losses[3.0] - losses[1.0]) / 2
    assert losses[1.0] - losses[1e-12] == pytest.approx(part, rel=1e-4)
    assert part > np.log(4) - 1e-6


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("sampling", "weight", "stop_at"), [("every", 0.0, 5), ("random", 0.5, 2), ("random", 0.5, 3)])
def test_stopped_anywhere_ends_in_the_same_bits(tmp_path, monkeypatch, sampling, weight, stop_at) -> None:
    from reprood.engine import state as module

    training = SHORT.model_copy(update={"augment": "crop_flip", "crop_padding": 1})
    config = Config(training=training, heads=ALL, sampling=sampling, outlier_weight=weight)
    task = one_class(auxiliary={"strange": oriented(9, seed=8)})
    whole, history = method.train(task, config, run(tmp_path / "whole"))
    original, left = module.save_checkpoint, [stop_at]

    def save(path: Path, record: dict) -> None:
        original(path, record)
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(module, "save_checkpoint", save)
    job = run(tmp_path / "stopped", checkpoint_seconds=0)
    with pytest.raises(Stopped):
        method.train(task, config, job)
    monkeypatch.undo()
    again, rows = method.train(task, config, job)
    assert bits(again) == bits(whole)
    assert rows == history
    assert job.log[0]["resumed"] > 0


def test_illustrations_are_transformed_and_repeat(tmp_path) -> None:
    images = torch.rand(12, 1, 8, 8)
    first, second = (method.illustrate(images, Config(), torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == images.shape
    assert not any(torch.equal(a, b) for a, b in zip(first, images, strict=True))


@pytest.mark.parametrize("sampling", ["every", "random"])
def test_labels_of_several_classes_are_not_used(tmp_path, sampling: str) -> None:
    """As in CSI's Table 2, which trains on CIFAR-10 without labels."""
    task, config = problem(16), Config(training=SHORT, sampling=sampling)
    other = replace(task, train=ImageSet(task.train.images, task.train.labels.flip(0)))
    first, second = (method.train(one, config, run(tmp_path / name))[0] for name, one in (("a", task), ("b", other)))
    assert task.classes == 3
    assert bits(first) == bits(second)
    images = torch.rand(2, *task.train.images.shape[1:])
    assert torch.equal(first(images), torch.zeros(2, 3))


def test_errors(tmp_path) -> None:
    config = Config(training=SHORT, outlier_weight=0.5)
    with pytest.raises(ReproodError, match=r"needs one auxiliary set; the benchmark has none\."):
        method.train(one_class(), config, run(tmp_path))
    two = one_class(auxiliary={"a": oriented(4), "b": oriented(4)})
    with pytest.raises(ReproodError, match=r"has a, b\. Set 'outliers'"):
        method.train(two, config, run(tmp_path))
    with pytest.raises(ReproodError, match="the auxiliary set 'c'"):
        method.train(two, config.model_copy(update={"outliers": "c"}), run(tmp_path))


@pytest.mark.parametrize("heads", [(), ("translation",), ("rotation", "rotation"), ("rotation", "zoom")])
def test_wrong_heads(heads) -> None:
    with pytest.raises(ValueError, match="heads"):
        Config(heads=heads)


def test_defaults_are_the_papers() -> None:
    config = Config()
    training = config.training
    assert (config.heads, config.sampling, config.shift, config.outlier_weight) == (BOTH, "every", 56 / 224, 0)
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (5, 64, 0.1, 5e-4)
    assert (training.momentum, training.nesterov, training.schedule) == (0.9, True, "cosine_step")
    assert training.final_lr == pytest.approx(1e-5 * training.lr)
    outputs = {heads: method.build(Config(heads=heads), Net(1), 1).heads.out_features for heads in (ROTNET, BOTH, ALL)}
    assert outputs == {ROTNET: 4, BOTH: 10, ALL: 12}
