"""CSI: losses, views and scores against slow references, the network, training, clear errors."""

import math
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_problem import Net, problem, run
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.training import Training
from reprood.images.augment import normalise
from reprood.methods.csi import method
from reprood.methods.csi import score as csi_score
from reprood.methods.csi.method import Config
from reprood.methods.csi.net import ContrastiveNet, marginalised
from reprood.methods.csi.shifts import COUNTS, Shift, augment_by_shift, shift
from reprood.methods.csi.views import training_views, view_at_test
from reprood.nets import wrn

SHORT = Training(
    epochs=2, batch_size=16, lr=0.3, optimizer="lars", schedule="gradual_cosine", warmup_epochs=1, warmup_factor=10,
    weight_decay=1e-6, augment="none", monitor_every=2,
)  # fmt: skip
LINEAR = Training(epochs=1, batch_size=16, momentum=0.0, augment="none")


def settings(**changes: object) -> Config:
    return Config(**{"training": SHORT, "linear": LINEAR, "test_views": 2, "projection": 6, **changes})


def oriented(count: int, classes: int = 1, size: int = 8, seed: int = 0) -> ImageSet:
    """Dark images with one bright corner, so that rotations can be recognised."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, 1, size, size)).astype(np.uint8)
    labels = np.arange(count, dtype=np.int64) % classes
    images[:, :, 1 : size // 2, 1:3] += (180 // (1 + labels)).astype(np.uint8)[:, None, None, None]
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


def given(classes: int = 1, count: int = 32) -> Problem:
    sets = {"train": oriented(count, classes), "validation": oriented(16, classes, seed=1)}
    return replace(problem(16, classes=classes), **sets, monitor={"validation": sets["validation"]})


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    return {key: value.detach().numpy().tobytes() for key, value in model.state_dict().items()}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- views ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["rotation", "cutperm", "none"])
@pytest.mark.parametrize("changes", [{}, {"crop_first": True}, {"views": 1}])
def test_training_views(channels, kind, changes) -> None:
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = [training_views(images, kind, torch.Generator().manual_seed(s), **changes) for s in (1, 1, 2)]
    assert shown[0].shape == (changes.get("views", 2) * COUNTS[kind] * 5, channels, 8, 8)
    assert shown[0].dtype == torch.float32
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    assert float(shown[0].min()) >= -1e-6
    assert float(shown[0].max()) <= 1 + 1e-6


def test_positive_shifts_take_no_more_rows() -> None:
    images = oriented(64).images
    shown = training_views(images, "rotation", torch.Generator().manual_seed(0), positive=True)
    assert shown.shape == (128, 1, 8, 8)


@pytest.mark.parametrize("kind", ["rotation", "cutperm"])
def test_shifts_as_augmentation_are_those_of_the_authors_layers(kind: Shift) -> None:
    """One shift for the batch, of half of the images; 62.5 % of the images are not changed."""
    images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    unchanged, shifts = [], set()
    for seed in range(200):
        shown = augment_by_shift(images, kind, torch.Generator().manual_seed(seed))
        equal = {
            k: (shown == shift(images, kind, k)).flatten(1).all(1) for k in range(COUNTS[kind])
        }  # which images are under which shift
        present = {k for k, rows in equal.items() if bool(rows.any())}
        assert bool(torch.stack(list(equal.values())).any(0).all())
        assert len(present - {0}) <= 1
        shifts |= present
        unchanged.append(float(equal[0].double().mean()))
        assert unchanged[-1] == 1 or 0.2 < unchanged[-1] < 0.8
    assert shifts == set(range(COUNTS[kind]))
    assert np.mean(unchanged) == pytest.approx(0.625, abs=0.05)


@pytest.mark.parametrize("crop_first", [False, True])
def test_views_at_test_are_the_same_for_every_batch(crop_first) -> None:
    images = oriented(6).images.float() / 255
    views = [view_at_test(images, "rotation", t, 0.54, crop_first) for t in (0, 0, 1)]
    assert views[0].shape == (24, 1, 8, 8)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    constant = view_at_test(torch.full((3, 1, 8, 8), 0.5), "none", 0, 1.0, crop_first)
    assert float(constant.flatten(1).std(1).max()) < 1e-6


def test_every_shift_is_mirrored_on_its_own() -> None:
    """With `crop_first` too, as in the authors' path for ImageNet; colours do not change the orientation."""
    columns = torch.linspace(0.3, 0.6, 8).expand(1, 1, 8, 8)
    for crop_first in (False, True):
        seen = set()
        for number in range(40):
            views = view_at_test(columns, "rotation", number, 1.0, crop_first)
            upright = torch.stack([torch.rot90(views[k], -k, (1, 2))[0] for k in range(4)])
            rising = (upright[:, :, -1] > upright[:, :, 0]).all(1)
            falling = (upright[:, :, -1] < upright[:, :, 0]).all(1)
            assert bool((rising ^ falling).all())
            seen.add(tuple(rising.tolist()))
        assert len(seen) > 8  # of 16, also those with different flips for different shifts


