"""Rivals of the papers' methods: penalties, ARPL, other outliers, AutoAugment and distillation, pre-training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_files import load
from pydantic import ValidationError
from tiny_problem import Net, image_set, problem, run

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.training import Training
from reprood.methods import adversarial_pretraining, energy_oe, hood_mmd, strong_augment
from reprood.methods.arpl import loss as arpl
from reprood.methods.arpl.net import PointClassifier
from reprood.methods.outlier_class import changes
from reprood.methods.outlier_class import method as outlier_class


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=generator(seed), dtype=torch.float64)


# --- MMD ---


def test_mmd_equals_a_plain_sum_over_pairs() -> None:
    first, second = values(5, 3), values(4, 3, seed=1) + 1
    both = torch.cat((first, second))
    pairs = [(a - b).square().sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j]
    mean = float(torch.stack(pairs).mean())

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        squared = float((a - b).square().sum())
        return sum(float(torch.exp(torch.tensor(-max(squared / (mean * 2.0**power), 1e-5)))) for power in range(-2, 3))

    def average(left: torch.Tensor, right: torch.Tensor) -> float:
        return sum(kernel(a, b) for a in left for b in right) / (len(left) * len(right))

    wanted = average(first, first) + average(second, second) - 2 * average(first, second)
    assert float(hood_mmd.squared_mmd(first, second)) == pytest.approx(wanted, rel=1e-6)
    moved = first.requires_grad_()
    hood_mmd.squared_mmd(moved, second).backward()
    assert moved.grad is not None
    assert float(moved.grad.abs().sum()) > 0


# --- energy ---


def test_energy_margins_cost_nothing_where_they_hold() -> None:
    sure, unsure = torch.full((3, 4), 30.0), torch.zeros(2, 4)
    assert float(energy_oe.margin_loss(sure, unsure - 7, energy_in=-23, energy_out=-5)) == 0
    cost = energy_oe.margin_loss(unsure, sure, energy_in=-23, energy_out=-5)
    inside, outside = float(torch.log(torch.tensor(4.0))), 30 + float(torch.log(torch.tensor(4.0)))
    assert float(cost) == pytest.approx((23 - inside) ** 2 + (outside - 5) ** 2, rel=1e-5)
    with pytest.raises(ValidationError, match="energy_in must be below energy_out"):
        energy_oe.Config(energy_in=-1, energy_out=-2)


# --- ARPL ---


def test_arpl_equals_the_sums_of_its_docstring() -> None:
    features, points = values(4, 6), values(3, 6, seed=1)
    labels, radius = torch.tensor([0, 2, 1, 0]), torch.tensor([0.3], dtype=torch.float64)
    logits = torch.stack([torch.stack([(z - p).square().mean() - z @ p for p in points]) for z in features])
    torch.testing.assert_close(arpl.reciprocal_logits(features, points), logits)
    own = torch.stack([(z - points[y]).square().mean() for z, y in zip(features, labels)])
    rank = torch.nn.MarginRankingLoss(margin=1.0)(radius.expand(4), own, torch.ones(4))
    wanted = torch.nn.functional.cross_entropy(logits / 2, labels) + 0.1 * rank
    found = arpl.arpl_loss(features, labels, points, radius, weight=0.1, temperature=2.0)
    torch.testing.assert_close(found, wanted)
    chances = torch.stack([torch.stack([(z - p).square().mean() for p in points]) for z in features]).softmax(1)
    torch.testing.assert_close(arpl.confusion_loss(features, points), (chances * chances.log()).sum(1).mean().exp())


def test_arpl_needs_the_staged_network() -> None:
    with pytest.raises(ReproodError, match="name: staged"):
        PointClassifier(Net(), 3, two_norms=False)


# --- other outliers ---


@pytest.mark.parametrize("change", changes.CHANGES)
def test_other_outliers_are_new_images_and_functions_of_the_generator(change: changes.Change) -> None:
    data = image_set(12, size=32, channels=3)
    found = changes.changed(data.images, data.labels, change, generator(1))
    assert (found.shape, found.dtype) == (data.images.shape, torch.uint8)
    assert not torch.equal(found, data.images)
    assert torch.equal(found, changes.changed(data.images, data.labels, change, generator(1)))


def test_what_the_changes_do() -> None:
    classes = torch.tensor([0, 1])
    black_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 32, 32).contiguous()
    mixed = changes.changed(black_white, classes, "mixup", generator())
    assert int(mixed[0, 0, 0, 0]) + int(mixed[1, 0, 0, 0]) == pytest.approx(255, abs=1)
    fmix = changes.changed(black_white, classes, "fmix", generator())
    assert set(fmix.unique().tolist()) == {0, 255}
    assert torch.equal(fmix[0], 255 - fmix[1])
    mask = changes.low_frequency_mask((32, 32), 0.25, generator())
    assert int(mask.sum()) == 256
    assert float((mask[1:] != mask[:-1]).float().mean()) < 0.15  # connected areas, no salt and pepper
    holes = changes.changed(black_white, classes, "cutout", generator())
    assert 64 <= int((holes[0, 0] == 128).sum()) <= 256  # 16 x 16, cut off at the border
    grid = changes.changed(black_white, classes, "gridmask", generator())[1, 0]
    assert 0.05 < float((grid == 0).float().mean()) < 0.6
    erased = changes.changed(black_white, classes, "random_erase", generator())[1, 0] != 255
    assert 0.01 < float(erased.float().mean()) < 0.45
    pictures = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    pictures[1, :, 20:24, 4:8] = 255
    corner = changes.saliency(pictures)[1]
    row, column = divmod(int(corner.argmax()), 32)
    assert (18 <= row <= 25, 2 <= column <= 9) == (True, True)
    pasted = changes.changed(pictures, classes, "saliencymix", generator())[0]
    assert torch.equal(pasted[pasted > 0], pictures[1][pasted > 0])  # a patch of the partner, at its place
    assert bool((pasted[:, 20:24, 4:8] > 0).any())  # around its most salient point


def test_one_class_against_an_auxiliary_set(tmp_path: Path) -> None:
    task = replace(problem(16, size=8, classes=1), auxiliary={"letters": image_set(40, seed=5)})
    short = Training(epochs=1, batch_size=8, lr=0.05)
    made = outlier_class.made_outliers(task, outlier_class.Config(source="auxiliary", training=short), run(tmp_path))
    batch = Batch(task.train.images[:8].float(), task.train.labels[:8], torch.arange(8), generator(), 0, 0, 0.0)
    assert made(batch).shape == (16, *task.train.images.shape[1:])
    with pytest.raises(ValidationError, match="leave it out"):
        outlier_class.Config(source="mixup", outliers="letters")


# --- AutoAugment and distillation ---


@pytest.mark.golden
def test_distillation_reference() -> None:
    golden = load("resmooth", "distillation_loss")
    for case in range(int(golden["n_cases"])):
        stored = {key.removeprefix(f"c{case}_"): golden[key] for key in golden if key.startswith(f"c{case}_")}
        student = torch.from_numpy(stored["student"]).requires_grad_()
        loss = strong_augment.distillation_loss(
            student,
            torch.from_numpy(stored["teacher"]),
            torch.from_numpy(stored["y"]),
            weight=float(stored["lambda"]),
            temperature=float(stored["T"]),
            top=max(int(stored["topk"]), 0),
        )
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(stored["loss"]), rel=1e-8)
        torch.testing.assert_close(student.grad, torch.from_numpy(stored["grad"]), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("policy", strong_augment.POLICIES)
def test_autoaugment_changes_bytes_and_no_global_state(policy: str) -> None:
    images = image_set(30, size=32, channels=3).images
    before = torch.random.get_rng_state()
    found = strong_augment.autoaugment(images, policy, generator())
    assert torch.equal(before, torch.random.get_rng_state())
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert (found != images).flatten(1).any(1).float().mean() > 0.5
    assert torch.equal(found, strong_augment.autoaugment(images, policy, generator()))


@pytest.mark.parametrize("rule", ["plain", "smoothing", "resmooth", "distillation"])
def test_rules_train_a_first_network_only_if_they_need_one(rule: str, tmp_path: Path) -> None:
    training = Training(epochs=1, batch_size=8, lr=0.05, crop_padding=1)
    config = strong_augment.Config(training=training, rule=rule, weak_share=0.5, strong="randaugment")
    model, rows = strong_augment.train(problem(16), config, run(tmp_path))
    assert [row["phase"] for row in rows] == (["train"] if rule in ("plain", "smoothing") else ["baseline", "train"])
    assert bool(model.mixture.any()) == (rule == "resmooth")
    if rule == "smoothing":
        changes_of = ({"smoothing": 0.0}, {"rule": "plain"}, {})
        losses = [
            strong_augment.train(problem(16), config.model_copy(update=change), run(tmp_path / str(place)))[1]
            for place, change in enumerate(changes_of)
        ]
        none, plain, smooth = (rows[0]["train_loss"] for rows in losses)
        assert none == plain != smooth


# --- adversarial pre-training ---


def test_pre_training_gives_the_second_phase_its_body(tmp_path: Path) -> None:
    recipe = adversarial_pretraining.RECIPE.model_copy(update={"epochs": 1, "batch_size": 8, "crop_padding": 1})
    still = recipe.model_copy(update={"lr": 1e-12, "weight_decay": 0.0})
    task = replace(problem(16), auxiliary={"near": image_set(24, classes=4, seed=5)})
    config = adversarial_pretraining.Config(training=still, pretraining=recipe, steps=1, monitor_steps=0)
    model, rows = adversarial_pretraining.train(task, config, run(tmp_path))
    assert [row["phase"] for row in rows] == ["pretrain", "train"]
    untrained = replace(task, backbone=lambda: Net())
    alone, _ = adversarial_pretraining.train(
        untrained, config.model_copy(update={"pretraining": still}), run(tmp_path / "b")
    )
    assert model.head.out_features == 3
    assert not torch.allclose(model.backbone.conv.weight, alone.backbone.conv.weight, atol=1e-4)  # it was trained
    with pytest.raises(ReproodError, match="labelled auxiliary set 'near'"):
        adversarial_pretraining.train(problem(16), config, run(tmp_path / "c"))
