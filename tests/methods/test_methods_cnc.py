"""CnC: reference values of mixture, objective and score; properties of the outliers; training in one phase and two."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from golden_files import load
from PIL import Image
from pydantic import ValidationError
from tiny_problem import Net, image_set, problem, run
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.schedules import cosine
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.variants import oe_fpr
from reprood.methods.cnc import method as cnc
from reprood.methods.cnc import outliers as synthesis
from reprood.methods.cnc.net import ExtraClass, with_extra_class
from reprood.methods.cnc.settings import CNC_NAMES, Config
from reprood.nets.classifier import Classifier

KINDS = ("cnc", "reversed", "corruption", "pbcc", "gaussian_noise")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cases(name: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = load("cnc", name)
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        yield {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def pictures(count: int = 12, channels: int = 3, size: int = 32, seed: int = 0) -> Tensor:
    """Random blocks of 4 x 4 pixels."""
    small = torch.randint(256, (count, channels, size // 4, size // 4), generator=generator(seed))
    return small.repeat_interleave(4, 2).repeat_interleave(4, 3).to(torch.uint8)


@pytest.fixture
def negative(monkeypatch) -> list[tuple[Tensor, tuple[str, ...], str]]:
    """The corruptions replaced by a negative, which is quick; what it was called with."""
    calls = []

    def corrupt(images: Tensor, corruptions, rng: torch.Generator, strengths: str, frost=None) -> Tensor:
        calls.append((images.clone(), tuple(corruption.name for corruption in corruptions), strengths))
        kept = torch.rand(len(images), generator=rng) < 0.2
        return torch.where(kept[:, None, None, None], images, 255 - images)

    monkeypatch.setattr(synthesis, "corrupt_mixed", corrupt)
    return calls


# --- reference values ---


@pytest.mark.golden
def test_pbcc_reference() -> None:
    for case in cases("pbcc_batch"):
        images, partners = torch.from_numpy(case["x"]), torch.from_numpy(case["perm"])
        before = images.clone()
        mixed = synthesis.pbcc(images, partners, float(case["lam"]), tuple(case["center"].tolist()))
        assert torch.equal(mixed, torch.from_numpy(case["out"]))
        assert torch.equal(images, before)
        assert (case["y"] == case["y"][case["perm"]]).sum() == case["same_class_pairs"]


@pytest.mark.golden
def test_objective_reference() -> None:
    for case in cases("kplus1_objective"):
        logits, outliers = (torch.from_numpy(case[f"logits_{side}"]).requires_grad_() for side in ("id", "ood"))
        labels = torch.from_numpy(case["y"])
        loss = cnc.extra_class_loss(logits, labels, outliers)
        assert float(loss.detach()) == pytest.approx(float(case["loss"]), abs=1e-9)
        first = float(cnc.extra_class_loss(logits, labels, outliers, 0.0).detach())
        assert first == pytest.approx(float(case["loss_id"]), abs=1e-9)
        assert float(loss.detach()) - first == pytest.approx(float(case["loss_ood"]), abs=1e-9)
        loss.backward()
        np.testing.assert_allclose(torch.cat((logits.grad, outliers.grad)).numpy(), case["grad"], rtol=0, atol=1e-9)


@pytest.mark.golden
def test_score_reference() -> None:
    for case in cases("scores"):
        logits = torch.from_numpy(case["logits"])
        np.testing.assert_allclose(torch.sigmoid(-cnc.cnc_score(logits)).numpy(), case["p_ood"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(logits.softmax(1).amax(1).numpy(), case["max_softmax_all"], rtol=0, atol=1e-9)


@pytest.mark.golden
def test_metrics_reference() -> None:
    for case in cases("ood_metrics"):
        inside, outside = case["score_id"], case["score_ood"]
        found = detection_metrics(inside, outside)
        for name in ("auroc", "aupr_in", "aupr_out"):
            assert found[name] == pytest.approx(float(case[name]), abs=1e-9)
        # Outlier Exposure's rule with the sides exchanged.
        assert oe_fpr(-outside, -inside) == pytest.approx(float(case["fpr95"]), abs=1e-9)


@pytest.mark.golden
def test_schedule_reference() -> None:
    for case in cases("cosine_lr"):
        total, lr = int(case["total_steps"]), float(case["lr0"])
        ours = [cosine(lr, step / total, 1e-6) for step in range(total + 1)]
        np.testing.assert_allclose(ours, case["lr"], rtol=0, atol=1e-12)
        training = Training(epochs=1, lr=lr, schedule="cosine_step", final_lr=1e-6)
        steps = [training.rate(0, step, total) for step in range(total)]
        np.testing.assert_allclose(steps, case["lr"][:total], rtol=0, atol=1e-12)


# --- outliers ---


def test_partners_are_of_another_class_and_uniform_among_them() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    draws = torch.stack([synthesis.draw_partners(labels, generator(seed)) for seed in range(6000)])
    assert bool((labels[draws] != labels).all())
    for row, label in enumerate(labels.tolist()):
        others = (labels != label).nonzero().flatten()
        share = torch.bincount(draws[:, row], minlength=6)[others] / len(draws)
        torch.testing.assert_close(share, torch.full_like(share, 1 / len(others)), atol=0.025, rtol=0)


def test_partners_without_another_class() -> None:
    assert synthesis.draw_partners(torch.tensor([4, 4, 4]), generator()).tolist() == [0, 1, 2]
    assert synthesis.draw_partners(torch.tensor([4]), generator()).tolist() == [0]


def test_code_partners_are_a_permutation() -> None:
    labels = torch.arange(640) % 10
    partners = synthesis.draw_partners(labels, generator(), "any")
    assert sorted(partners.tolist()) == list(range(640))
    assert 0.05 < float((labels[partners] == labels).double().mean()) < 0.16


def test_pbcc_takes_every_pixel_from_one_of_two_classes() -> None:
    images = torch.arange(12).view(-1, 1, 1, 1).expand(-1, 2, 16, 20).contiguous().to(torch.uint8)
    labels = torch.arange(12) % 3
    shares = []
    for seed in range(200):
        mixed = synthesis.random_pbcc(images, labels, generator(seed))
        foreign = mixed != images
        shares.append(float(foreign.double().mean()))
        assert len({tuple(mask.flatten().tolist()) for mask in foreign}) == 1  # one box for the batch
        for row in range(12):
            assert len(set(mixed[row].unique().tolist()) - {row}) <= 1
            assert all(labels[other] != labels[row] for other in set(mixed[row].unique().tolist()) - {row})
    assert np.mean(shares) == pytest.approx(0.29, abs=0.05)


def test_rotation_is_that_of_pillow() -> None:
    images = torch.randint(256, (40, 3, 31, 28), generator=generator(), dtype=torch.uint8)
    degrees = torch.linspace(-180, 180, 40) + 0.3
    ours = synthesis.rotate_at(images, degrees)
    for image, angle, turned in zip(images, degrees.tolist(), ours, strict=True):
        theirs = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).rotate(angle))
        assert (turned.permute(1, 2, 0).numpy() != theirs).any(2).mean() < 0.01


def test_rotation_by_quarter_turns_is_exact() -> None:
    images = torch.randint(256, (4, 1, 9, 9), generator=generator(), dtype=torch.uint8)
    turned = synthesis.rotate_at(images, torch.tensor([0.0, 180.0, -180.0, 0.0]))
    for i, quarters in enumerate((0, 2, 2, 0)):
        assert torch.equal(turned[i], images[i].rot90(quarters, (1, 2)))


def test_geometry() -> None:
    images = torch.full((60, 3, 28, 28), 200, dtype=torch.uint8)
    before = images.clone()
    still = Config(training=Training(crop_padding=0))
    turned = synthesis.outlier_geometry(images, still, generator())
    assert torch.equal(images, before)
    assert turned.dtype == torch.uint8
    assert set(turned.unique().tolist()) == {0, 200}
    assert float((turned[..., 0, 0] == 0).double().mean()) > 0.7  # black corners
    assert bool((turned[..., 7:21, 7:21] == 200).all())
    assert torch.equal(turned, synthesis.outlier_geometry(images, still, generator()))

    marked = torch.zeros(400, 1, 5, 5, dtype=torch.uint8)
    marked[:, :, 0, 0] = 1
    level = Config(training=Training(crop_padding=0), rotation=0)
    places = synthesis.outlier_geometry(marked, level, generator()).flatten(1).argmax(1)
    count = torch.bincount(places, minlength=25)[[0, 4, 20, 24]]
    assert int(count.sum()) == 400
    assert int(count.min()) > 70


@pytest.mark.parametrize("change", [{"same_geometry": True}, {"outliers": "pbcc"}])
def test_geometry_of_in_distribution_images(change) -> None:
    images = torch.full((30, 1, 16, 16), 9, dtype=torch.uint8)
    plain = Config(training=Training(augment="flip"), **change)
    assert torch.equal(synthesis.outlier_geometry(images, plain, generator()), images)
    cropped = Config(training=Training(augment="crop", crop_padding=2), **change)
    assert not torch.equal(synthesis.outlier_geometry(images, cropped, generator()), images)


def test_order_of_the_two_changes(negative) -> None:
    images, labels = pictures(), torch.arange(12) % 3
    mixed = synthesis.random_pbcc(images, labels, generator(5))
    made = {kind: synthesis.make_outliers(images, labels, Config(outliers=kind), generator(5)) for kind in KINDS}
    given = dict(zip([kind for kind in KINDS if kind != "pbcc"], negative, strict=True))
    assert torch.equal(given["cnc"][0], mixed)
    assert torch.equal(given["reversed"][0], images)
    assert torch.equal(given["corruption"][0], images)
    assert torch.equal(made["pbcc"], mixed)
    assert not torch.equal(made["reversed"], made["corruption"])
    assert given["cnc"][1:] == (CNC_NAMES, "imagenet")
    assert given["gaussian_noise"][1] == ("gaussian_noise",)
    synthesis.make_outliers(images, labels, Config(corruptions=("fog",), strengths="cifar"), generator())
    assert negative[-1][1:] == (("fog",), "cifar")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 64)])
def test_outliers_with_the_real_corruptions(kind, channels, size) -> None:
    images, labels = pictures(10, channels, size), torch.arange(10) % 3
    before = images.clone()
    config = Config(outliers=kind, strengths="imagenet" if size == 32 else "cifar")
    made = [synthesis.make_outliers(images, labels, config, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(images, before)
    assert made[0].dtype == torch.uint8
    assert made[0].shape == images.shape
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_illustration_keeps_the_normalisation(negative) -> None:
    images = (pictures().float() / 255 - 0.4) / 0.2
    shown = cnc.illustrate(images, Config(outliers="corruption"), generator())
    assert shown.shape == images.shape
    low, high = images.amin(), images.amax()
    assert bool((((shown - images).abs() < 1e-5) | ((shown + images - low - high).abs() < 1e-5)).all())


def test_normalisation_of_outliers() -> None:
    grey, colour = problem(10), problem(10, channels=3)
    assert synthesis.outlier_normalisation(colour, Config(same_normalisation=True)) == (colour.mean, colour.std)
    assert synthesis.outlier_normalisation(colour, Config(outliers="pbcc")) == (colour.mean, colour.std)
    mean, std = synthesis.outlier_normalisation(colour, Config())
    assert mean == colour.mean
    # With the code's standard deviation for ID images, the code's for outliers.
    scaled = [value / 0.2 * own for value, own in zip(std, (0.2023, 0.1994, 0.2010), strict=True)]
    assert scaled == pytest.approx([0.247, 0.243, 0.262])
    assert synthesis.outlier_normalisation(grey, Config())[1] == pytest.approx((0.2 * sum(Config().std_ratio) / 3,))


def test_outliers_of_a_step(negative, tmp_path, monkeypatch) -> None:
    """An epoch's outliers are made of all training images, each once, in another order than the ID images."""
    data = image_set(40, 8, 1, 4)
    data.images[:] = torch.arange(40).view(-1, 1, 1, 1).to(torch.uint8)
    task = Problem(**{**vars(problem(40, classes=4)), "train": data})
    settings = Training(batch_size=16, augment="none")
    config = Config(
        outliers="corruption", training=settings, same_geometry=True, same_normalisation=True, frost="drawn"
    )
    monkeypatch.setattr(synthesis, "BLOCK", 2)
    outliers = synthesis.outlier_batches(task, config, run(tmp_path))
    orders = []
    for epoch in (0, 1):
        rows = []
        for step, index in enumerate(torch.arange(40).split(16)):
            batch = cnc.Batch(data.images[index].float(), data.labels[index], index, generator(step), epoch, step, 0.0)
            made = outliers(batch)
            assert made.shape == (len(index), 1, 8, 8)
            assert made.dtype == torch.float32
            byte = (made[:, 0, 0, 0] * 0.2 + 0.4) * 255
            rows += torch.where(byte > 128, 255 - byte, byte).round().int().tolist()
        assert sorted(rows) == list(range(40))
        assert [len(call[0]) for call in negative] == [32, 8] * (epoch + 1)
        orders.append(rows)
    assert orders[0] != orders[1]