def test_whole_images_are_only_recoloured() -> None:
    """With an area of 1 and no contrast a single shift neither flips nor cuts."""
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shown = view_at_test(images, "none", 0, 1.0)
    same = (shown - images).abs().amax((1, 2, 3)) < 1e-5
    assert 0 < int(same.sum()) < 20  # those that colour jitter leaves alone: one in five
    correlations = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(images, shown, strict=True)]
    assert min(correlations) > 0.8


# --- scores ---


def test_scores_against_loops(monkeypatch) -> None:
    shifts, count, width = 4, 5, 6
    train, test = noise(shifts, 9, width).numpy(), noise(shifts, count, width, seed=1).numpy()
    train_logits, logits = noise(shifts, 9, shifts).abs().numpy(), noise(shifts, count, shifts, seed=2).numpy()
    expected: dict[str, list[float]] = {name: [] for name in ("con_si", "cls_si", "cosine", "norm", "con")}
    for i in range(count):
        parts: dict[str, list[float]] = {name: [] for name in expected}
        for k in range(shifts):
            length = math.sqrt(sum(v * v for v in test[k, i]))
            mean_length = sum(math.sqrt(sum(v * v for v in row)) for row in train[k]) / 9
            cosine = max(float(np.dot(test[k, i], row)) / (np.linalg.norm(row) + 1e-8) / length for row in train[k])
            mean_logit = sum(train_logits[k, m, k] for m in range(9)) / 9
            parts["cosine"].append(cosine)
            parts["norm"].append(length / mean_length)
            parts["con_si"].append(length / mean_length * cosine)
            parts["cls_si"].append(logits[k, i, k] / mean_logit)
            parts["con"].append(length * cosine if k == 0 else 0.0)
        for name, values in parts.items():
            expected[name].append(sum(values) / (1 if name == "con" else shifts))
    fitted = csi_score.fit_axes(torch.from_numpy(train), torch.from_numpy(train_logits))
    monkeypatch.setattr(csi_score, "CHUNK", 20)  # two images at a time
    actual = csi_score.novelty_scores(torch.from_numpy(test), torch.from_numpy(logits), fitted)
    assert list(actual) == ["csi", "con_si", "cls_si", "con", "cosine", "norm"]
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name].numpy(), values, rtol=1e-7)
    np.testing.assert_allclose(actual["csi"], np.add(expected["con_si"], expected["cls_si"]), rtol=1e-7)
    alone = csi_score.novelty_scores(
        torch.from_numpy(test[:1]), None, csi_score.fit_axes(torch.from_numpy(train[:1]), None)
    )
    assert list(alone) == ["con", "cosine", "norm"]
    np.testing.assert_allclose(alone["con"], expected["con"], rtol=1e-7)


def test_scale_of_projections_and_logits_does_not_matter() -> None:
    train, test, logits = noise(4, 9, 6), noise(4, 5, 6, seed=1), noise(4, 5, 4, seed=2)
    first = csi_score.novelty_scores(test, logits, csi_score.fit_axes(train, logits.abs()))
    other = csi_score.novelty_scores(7 * test, 3 * logits, csi_score.fit_axes(7 * train, 3 * logits.abs()))
    torch.testing.assert_close(first["csi"], other["csi"])


def test_a_score_without_scale_is_refused() -> None:
    with pytest.raises(ReproodError, match="no scale"):
        csi_score.fit_axes(torch.zeros(1, 3, 2), None)


