"""HOOD: reference values of HSIC, loss, score and schedule; what HSIC's mean over pairings is; training and storing."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import load
from pydantic import ValidationError
from tiny_problem import Net, arrays, image_set, problem, run, save_benchmark, settings
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.data.arrays import save_split
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.evaluate import variants
from reprood.evaluate.metrics import detection_metrics
from reprood.images import randaugment as real
from reprood.methods import hood
from reprood.methods.hood import Config
from reprood.methods.oe import oe_loss
from reprood.train.run import load_model, train_run

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1, drop_last=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=generator(seed), dtype=torch.float64)


def with_outliers(count: int = 50, **changes: object) -> Problem:
    return replace(problem(count, **changes), auxiliary={"letters": image_set(70, seed=5)})


def close(ours: Tensor, theirs: np.ndarray, rtol: float = 1e-8, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=rtol, atol=atol)


# --- reference values ---


@pytest.mark.golden
def test_hsic_reference() -> None:
    golden = load("hood", "hsic_rbf")
    compared = 0
    for i in range(int(golden["n_cases"])):
        sigma = float(golden[f"sigma_{i}"])
        if math.isnan(sigma):
            continue  # a bandwidth from the data: the code's class has it, HOOD does not use it
        compared += 1
        first, second = (torch.from_numpy(golden[f"{side}_{i}"]).requires_grad_() for side in "XY")
        kernel = hood.gaussian_kernel(first, sigma)
        close(kernel[: len(golden[f"K_{i}"])], golden[f"K_{i}"])
        value = hood.hsic(first, second, sigma)
        value.backward()
        close(value, golden[f"hsic_{i}"])
        close(first.grad, golden[f"gradX_{i}"])
        close(second.grad, golden[f"gradY_{i}"])
        single = hood.hsic(first.detach().float(), second.detach().float(), sigma)
        close(single, golden[f"hsic_{i}"], rtol=1e-3)
    assert compared


@pytest.mark.golden
def test_loss_reference() -> None:
    golden = load("hood", "hood_loss")
    inside, tau = int(golden["n_in"]), float(golden["tau"])
    factor = float(golden["hsic_scale"]) * float(golden["hsic_weight"])
    logits, rows = (torch.from_numpy(golden[name]).requires_grad_() for name in ("logits", "feat"))
    labels = torch.from_numpy(golden["labels"])
    total = hood.hood_loss(logits[:inside], labels, rows[:inside], rows[inside:], tau, factor)
    total.backward()
    close(total, golden["total_hood"])
    close(logits.grad, golden["grad_logits_hood"])
    close(rows.grad, golden["grad_feat_hood"])
    close(hood.penalty(rows[:inside], rows[inside:], tau, factor), golden["hsic_term"])
    close(functional.cross_entropy(logits[:inside], labels), golden["ce"])
    for half, name in zip(rows[inside:].chunk(2), ("hsic_first", "hsic_second"), strict=True):
        close(hood.hsic(half, rows[:inside], tau), golden[name])
    other = logits.detach().requires_grad_()
    exposed = oe_loss(other[:inside], labels, other[inside:], float(golden["oe_weight"]))
    exposed.backward()
    close(exposed, golden["total_oe"])
    close(other.grad, golden["grad_logits_oe"])


@pytest.mark.golden
def test_score_reference() -> None:
    golden = load("hood", "cor_score")
    classes = len(golden["class_means"])
    means = hood.mean_features(
        torch.from_numpy(golden["feat_train"]), torch.from_numpy(golden["labels_train"]), classes
    )
    close(means, golden["class_means"], rtol=0, atol=1e-9)
    found: dict[str, list[np.ndarray]] = {"cor": [], "msp": []}
    for split in ("test", "ood"):
        rows = torch.from_numpy(golden[f"feat_{split}"])
        found["cor"].append(hood.correlation(rows, means).numpy())
        logits = rows.numpy() @ golden["W"].T + golden["b"]
        found["msp"].append(torch.from_numpy(logits).softmax(1).amax(1).numpy())
        for score in ("cor", "msp"):
            np.testing.assert_allclose(-found[score][-1], golden[f"{score}_anomaly_{split}"], rtol=1e-9, atol=1e-9)
    for score, (inside, outside) in found.items():
        metrics = detection_metrics(inside, outside)
        assert metrics["auroc"] == pytest.approx(float(golden[f"{score}_auroc"]), abs=1e-9)
        assert metrics["aupr_out"] == pytest.approx(float(golden[f"{score}_aupr"]), abs=1e-9)
        assert variants.oe_fpr(inside, outside) == pytest.approx(float(golden[f"{score}_fpr95"]), abs=1e-9)


@pytest.mark.golden
def test_metrics_reference() -> None:
    golden = load("hood", "metrics")
    for i in range(int(golden["n_cases"])):
        inside, outside = -golden[f"id_{i}"], -golden[f"ood_{i}"]
        metrics = detection_metrics(inside, outside)
        assert metrics["auroc"] == pytest.approx(float(golden[f"auroc_{i}"]), abs=1e-12)
        assert metrics["aupr_out"] == pytest.approx(float(golden[f"aupr_{i}"]), abs=1e-12)
        assert variants.oe_fpr(inside, outside) == pytest.approx(float(golden[f"fpr95_{i}"]), abs=1e-12)


@pytest.mark.golden
def test_schedule_reference() -> None:
    golden = load("hood", "lr_schedule")
    training = Config().training.model_copy(update={"lr": float(golden["base_lr"]), "epochs": 1})
    for i in range(int(golden["n_cases"])):
        total = int(golden[f"total_{i}"])
        ours = [training.rate(0, step, total) for step in golden[f"step_{i}"].tolist()]
        np.testing.assert_allclose(ours, golden[f"lr_{i}"], rtol=0, atol=1e-12)


# --- HSIC ---


def slow_hsic(first: np.ndarray, second: np.ndarray, sigma: float) -> float:
    """From sums over entries: tr(K H L H) = sum of K L - 2 / N sum of row sums + product of sums / N^2."""
    count = len(first)

    def kernel(rows: np.ndarray, i: int, j: int) -> float:
        return math.exp(-sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)) / (2 * sigma**2))

    both = cross = total_k = total_l = 0.0
    for i in range(count):
        row_k = row_l = 0.0
        for j in range(count):
            k, m = kernel(first, i, j), kernel(second, i, j)
            both, row_k, row_l = both + k * m, row_k + k, row_l + m
        cross, total_k, total_l = cross + row_k * row_l, total_k + row_k, total_l + row_l
    return (both - 2 * cross / count + total_k * total_l / count**2) / (count - 1) ** 2


@pytest.mark.parametrize(("rows", "first", "second", "sigma"), [(2, 3, 3, 1.0), (7, 4, 2, 0.7), (12, 1, 6, 3.0)])
def test_hsic_against_loops(rows, first, second, sigma) -> None:
    x, y = features(rows, first), features(rows, second, 1)
    expected = slow_hsic(x.numpy(), y.numpy(), sigma)
    assert float(hood.hsic(x, y, sigma)) == pytest.approx(expected, rel=1e-10)
    assert float(hood.hsic(y, x, sigma)) == pytest.approx(expected, rel=1e-10)


def test_hsic_of_constant_features_is_zero_with_finite_gradients() -> None:
    x, y = torch.ones(6, 3, dtype=torch.float64, requires_grad=True), features(6, 3)
    value = hood.hsic(x, y, 2.0)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-15)
    assert bool(x.grad.isfinite().all())


def test_hsic_of_dependent_features_is_above_its_mean_over_pairings() -> None:
    x = features(40, 3)
    kernel = hood.gaussian_kernel(x, 1.0)
    assert float(hood.kernel_hsic(kernel, kernel)) > 3 * float(hood.expected_hsic(kernel, kernel))


@pytest.mark.parametrize("rows", [2, 3, 5, 6])
def test_mean_over_all_pairings(rows) -> None:
    k, m = hood.gaussian_kernel(features(rows, 3), 1.5), hood.gaussian_kernel(features(rows, 4, 1), 2.5)
    values = []
    for order in itertools.permutations(range(rows)):
        values.append(float(hood.kernel_hsic(k, m[list(order)][:, list(order)])))
    assert float(hood.expected_hsic(k, m)) == pytest.approx(np.mean(values), rel=1e-12)


def test_penalty_pairs_both_halves() -> None:
    x, outliers = features(5, 3), features(10, 3, 1)
    expected = 25 / 2 * (hood.hsic(outliers[:5], x, 2.0) + hood.hsic(outliers[5:], x, 2.0))
    torch.testing.assert_close(hood.penalty(x, outliers, 2.0, 25.0), expected)


def test_penalty_shrinks_the_spread_of_both_sets() -> None:
    """Following the penalty's gradient alone, with new pairs in every step, draws both sets of features together."""
    sets, rng = [features(16, 4).requires_grad_(), features(32, 4, 1).requires_grad_()], generator(5)
    before = [float(part.detach().std(dim=0).mean()) for part in sets]
    for _ in range(300):
        order = torch.randperm(32, generator=rng)
        gradients = torch.autograd.grad(hood.penalty(sets[0], sets[1][order], 2.0, 256.0), sets)
        with torch.no_grad():
            for part, gradient in zip(sets, gradients, strict=True):
                part -= 0.02 * gradient
    after = [float(part.detach().std(dim=0).mean()) for part in sets]
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]


