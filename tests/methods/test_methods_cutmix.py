"""CutMix, Mixup, Cutout: reference values, statistics of the box, identities."""

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import problem, run
from torch.nn import functional

from reprood.engine.batches import Batch
from reprood.engine.training import Training
from reprood.methods import cutmix, erm
from reprood.methods.cutmix import Config


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_batch(seed: int = 0, count: int = 6, size: int = 12, progress: float = 0.5) -> Batch:
    images = torch.randn(count, 2, size, size, generator=generator(100))
    labels = torch.arange(count) % 3
    return Batch(images, labels, torch.arange(count), generator(seed), 0, 0, progress)


@pytest.mark.golden
def test_box_reference() -> None:
    arrays = load("cutmix", "rand_bbox")
    for dims, lam, centre, box, corrected in zip(
        arrays["dims"], arrays["lam"], arrays["center"], arrays["box"], arrays["lam_adj"], strict=True
    ):
        ours, exact = cutmix.rand_box(tuple(dims.tolist()), float(lam), tuple(centre.tolist()))
        assert ours == tuple(box.tolist())
        assert exact == pytest.approx(corrected, abs=1e-12)


@pytest.mark.golden
def test_batch_reference() -> None:
    arrays = load("cutmix", "cutmix_batch")
    cases = sorted({key.split("_")[0] for key in arrays if key.endswith("_x_mix")})
    assert len(cases) == int(arrays["n_cases"])
    for case in cases:
        get = {key.removeprefix(f"{case}_"): value for key, value in arrays.items() if key.startswith(f"{case}_")}
        images, labels = torch.from_numpy(get["x"]), torch.from_numpy(get["y"])
        logits = torch.from_numpy(get["logits"]).requires_grad_()
        applied = cutmix.is_mixed(float(get["r"]), float(get["prob"]))
        assert applied == bool(get["applied"])
        if applied:
            box, lam = cutmix.rand_box(images.shape[2:], float(get["lam"]), tuple(get["center"].tolist()))
            assert box == tuple(get["box"].tolist())
            assert lam == pytest.approx(float(get["lam_adj"]), abs=1e-12)
            partner = torch.from_numpy(get["perm"])
            before = images.clone()
            mixed = cutmix.cutmix_batch(images, box, partner)
            assert torch.equal(images, before)
            assert torch.equal(labels[partner], torch.from_numpy(get["y_b"]))
            loss = cutmix.mixed_cross_entropy(logits, labels, labels[partner], lam)
        else:
            mixed, loss = images, erm.smoothed_cross_entropy(logits, labels)
        assert torch.equal(mixed, torch.from_numpy(get["x_mix"]))
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(get["loss"]), abs=1e-10)
        np.testing.assert_allclose(logits.grad.numpy(), get["dlogits"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "mean", "empty"), [(28, 0.296, 0.0052), (32, 0.299, 0.0038), (64, 0.310, None)])
def test_pasted_area(size, mean, empty) -> None:
    """The integer rule and the border make the mean pasted area 0.3, not 0.5."""
    draws, rng = 40_000, generator(1)
    areas = np.empty(draws)
    for i in range(draws):
        centre = cutmix.draw_centre((size, size), rng)
        lam = float(torch.rand((), generator=rng, dtype=torch.float64))  # Beta(1, 1)
        box, exact = cutmix.rand_box((size, size), lam, centre)
        areas[i] = 1 - exact
        assert (box[2] - box[0]) * (box[3] - box[1]) == pytest.approx(areas[i] * size * size)
    assert areas.mean() == pytest.approx(mean, abs=0.004)  # 4 standard errors
    assert 0.17 < areas.std() < 0.20
    if empty is not None:
        assert (areas == 0).mean() == pytest.approx(empty, abs=0.0015)


def test_lambda_is_beta() -> None:
    for alpha, deviation in ((1.0, 1 / 12), (0.5, 1 / 8)):
        draws = [cutmix.draw_lambda(alpha, generator(seed)) for seed in range(4000)]
        assert np.mean(draws) == pytest.approx(0.5, abs=0.02)
        assert np.var(draws) == pytest.approx(deviation, rel=0.06)
        assert 0 <= min(draws) <= max(draws) <= 1


def test_loss_is_cross_entropy_with_the_mixed_target() -> None:
    logits = torch.randn(5, 4, generator=generator(), dtype=torch.float64)
    first, second = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([3, 1, 0, 2, 2])
    for smoothing in (0.0, 0.1):
        for lam in (0.0, 0.3, 1.0):
            target = lam * functional.one_hot(first, 4).double() + (1 - lam) * functional.one_hot(second, 4).double()
            target = (1 - smoothing) * target + smoothing / 4
            slow = 0.0
            for row, weights in zip(logits.tolist(), target.tolist(), strict=True):
                total = sum(np.exp(value) for value in row)
                slow -= sum(w * np.log(np.exp(v) / total) for v, w in zip(row, weights, strict=True)) / 5
            ours = cutmix.mixed_cross_entropy(logits, first, second, lam, smoothing)
            assert float(ours) == pytest.approx(slow, abs=1e-12)