def test_marginalised_by_hand() -> None:
    joint = noise(4, 5, 12)
    actual = marginalised(joint, 3)
    for i in range(5):
        for c in range(3):
            expected = sum(float(joint[k, i, 3 * k + c]) for k in range(4)) / 4
            assert float(actual[i, c]) == pytest.approx(expected, rel=1e-12)


# --- network and settings ---


def test_the_network_sees_the_stored_pixels() -> None:
    seen = []

    class Seeing(Net):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().forward(images)

    model = ContrastiveNet(Seeing(1), 1)
    model.mean.fill_(0.3)
    model.std.fill_(0.2)
    stored = oriented(4).images
    model.features(normalise(stored, (0.3,), (0.2,)))
    torch.testing.assert_close(seen[0], stored / 255 * 2 - 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("marginalise", [False, True])
def test_labelled_answers(marginalise) -> None:
    torch.manual_seed(0)
    config = settings(labelled=True, marginalise=marginalise)
    model = method.build(config, Net(1), 3).eval()
    images = torch.randn(4, 1, 8, 8)
    logits = model(images)
    assert logits.shape == (4, 3)
    head = model.linear_head()
    if marginalise:
        assert head is None
        turned = model(torch.rot90(images, 1, (2, 3)))
        assert not torch.allclose(logits, turned)  # the joint layer names the turn, too
    else:
        torch.testing.assert_close(model.features(images) @ head[0].T + head[1], logits)
    actual = method.scores(model, images, config, {})
    assert list(actual) == ["csi_ens"]
    if marginalise:
        torch.testing.assert_close(actual["csi_ens"], logits.double().softmax(1).amax(1))


def test_no_classes_without_labels() -> None:
    model = method.build(settings(), Net(1), 3)
    assert torch.equal(model(torch.randn(2, 1, 8, 8)), torch.zeros(2, 3))
    assert model.linear_head() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"augment": "crop_flip"}}, "CSI has its own views"),
        ({"shift": "none", "positive": True}, "need a family"),
        ({"labelled": True, "shift_weight": 0.0}, "without labels"),
        ({"contrast_weight": 0.0, "shift": "none"}, "shifts to predict"),
        ({"contrast_weight": 0.0, "positive": True}, "shifts to predict"),
        ({"marginalise": True}, "needs labels"),
        ({"labelled": True, "marginalise": True, "shift": "none"}, "needs labels and shifts"),
        ({"shift": "nois"}, "shift"),
    ],
)
def test_settings_that_make_no_sense(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**changes)


def test_the_defaults_are_the_papers() -> None:
    config = Config()
    assert (config.training.epochs, config.training.batch_size, config.training.optimizer) == (1000, 128, "lars")
    assert config.training.rate(10, 1, 100) == pytest.approx(1.0)
    assert config.training.rate(999, 99, 100) == pytest.approx(2.5e-4, rel=0.05)
    assert [config.linear.rate(e, 0, 9) for e in (0, 60, 75, 90)] == pytest.approx([0.1, 0.01, 0.001, 0.0001])


# --- training ---

ARMS = {
    "csi": {},
    "cutperm": {"shift": "cutperm"},
    "simclr": {"shift": "none"},
    "align": {"positive": True},
    "shift_alone": {"contrast_weight": 0.0},
    "negatives_alone": {"shift_weight": 0.0},
}
SCORES = {
    "csi": ["csi", "con_si", "cls_si", "con", "cosine", "norm"],
    "cutperm": ["csi", "con_si", "cls_si", "con", "cosine", "norm"],
    "simclr": ["con", "cosine", "norm"],
    "align": ["con", "cosine", "norm"],
    "shift_alone": ["cls_si"],
    "negatives_alone": ["con_si", "con", "cosine", "norm"],
}