def test_frost_comes_from_the_auxiliary_set(tmp_path) -> None:
    """Crops of photographs for CnC; without them training ends in an error, unless frost is declared as drawn."""
    crops = torch.full((6, 1, 28, 28), 255, dtype=torch.uint8)
    task = problem(32, size=28)
    frosty = Problem(**{**vars(task), "auxiliary": {"frost_imagenet": ImageSet(crops, torch.full((6,), -1))}})
    config = Config(training=Training(batch_size=32, augment="none"), outliers="corruption", corruptions=("frost",))
    batch = cnc.Batch(torch.empty(32), task.train.labels, torch.arange(32), generator(), 0, 0, 0.0)
    mean, std = synthesis.outlier_normalisation(task, config)
    with_photographs = synthesis.outlier_batches(frosty, config, run(tmp_path))(batch)
    assert bool((with_photographs > (0.4 - mean[0]) / std[0] - 1e-5).all())  # at least 0.4 of white is added
    drawn = config.model_copy(update={"frost": "drawn"})
    assert not torch.equal(synthesis.outlier_batches(task, drawn, run(tmp_path))(batch), with_photographs)
    with pytest.raises(ReproodError, match="needs the auxiliary set 'frost_imagenet'"):
        synthesis.outlier_batches(task, config, run(tmp_path))
    with pytest.raises(ReproodError, match="needs the auxiliary set 'frost_cifar'"):
        synthesis.outlier_batches(frosty, config.model_copy(update={"strengths": "cifar"}), run(tmp_path))
    for kind in ("pbcc", "gaussian_noise"):  # without frost
        assert synthesis.outlier_batches(task, config.model_copy(update={"outliers": kind}), run(tmp_path))