def test_kernels_are_computed_in_fp32_in_a_bf16_training(tmp_path, monkeypatch) -> None:
    """The penalty of a step is that of the network's features in fp32 arithmetic, and it is in fp32 itself."""
    seen = []
    inner = hood.penalty

    def watched(first: Tensor, outliers: Tensor, tau: float, factor: float) -> Tensor:
        value = inner(first, outliers, tau, factor)
        with torch.autocast("cpu", enabled=False):
            expected = inner(first.float(), outliers.float(), tau, factor)
        seen.append((first.dtype, outliers.dtype, value.dtype, torch.equal(value, expected)))
        return value

    monkeypatch.setattr(hood, "penalty", watched)
    hood.train(with_outliers(), Config(training=SHORT, scale=None), run(tmp_path, precision="bf16"))
    assert set(seen) == {(torch.float32, torch.float32, torch.float32, True)}


# --- settings ---


def test_defaults_are_the_scripts() -> None:
    config, training = Config(), Config().training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (100, 128, 0.1, 5e-4)
    assert (training.nesterov, training.momentum, training.schedule, training.final_lr) == (
        True,
        0.9,
        "cosine_step",
        1e-6,
    )
    assert (config.weight, config.tau, config.scale, config.order) == (1.0, 5.0, 16384.0, "sequential")
    assert (config.operations, config.magnitude, config.translate_limit) == (4, 10.0, None)
    assert training.steps(50000) == 390
    assert config.factor() == Config(scale=None).factor() == 128**2
    assert Config(scale=None, weight=0.5, training=SHORT).factor() == 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": Training(drop_last=False)}, "drop_last must be true"),
        ({"training": Training(batch_size=1, drop_last=True)}, "2 or more"),
        ({"tau": 0.0}, "greater than 0"),
        ({"outlier_augment": "cutout"}, "'randaugment'"),
    ],
)
def test_impossible_settings(change, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**change)