@pytest.mark.parametrize("arm", ARMS)
def test_training_and_scores_without_labels(arm, tmp_path: Path) -> None:
    config, data = settings(**ARMS[arm]), given()
    model, rows = method.train(data, config, run(tmp_path / "a"))
    again, same = method.train(data, config, run(tmp_path / "b"))
    assert (bits(model), rows) == (bits(again), same)
    assert ("validation_shift_error" in rows[-1]) == (arm in ("csi", "cutperm", "shift_alone"))

    def batches():
        for part in torch.split(data.train.images, 20):
            yield normalise(part, data.mean, data.std), torch.zeros(len(part), dtype=torch.int64)

    fitted = method.fit_on_train(model, batches, config, torch.Generator())
    shifts = 1 if arm in ("simclr", "align") else 4
    assert fitted["axes"].shape == (shifts, 32, 6)
    torch.testing.assert_close(fitted["axes"].norm(dim=2), torch.ones(shifts, 32), rtol=0, atol=1e-4)
    numbers = method.fit_scores(model, data.validation, config, fitted)
    assert len(numbers) == shifts * (2 if arm in ("csi", "cutperm", "shift_alone") else 1)
    images = normalise(data.validation.images, data.mean, data.std)
    actual = method.scores(model, images, config, fitted)
    assert list(actual) == SCORES[arm]
    for values in actual.values():
        assert values.shape == (16,)
        assert values.dtype == torch.float64
        assert bool(torch.isfinite(values).all())
    assert all(
        torch.equal(a, b) for a, b in zip(actual.values(), method.scores(model, images, config, fitted).values())
    )


def test_turns_are_learnt(tmp_path: Path) -> None:
    config = settings(training=SHORT.model_copy(update={"epochs": 8, "lr": 0.5}))
    data = replace(given(count=64), backbone=lambda: wrn.build(1, depth=10, width=0.5))
    _, rows = method.train(data, config, run(tmp_path))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] - 0.5
    assert rows[-1]["validation_shift_error"] < 30


def killed_at_second(function):
    """The function, but the second call ends the process."""
    calls = []

    def killed(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return function(*arguments)

    return killed


@pytest.mark.parametrize("shift", ["rotation", "none"])
def test_labelled_training_resumes_in_both_stages(shift, tmp_path: Path, monkeypatch) -> None:
    config, data = settings(labelled=True, shift=shift), given(classes=3)
    whole, rows = method.train(data, config, run(tmp_path / "whole"))
    assert [row["phase"] for row in rows] == ["train", "train", "linear"]
    assert ("validation_marginalised_error" in rows[-1]) == (shift == "rotation")
    assert "validation_error" in rows[-1]
    resumed = run(tmp_path / "parts", checkpoint_seconds=0)
    for stage in ("reprood.methods.csi.method.supervised_nt_xent", "reprood.methods.csi.linear.linear_loss"):
        with monkeypatch.context() as patch:
            patch.setattr(stage, killed_at_second(resolve_name(stage)))
            with pytest.raises(KeyboardInterrupt):
                method.train(data, config, resumed)
    again, same = method.train(data, config, resumed)
    assert (bits(whole), rows) == (bits(again), same)


def test_the_linear_stage_leaves_the_network(tmp_path: Path) -> None:
    """Neither weights nor batch statistics of the backbone move."""
    data = given(classes=3)
    one, two = (
        method.train(
            data, settings(labelled=True, linear=LINEAR.model_copy(update={"epochs": n})), run(tmp_path / str(n))
        )[0]
        for n in (1, 4)
    )
    first, second = bits(one), bits(two)
    moved = {key.split(".")[0] for key in first if first[key] != second[key]}
    assert moved == {"head", "shift_head", "joint_head"}


def test_labels_change_the_result_only_with_labels(tmp_path: Path) -> None:
    data = given(classes=3)
    other = replace(data, train=ImageSet(data.train.images, data.train.labels.flip(0)))
    results = [bits(method.train(d, settings(), run(tmp_path / str(i)))[0]) for i, d in enumerate((data, other))]
    assert results[0] == results[1]


def test_illustration() -> None:
    images = normalise(oriented(6).images, (0.3,), (0.2,))
    shown = method.illustrate(images, Config(), torch.Generator().manual_seed(0))
    assert shown.shape == images.shape
    again = method.illustrate(images, Config(), torch.Generator().manual_seed(0))
    assert torch.equal(shown, again)
    assert float(shown.max()) <= float(images.max()) + 1e-4


def test_a_negative_weight_is_reported(caplog) -> None:
    torch.manual_seed(0)
    config = settings()
    model = method.build(config, Net(1), 1).eval()
    with torch.no_grad():
        model.shift_head.bias.fill_(-50.0)
    images = normalise(oriented(8).images, (0.3,), (0.2,))
    method.fit_on_train(model, lambda: iter([(images, torch.zeros(8))]), config, torch.Generator())
    assert "train longer" in caplog.text
