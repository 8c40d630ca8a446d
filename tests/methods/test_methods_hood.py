"""HOOD and Outlier Exposure: reference values, the penalty by hand, training, resuming, clear errors."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from golden_files import load
from reprood.engine import schedules
from reprood.engine.batches import Batch
from reprood.engine.outliers import first_row, outlier_rows, outlier_set
from reprood.engine.problem import Problem
from reprood.engine.training import Training
from reprood.errors import ReproodError
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.variants import oe_fpr
from reprood.methods import hood, oe
from reprood.methods.oe_loss import oe_loss
from tiny_problem import Net, image_set, problem, run

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1, drop_last=True, monitor_every=2)


def tensor(array: np.ndarray, **options: object) -> Tensor:
    return torch.from_numpy(np.array(array)).requires_grad_(bool(options.get("grad")))


def with_outliers(count: int = 40, **changes: object) -> Problem:
    return replace(problem(48, **changes), auxiliary={"outliers": image_set(count, seed=9)})


def batch(epoch: int = 0, step: int = 0) -> Batch:
    index = torch.arange(4)
    return Batch(torch.zeros(4, 1, 8, 8), index, index, torch.Generator().manual_seed(3), epoch, step, 0.0)


@pytest.mark.golden
def test_hsic_reference() -> None:
    stored = load("hood", "hsic_rbf")
    cases = sorted(int(key.split("_")[1]) for key in stored if key.startswith("hsic_"))
    assert cases
    for case in cases:
        sigma = float(stored[f"sigma_{case}"])
        if np.isnan(sigma):  # a bandwidth from the data, which HOOD does not use
            continue
        x, y = (tensor(stored[f"{name}_{case}"], grad=True) for name in "XY")
        rough = 1e-3 if x.dtype == torch.float32 and len(x) >= 128 else 1e-4 if x.dtype == torch.float32 else 1e-8
        kernel = stored[f"K_{case}"]
        np.testing.assert_allclose(hood.gaussian_kernel(x, sigma).detach().numpy()[: len(kernel)], kernel, rtol=rough)
        value = hood.hsic(x, y, sigma)
        np.testing.assert_allclose(value.detach().numpy(), stored[f"hsic_{case}"], rtol=rough)
        value.backward()
        for name, found in (("X", x.grad), ("Y", y.grad)):
            wanted = stored[f"grad{name}_{case}"]
            np.testing.assert_allclose(found.numpy(), wanted, rtol=rough, atol=rough * np.abs(wanted).max())


@pytest.mark.golden
def test_loss_reference() -> None:
    stored = load("hood", "hood_loss")
    logits, features = tensor(stored["logits"], grad=True), tensor(stored["feat"], grad=True)
    labels, count = tensor(stored["labels"]), int(stored["n_in"])
    cross_entropy = functional.cross_entropy(logits[:count], labels)
    factor = float(stored["hsic_scale"]) * float(stored["hsic_weight"])
    term = hood.penalty(features[:count], features[count:], float(stored["tau"]), factor)
    (cross_entropy + term).backward()
    for found, name in ((cross_entropy, "ce"), (term, "hsic_term"), (cross_entropy + term, "total_hood")):
        np.testing.assert_allclose(found.detach().numpy(), stored[name], rtol=1e-8)
    for grad, name in ((logits.grad, "grad_logits_hood"), (features.grad, "grad_feat_hood")):
        np.testing.assert_allclose(grad.numpy(), stored[name], rtol=1e-8, atol=1e-8 * np.abs(stored[name]).max())
    again = tensor(stored["logits"], grad=True)
    total = oe_loss(again[:count], labels, again[count:], float(stored["oe_weight"]))
    total.backward()
    np.testing.assert_allclose(total.detach().numpy(), stored["total_oe"], rtol=1e-8)
    np.testing.assert_allclose(again.grad.numpy(), stored["grad_logits_oe"], rtol=1e-8, atol=1e-12)


@pytest.mark.golden
def test_score_reference() -> None:
    stored = load("hood", "cor_score")
    classes = len(stored["class_means"])
    means = hood.class_means(tensor(stored["feat_train"]), tensor(stored["labels_train"]), classes)
    np.testing.assert_allclose(means.numpy(), stored["class_means"], atol=1e-9)
    for part in ("test", "ood"):
        found = hood.correlation(tensor(stored[f"feat_{part}"]), means)
        np.testing.assert_allclose(-found.numpy(), stored[f"cor_anomaly_{part}"], rtol=1e-9, atol=1e-9)
    score_id, score_ood = -stored["cor_anomaly_test"], -stored["cor_anomaly_ood"]
    found = detection_metrics(score_id, score_ood)
    assert found["auroc"] == pytest.approx(float(stored["cor_auroc"]), abs=1e-9)
    assert found["aupr_out"] == pytest.approx(float(stored["cor_aupr"]), abs=1e-9)
    assert oe_fpr(score_id, score_ood) == pytest.approx(float(stored["cor_fpr95"]), abs=1e-9)


@pytest.mark.golden
def test_schedule_and_offset_references() -> None:
    stored = load("hood", "lr_schedule")
    for case in range(int(stored["n_cases"])):
        total, base = float(stored[f"total_{case}"]), float(stored["base_lr"])
        found = [schedules.cosine(base, float(step) / total, 1e-6) for step in stored[f"step_{case}"]]
        np.testing.assert_allclose(found, stored[f"lr_{case}"], atol=1e-12)
    stored = load("hood", "outlier_offset")
    epochs = int(stored["epochs"])
    found = [first_row(int(stored["n_outliers"]), epochs, epoch) for epoch in range(epochs)]
    assert found == stored["offset"].tolist()


@pytest.mark.golden
def test_metric_references() -> None:
    stored = load("hood", "metrics")
    for case in range(int(stored["n_cases"])):
        inside, outside = -stored[f"id_{case}"], -stored[f"ood_{case}"]
        found = detection_metrics(inside, outside)
        assert found["auroc"] == pytest.approx(float(stored[f"auroc_{case}"]), abs=1e-12)
        assert found["aupr_out"] == pytest.approx(float(stored[f"aupr_{case}"]), abs=1e-12)
        assert oe_fpr(inside, outside) == pytest.approx(float(stored[f"fpr95_{case}"]), abs=1e-12)


def slow_hsic(x: np.ndarray, y: np.ndarray, sigma: float) -> float:
    count = len(x)
    centre = np.eye(count) - np.ones((count, count)) / count

    def kernel(rows: np.ndarray) -> np.ndarray:
        return np.array([[np.exp(-np.sum((a - b) ** 2) / (2 * sigma**2)) for b in rows] for a in rows])

    return float(np.trace(kernel(x) @ centre @ kernel(y) @ centre) / (count - 1) ** 2)


def test_hsic_equals_a_slow_formula() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 3)), random.normal(size=(7, 5))
    assert float(hood.hsic(tensor(x), tensor(y), 1.3)) == pytest.approx(slow_hsic(x, y, 1.3), rel=1e-10)


def test_mean_over_all_pairings_is_the_dispersion() -> None:
    """What the penalty does: its expectation knows nothing of pairs (section 3.3 of the specification)."""
    random = np.random.default_rng(1)
    x, y = tensor(random.normal(size=(5, 3))), tensor(random.normal(size=(5, 2)))
    values = [float(hood.hsic(x, y[list(order)], 1.0)) for order in permutations(range(5))]
    assert np.mean(values) == pytest.approx(float(hood.expected_hsic(x, y, 1.0)), rel=1e-10)


def test_hsic_of_constant_features_is_zero() -> None:
    random = tensor(np.random.default_rng(2).normal(size=(6, 3)))
    assert float(hood.hsic(random, torch.ones(6, 3, dtype=torch.float64), 1.0)) == pytest.approx(0, abs=1e-15)


def test_outliers_are_read_in_order_and_wrap_round() -> None:
    rows = outlier_rows(batch(epoch=1, step=2), 20, 8, "sequential", epochs=2)
    assert rows.tolist() == [(10 + 16 + i) % 20 for i in range(8)]
    drawn = outlier_rows(batch(), 20, 500, "random", epochs=2)
    assert set(drawn.tolist()) == set(range(20))
    assert torch.equal(drawn, outlier_rows(batch(), 20, 500, "random", epochs=2))


def test_outlier_sets_by_name() -> None:
    two = replace(problem(), auxiliary={"a": image_set(3), "b": image_set(4)})
    assert len(outlier_set(two, "b", "run")) == 4
    for asked, words in (("", "needs one auxiliary set; the benchmark has a, b"), ("c", "the auxiliary set 'c'")):
        with pytest.raises(ReproodError, match=words):
            outlier_set(two, asked, "run")
    with pytest.raises(ReproodError, match="the benchmark has none"):
        hood.train(problem(), hood.Config(training=SHORT), run(Path("unused")))


@pytest.mark.parametrize("change", [{}, {"outlier_augment": "randaugment", "order": "random", "scale": None}], ids=str)
def test_training_keeps_the_class_means_of_the_final_network(tmp_path: Path, change: dict) -> None:
    task = with_outliers()
    config = hood.Config(training=SHORT, tau=1.0, **change)
    model, rows = hood.train(task, config, run(tmp_path))
    assert len(rows) == 2
    assert np.isfinite([row["train_loss"] for row in rows]).all()
    features = model.features(((task.train.images.float() / 255) - 0.4) / 0.2)
    means = hood.class_means(features, task.train.labels, 3)
    torch.testing.assert_close(model.class_means, means.detach(), rtol=1e-3, atol=1e-4)
    found = hood.scores(model, torch.randn(5, 1, 8, 8), config, {})
    assert set(found) == {"hood_cor"}
    assert found["hood_cor"].shape == (5,)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    fresh = hood.build(config, Net(), 3)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(fresh.class_means, model.class_means)


def test_the_penalty_shrinks_the_spread_of_features(tmp_path: Path) -> None:
    task = with_outliers()
    spread = {}
    for weight in (0.0, 3.0):
        config = hood.Config(
            training=SHORT.model_copy(update={"epochs": 8}), tau=1.0, weight=weight, scale=None, order="random"
        )
        model, _ = hood.train(task, config, run(tmp_path / str(weight)))
        features = model.features(((task.auxiliary["outliers"].images.float() / 255) - 0.4) / 0.2)
        spread[weight] = float(features.detach().std(dim=0).mean())
    assert spread[3.0] < spread[0.0]


class Killed(Exception):
    pass


@pytest.mark.parametrize("which", ["hood", "oe"])
def test_killed_training_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    module = {"hood": hood, "oe": oe}[which]
    config = (
        hood.Config(training=SHORT, outlier_augment="randaugment", order="random", tau=1.0)
        if which == "hood"
        else oe.Config(training=SHORT, pretraining=SHORT)
    )
    task = with_outliers(dropout=0.2)
    whole, expected = module.train(task, config, run(tmp_path / "whole"))
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    inner = functional.cross_entropy
    for survived in (1, 2, 1) if which == "hood" else (1, 6, 2):  # a phase has 6 steps
        left = [survived]

        def dying(*arguments: object, left: list[int] = left, **options: object) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(functional, "cross_entropy", dying)
            module.train(task, config, job)
    resumed, rows = module.train(task, config, job)
    assert rows == expected
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_outlier_exposure_makes_outliers_uniform(tmp_path: Path) -> None:
    task = with_outliers(60)
    confidence = {}
    for weight in (0.0, 2.0):
        config = oe.Config(
            training=SHORT.model_copy(update={"epochs": 15}), pretraining=SHORT, weight=weight, order="random"
        )
        model, rows = oe.train(task, config, run(tmp_path / str(weight)))
        assert {row["phase"] for row in rows} == {"pretrain", "train"}
        logits = model(((task.auxiliary["outliers"].images.float() / 255) - 0.4) / 0.2)
        confidence[weight] = float(torch.softmax(logits.detach(), 1).amax(1).mean())
    assert confidence[2.0] < confidence[0.0]


def test_illustration() -> None:
    images = torch.randn(6, 1, 16, 16)
    assert hood.illustrate(images, hood.Config(), torch.Generator()) is images
    made = hood.illustrate(images, hood.Config(outlier_augment="randaugment"), torch.Generator().manual_seed(0))
    assert made.shape == images.shape