def test_batches_of_a_block_have_boxes_of_their_own() -> None:
    images = torch.arange(12).view(-1, 1, 1, 1).expand(-1, 1, 20, 20).contiguous().to(torch.uint8)
    config = Config(outliers="pbcc", training=Training(batch_size=4))
    foreign = (synthesis.make_outliers(images, torch.arange(12), config, generator(3)) != images).flatten(1)
    assert [len({tuple(row.tolist()) for row in part}) for part in foreign.split(4)] == [1, 1, 1]
    assert len({tuple(row.tolist()) for row in foreign}) == 3


# --- network, training, score ---


def make_model() -> ExtraClass:
    with seeded(1):
        return ExtraClass(Net(), 3).eval()


def test_network_has_one_hidden_output() -> None:
    model, images = make_model(), torch.randn(5, 1, 8, 8, generator=generator())
    assert model.all_logits(images).shape == (5, 4)
    assert torch.equal(model(images), model.all_logits(images)[:, :3])
    weight, bias = model.linear_head()
    torch.testing.assert_close(functional.linear(model.features(images), weight, bias), model(images))


def test_extra_class_keeps_the_logits() -> None:
    with seeded(3):
        plain = Classifier(Net(), 3).eval()
    images = torch.randn(5, 1, 8, 8, generator=generator())
    with seeded(4):
        extended = with_extra_class(plain)
    torch.testing.assert_close(extended(images), plain(images), rtol=0, atol=1e-7)
    assert extended.head.out_features == 4
    assert float(extended.head.weight.detach()[3].abs().max()) > 0
    assert extended.state_dict().keys() == cnc.build(Config(), Net(), 3).state_dict().keys()