def test_errors(tmp_path) -> None:
    with pytest.raises(ReproodError, match=r"bench/method/0.*the benchmark has none"):
        hood.train(problem(50), Config(training=SHORT), run(tmp_path))
    task = with_outliers()
    with pytest.raises(ReproodError, match="'digits'; the benchmark has letters"):
        hood.train(task, Config(training=SHORT, outliers="digits"), run(tmp_path))
    with pytest.raises(ReproodError, match="no training image of class 3"):
        hood.train(replace(task, classes=4), Config(training=SHORT), run(tmp_path))


# --- augmentation of outliers ---


def pictures(count: int = 40, channels: int = 3, size: int = 32) -> Tensor:
    return torch.randint(1, 256, (count, channels, size, size), generator=generator(), dtype=torch.uint8)


def test_kinds_of_augmentation() -> None:
    images = pictures()
    before = images.clone()
    assert torch.equal(hood.augmented(images, Config(outlier_augment="none"), generator()), images)
    plain = hood.augmented(images, Config(), generator())
    same = hood.augmented(images, Config(outlier_augment="randaugment", operations=0), generator())
    strong = [hood.augmented(images, Config(outlier_augment="randaugment"), generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(images, before)
    assert plain.dtype == strong[0].dtype == torch.uint8
    assert not torch.equal(plain, images)
    assert bool((same != 0).any())
    assert torch.equal(strong[0], strong[1])
    assert not torch.equal(strong[0], strong[2])


def test_randaugment_stands_between_crop_and_flip(monkeypatch) -> None:
    calls = []

    def spy(images, table, n, m, rng, *, translate_limit=None):
        calls.append((images, table is real.HOOD_TABLE, n, m, translate_limit))
        return 255 - images

    monkeypatch.setattr(hood, "randaugment", spy)
    images = pictures(6)
    config = Config(outlier_augment="randaugment", translate_limit=0.3)
    made = hood.augmented(images, config, generator())
    (cropped, *arguments) = calls[0]
    assert arguments == [True, 4, 10.0, 0.3]
    assert torch.equal(cropped, hood.random_crop(images, 4, generator()))
    assert all(
        torch.equal(one, 255 - other) or torch.equal(one.flip(-1), 255 - other)
        for one, other in zip(made, cropped, strict=True)
    )


@pytest.mark.parametrize(("limit", "low", "high"), [(None, 0.35, 0.6), (0.3, 0.0, 0.05)])
def test_share_of_images_that_lose_their_content(limit, low, high) -> None:
    """With 4 of 16 operations 1 - (14/16)^4 = 41 % meet a translation that is longer than the image."""
    config = Config(outlier_augment="randaugment", translate_limit=limit)
    made = hood.augmented(pictures(400), config, generator())
    share = float((made.flatten(1).float().std(1) < 1).double().mean())
    # Operations after the translation may paint a flat image, but cannot bring the content back.
    assert low <= share <= high


@pytest.mark.parametrize("channels", [1, 3])
def test_illustration_keeps_the_normalisation(channels) -> None:
    images = (pictures(8, channels, 28).float() / 255 - 0.4) / 0.2
    shown = hood.illustrate(images, Config(outlier_augment="randaugment"), generator())
    assert shown.shape == images.shape
    assert shown.dtype == images.dtype
    assert float(shown.min()) >= float(images.min()) - 1e-5
    assert float(shown.max()) <= float(images.max()) + 1e-5
    untouched = hood.illustrate(images, Config(outlier_augment="none"), generator())
    torch.testing.assert_close(untouched, images, rtol=0, atol=0.05)


# --- network, score, training ---


def test_correlation_against_loops() -> None:
    rows, labels = features(20, 4), torch.arange(20) % 3
    means = hood.mean_features(rows, labels, 3)
    for label in range(3):
        expected = sum(rows[i] for i in range(20) if labels[i] == label) / int((labels == label).sum())
        torch.testing.assert_close(means[label], expected)
    found = hood.correlation(rows, means)
    for i in range(20):
        expected_score = max(abs(sum(a * b for a, b in zip(rows[i], mean, strict=True))) for mean in means)
        assert float(found[i]) == pytest.approx(float(expected_score))
    assert torch.equal(hood.correlation(rows, means.flip(0)), found)


@pytest.mark.parametrize("change", [{}, {"order": "random"}, {"outlier_augment": "randaugment"}, {"weight": 0.0}])
def test_training_learns(tmp_path, change) -> None:
    training = SHORT.model_copy(update={"epochs": 15, "lr": 0.1, "monitor_every": 15})
    task = with_outliers(96) if change.get("weight") != 0 else problem(96)
    model, rows = hood.train(task, Config(training=training, scale=None, **change), run(tmp_path))
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]
    assert rows[-1]["validation_error"] < 40
    assert not model.training
    images = torch.randn(7, 1, 8, 8, generator=generator())
    (score,) = hood.scores(model, images, Config(), {}).values()
    assert score.dtype == torch.float64
    assert not score.requires_grad
    # The means are those of the final network on clean training images.
    clean = (task.train.images / 255 - 0.4) / 0.2
    with torch.no_grad():
        means = hood.mean_features(model.features(clean), task.train.labels, 3)
    torch.testing.assert_close(model.class_means, means.float())


def test_first_step_is_one_joint_forward(tmp_path) -> None:
    """Batch statistics are of the mixture, and the penalty is that of the step's own pairs."""
    task = replace(problem(16), auxiliary={"letters": image_set(50, seed=5)})
    training = Training(epochs=1, batch_size=16, augment="none", drop_last=True)
    config = Config(training=training, outlier_augment="none", scale=None, tau=0.5, weight=2.0)
    job = run(tmp_path)
    _, rows = hood.train(task, config, job)
    with seeded(job.seed("initialisation")):
        model = hood.build(config, Net(), 3).train()
    order = torch.randperm(16, generator=job.generator("train", "order", 0))
    both = torch.cat((task.train.images[order], task.auxiliary["letters"].images[:32]))
    made = model.features((both / 255 - 0.4) / 0.2)
    parts = [2 * 256 / 2 * hood.hsic(half, made[:16], 0.5) for half in made[16:].chunk(2)]
    expected = functional.cross_entropy(model.head(made[:16]), task.train.labels[order]) + sum(parts)
    assert rows[0]["train_loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    assert float(sum(parts).detach()) > 0.01


def test_weight_zero_is_the_plain_classifier(tmp_path) -> None:
    from reprood.methods import erm

    config = Config(training=SHORT, weight=0.0)
    ours, rows = hood.train(problem(50), config, run(tmp_path / "ours"))
    theirs, expected = erm.train(problem(50), erm.Config(training=SHORT), run(tmp_path / "theirs"))
    assert rows == expected
    assert torch.equal(ours.head.weight, theirs.head.weight)


def test_kernels_do_not_depend_on_the_precision(tmp_path, monkeypatch) -> None:
    seen = []
    inner = hood.hood_loss

    def spy(logits, labels, rows, outlier_rows, tau, factor):
        seen.append({logits.dtype, rows.dtype, outlier_rows.dtype, hood.gaussian_kernel(rows, tau).dtype})
        return inner(logits, labels, rows, outlier_rows, tau, factor)

    monkeypatch.setattr(hood, "hood_loss", spy)
    hood.train(with_outliers(), Config(training=SHORT), run(tmp_path, precision="bf16"))
    assert all(kinds == {torch.float32} for kinds in seen)
    assert len(seen) == 2 * 3


class Killed(Exception):
    pass


@pytest.mark.parametrize("change", [{}, {"order": "random", "outlier_augment": "randaugment", "scale": None}])
def test_killed_training_ends_in_the_same_bits(tmp_path, monkeypatch, change) -> None:
    task, config = with_outliers(dropout=0.2), Config(training=SHORT, **change)
    whole, expected = hood.train(task, config, run(tmp_path / "whole"))

    inner = hood.hood_loss
    for survived in (2, 3):
        left = [survived]

        def dying(*arguments, left=left) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(hood, "hood_loss", dying)
            hood.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    resumed, rows = hood.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    assert rows == expected
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_class_means_are_stored_with_the_model(tmp_path: Path) -> None:
    save_benchmark(tmp_path / "data")
    images, labels = arrays(60, 16, 1, 3, 8)
    save_split(tmp_path / "data" / "outliers", images, labels - labels - 1, {}, {"name": "outliers", "split": "train"})
    record = {**settings("hood"), "auxiliary": ["outliers"]}
    train_run(record, data=tmp_path / "data", out=tmp_path / "out", state=tmp_path / "state", device="cpu", threads=1)
    model, meta, method, config = load_model(tmp_path / "out", "cpu")
    assert float(model.class_means.abs().max()) > 0
    stored = np.load(tmp_path / "data" / "train" / "images.npy"), np.load(tmp_path / "data" / "train" / "labels.npy")
    clean = (torch.from_numpy(stored[0]).permute(0, 3, 1, 2) / 255 - meta["mean"][0]) / meta["std"][0]
    data = ImageSet(clean, torch.from_numpy(stored[1]))
    with torch.no_grad():
        means = hood.mean_features(model.features(data.images), data.labels, 3)
    torch.testing.assert_close(model.class_means, means.float(), rtol=1e-4, atol=1e-5)
    (score,) = method.scores(model, data.images[:5], config, {}).values()
    assert score.shape == (5,)