def test_cutout_against_a_loop() -> None:
    images = torch.randn(20, 2, 9, 11, generator=generator())
    centres = torch.stack([torch.randint(n, (20,), generator=generator(n)) for n in (9, 11)], 1)
    for side in (1, 4, 5, 30):
        slow = images.clone()
        for image, (row, column) in zip(slow, centres.tolist(), strict=True):
            half = side // 2
            image[:, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
        assert torch.equal(cutmix.cutout_batch(images, side, centres), slow)


def test_mixup_against_a_loop() -> None:
    batch = make_batch()
    partner = torch.tensor([3, 2, 2, 0, 5, 4])
    slow = torch.stack([0.3 * batch.images[i] + 0.7 * batch.images[j] for i, j in enumerate(partner.tolist())])
    torch.testing.assert_close(cutmix.mixup_batch(batch.images, 0.3, partner), slow)


def test_probability_of_mixing() -> None:
    """Half of the batches on CIFAR, every batch on larger images (issue 30 of the authors' code)."""
    cifar = (32, 32)
    default = {
        mix: cutmix.mixing_probability(Config(mix=mix), 0.2, cifar) for mix in ("cutmix", "one_hot", "mixup", "cutout")
    }
    assert default == {"cutmix": 0.5, "one_hot": 0.5, "mixup": 1.0, "cutout": 1.0}
    for size in ((40, 40), (64, 64), (224, 224), (32, 48)):
        assert {cutmix.mixing_probability(Config(mix=mix), 0.2, size) for mix in default} == {1.0}
    for size in (cifar, (224, 224)):
        assert cutmix.mixing_probability(Config(probability=0.9), 0.2, size) == 0.9
        assert [cutmix.mixing_probability(Config(mix="scheduled"), p, size) for p in (0.0, 0.7)] == [0.0, 0.7]
    mixed = [cutmix.mix_batch(make_batch(seed), Config())[1] is not None for seed in range(600)]
    assert np.mean(mixed) == pytest.approx(0.5, abs=0.07)
    assert cutmix.mix_batch(make_batch(), Config(probability=0.0))[0] is not None
    assert all(cutmix.mix_batch(make_batch(seed), Config(probability=0.0))[1] is None for seed in range(20))


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (64, 64), (40, 30)])
def test_cutout_hides_half_the_side(size) -> None:
    """16 of 32 pixels, 112 of 224 (section 4.1): the largest hole has half of the shorter side in both directions."""
    images = torch.ones(64, 1, *size)
    rows = torch.arange(64)
    batch = Batch(images, rows, rows, generator(1), 0, 0, 0.0)
    holes = cutmix.mix_batch(batch, Config(mix="cutout"))[0][:, 0] == 0
    side = min(size) // 4 * 2  # of an odd half, one pixel less, as Cutout's code does
    assert int(holes.any(2).sum(1).max()) == int(holes.any(1).sum(1).max()) == side
    assert int(holes.sum((1, 2)).max()) == side**2


@pytest.mark.parametrize("mix", ["cutmix", "one_hot", "complete_label", "fixed_size", "scheduled", "centre_gaussian"])
def test_every_pixel_comes_from_the_image_or_its_partner(mix) -> None:
    config = Config(mix=mix, probability=1.0)
    for seed in range(40):
        batch = make_batch(seed, progress=1.0)
        images, partner, lam = cutmix.mix_batch(batch, config)
        assert partner is not None
        assert sorted(partner.tolist()) == list(range(6))
        own, other = images == batch.images, images == batch.images[partner]
        assert bool((own | other).all())
        moved = partner != torch.arange(6)
        if bool(moved.any()):
            kept = float(own[moved].double().mean())
            expected = {"one_hot": float(round(kept + 1e-9)), "complete_label": 0.5}.get(mix, kept)
            assert lam == pytest.approx(expected, abs=1e-6)
        if mix == "fixed_size":
            assert lam >= 0.75


@pytest.mark.parametrize("mix", ["cutout", "cutout_mixup"])
def test_cutout_is_per_image_and_always(mix) -> None:
    images, partner, _ = cutmix.mix_batch(make_batch(3), Config(mix=mix, cutout_size=6))
    assert (partner is None) == (mix == "cutout")
    if mix == "cutout":
        holes = (images == 0).all(1)
        assert bool(holes.any((1, 2)).all())
        assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 1


def test_gaussian_centres_lie_around_the_middle() -> None:
    centres = np.array([cutmix.draw_gaussian_centre((28, 20), 0.1, generator(seed)) for seed in range(2000)])
    np.testing.assert_allclose(centres.mean(0), [13.5, 9.5], atol=0.3)
    np.testing.assert_allclose(centres.std(0), [2.8, 2.0], rtol=0.1)
    wide = np.array([cutmix.draw_gaussian_centre((28, 28), 3.0, generator(seed)) for seed in range(200)])
    assert (wide.min(), wide.max()) == (0, 27)


def test_draws_are_functions_of_the_generator() -> None:
    for mix in ("cutmix", "mixup", "cutout_mixup", "centre_gaussian"):
        config = Config(mix=mix, probability=1.0)
        first, second = (cutmix.mix_batch(make_batch(5), config) for _ in range(2))
        assert torch.equal(first[0], second[0])
        assert first[2] == second[2]


def test_defaults_are_the_papers() -> None:
    config = Config()
    training = config.training
    assert (config.mix, config.alpha, config.cutout_size) == ("cutmix", 1.0, None)
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (300, 64, 0.25, 1e-4)
    assert (training.momentum, training.nesterov, training.schedule) == (0.9, True, "floor_steps")
    assert erm.Config().training == training


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "cutout", "cutout_mixup", "one_hot", "scheduled"])
def test_training_learns(tmp_path, mix) -> None:
    training = Training(epochs=8, batch_size=16, lr=0.1, crop_padding=1, monitor_every=8)
    config = Config(training=training, mix=mix, cutout_size=4)
    _, rows = cutmix.train(problem(96), config, run(tmp_path))
    assert rows[-1]["validation_error"] < 40