def test_score_does_not_saturate() -> None:
    logits = torch.tensor([[0.0, 0, 90], [0, 0, 89], [80, 0, -100], [81, 0, -100]])
    score = cnc.cnc_score(logits)
    assert score.dtype == torch.float64
    assert score.tolist() == sorted(score.tolist())
    assert len(set(score.tolist())) == 4


def test_defaults_are_the_papers() -> None:
    config = Config()
    training = config.training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (200, 64, 0.1, 5e-4)
    assert (training.schedule, training.milestones, training.nesterov) == ("multistep", (0.5, 0.75), False)
    assert (config.outliers, config.alpha, config.strengths, config.pretrain) == ("cnc", 1.0, "imagenet", None)
    assert (config.same_geometry, config.same_normalisation) == (False, False)
    with pytest.raises(ValidationError, match="no corruption 'rain'"):
        Config(corruptions=("fog", "rain"))


@pytest.mark.parametrize("kind", ["cnc", "reversed", "pbcc"])
def test_training_learns(negative, tmp_path, kind) -> None:
    training = Training(epochs=12, batch_size=16, lr=0.1, crop_padding=1, monitor_every=12)
    config = Config(training=training, outliers=kind, frost="drawn")
    model, rows = cnc.train(problem(96), config, run(tmp_path))
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert rows[-1]["validation_error"] < 40
    assert not model.training
    images = torch.randn(7, 1, 8, 8, generator=generator())
    (score,) = cnc.scores(model, images, config, {}).values()
    assert score.dtype == torch.float64
    assert not score.requires_grad
    torch.testing.assert_close(score, cnc.cnc_score(model.all_logits(images)).detach())


def test_images_do_not_depend_on_the_precision(tmp_path) -> None:
    task, seen = problem(96, size=28), []
    config = Config(training=Training(batch_size=32), frost="drawn")
    batch = cnc.Batch(torch.empty(32), task.train.labels[:32], torch.arange(32), generator(), 0, 0, 0.0)
    for enabled in (True, False):
        outliers = synthesis.outlier_batches(task, config, run(tmp_path))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen.append(outliers(batch))
    assert torch.equal(*seen)


def test_first_step_is_one_joint_forward(negative, tmp_path) -> None:
    """With batch norm the loss of ID images depends on the outliers in the same pass."""
    task = problem(16)
    training = Training(epochs=1, batch_size=16, augment="none")
    losses = []
    for alpha in (0.0, 1.0):
        config = Config(training=training, outliers="corruption", same_geometry=True, alpha=alpha, frost="drawn")
        job = run(tmp_path / str(alpha))
        _, rows = cnc.train(task, config, job)
        losses.append(rows[0]["train_loss"])
    with seeded(job.seed("initialisation")):
        model = ExtraClass(Net(), 3).train()
    order = torch.randperm(16, generator=job.generator("train", "order", 0))
    other = torch.randperm(16, generator=job.generator("outliers", 0))
    changed = synthesis.corrupt_mixed(task.train.images[other], (), job.generator("outliers", 0, 0), "imagenet")
    std = synthesis.outlier_normalisation(task, Config())[1][0]
    both = (task.train.images[order] / 255 - 0.4) / 0.2, (changed / 255 - 0.4) / std
    logits = model.all_logits(torch.cat(both))
    first = functional.cross_entropy(logits[:16], task.train.labels[order])
    second = functional.cross_entropy(logits[16:], torch.full((16,), 3))
    assert losses == pytest.approx([float(first.detach()), float((first + second).detach())], rel=1e-4)


def test_fine_tuning_starts_from_the_first_phase(negative, tmp_path) -> None:
    first = Training(epochs=6, batch_size=16, lr=0.1, crop_padding=1)
    slow = Training(epochs=1, batch_size=16, lr=1e-12, weight_decay=0, schedule="constant")
    config = Config(pretrain=first, training=slow, frost="drawn")
    model, rows = cnc.train(problem(96), config, run(tmp_path))
    assert [row["phase"] for row in rows] == ["pretrain"] * 6 + ["train"]
    assert model.all_logits(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    job = run(tmp_path / "other")
    with seeded(job.seed("initialisation")):
        plain = Classifier(Net(), 3)
    assert cnc.fit(plain, cnc.plain_loss, problem(96).train, first, job, problem=problem(96), phase="pretrain")
    torch.testing.assert_close(model.linear_head()[0], plain.linear_head()[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(model.backbone.conv.weight, plain.backbone.conv.weight, rtol=0, atol=1e-7)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "change", [{}, {"outliers": "reversed"}, {"pretrain": Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1)}]
)
def test_killed_training_ends_in_the_same_bits(negative, tmp_path, monkeypatch, change) -> None:
    task = problem(50, dropout=0.2)
    training = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1)
    config = Config(training=training, frost="drawn", **change)
    whole, expected = cnc.train(task, config, run(tmp_path / "whole"))

    inner = cnc.extra_class_loss
    for survived in (3, 2):
        left = [survived]

        def dying(*arguments, left=left) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(cnc, "extra_class_loss", dying)
            cnc.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    resumed, rows = cnc.train(task, config, run(tmp_path / "killed", checkpoint_seconds=0))
    assert rows == expected
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
