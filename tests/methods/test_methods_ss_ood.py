"""Self-supervision, parts A, C and E: reference values, losses by hand, training, resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import load
from pydantic import ValidationError
from tiny_problem import Net, problem, run
from torch import Tensor
from torch.nn import functional

from reprood.attacks.projected import attack_labels
from reprood.engine.batches import Batch
from reprood.engine.schedules import cosine
from reprood.engine.training import Training
from reprood.images.rotations import rotate, rotated_batch, translate
from reprood.methods import ss_labels
from reprood.methods import ss_ood as method
from reprood.methods.ss_ood import Config
from reprood.nets import wrn

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1, monitor_every=2)
PARTS: dict[str, dict[str, object]] = {
    "ood": {},
    "translations": {"translation_weight": 1.0},
    "auxiliary": {"part": "auxiliary", "rotation_weight": 0.5},
    "adversarial": {"part": "adversarial", "rotation_weight": 0.5, "steps": 2},
    "plain adversarial": {"part": "adversarial", "rotations": False, "steps": 2, "centre": "clean"},
}


def tensors(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.array(value)) for key, value in load("ss_ood", name).items()}


@pytest.mark.golden
def test_translation_and_rotation_references() -> None:
    stored = tensors("translate_rotate")
    cases = sorted({key.split("_")[0] for key in stored if key.endswith("_shifts")})
    for case in cases:
        image = stored[f"{case}_x"].permute(2, 0, 1)[None]
        for shift, wanted in zip(stored[f"{case}_shifts"], stored[f"{case}_out"], strict=True):
            assert torch.equal(translate(image, shift[:1], shift[1:])[0].permute(1, 2, 0), wanted)
    image = stored["c0_x"].permute(2, 0, 1)[None]
    assert torch.equal(rotate(image, 1)[0].permute(1, 2, 0), stored["rot_hwc_k1"])
    assert torch.equal(rotate(image, 1), stored["rot_nchw_k1"])
    if image.shape[2] == image.shape[3]:
        assert torch.equal(rotate(image, torch.tensor([1])), stored["rot_nchw_k1"])
    last = stored["c0_shifts"][-1]
    both = rotate(translate(image, last[:1], last[1:]), 3)
    assert torch.equal(both[0].permute(1, 2, 0), stored["translate_then_rot3"])


@pytest.mark.golden
def test_multi_class_reference() -> None:
    stored = tensors("multiclass_aux")
    count = len(stored["target_class"])
    # the four turns and the shifted copy follow each other, all images of a kind together
    assert torch.equal(stored["images"].flatten(0, 1), stored["assembled"])
    turns = rotated_batch(torch.rand(count, 1, 4, 4))[1]
    assert torch.equal(turns, torch.arange(4).repeat_interleave(count))
    logits, features = stored["logits"].clone().requires_grad_(), stored["penultimate"].clone().requires_grad_()
    turned, moved = features[: 4 * count], features[4 * count :]
    heads = {
        name: functional.linear(part, stored[f"{name}_w"], stored[f"{name}_b"])
        for name, part in (("rot", turned), ("x_trans", moved), ("y_trans", moved))
    }
    shifts = heads["x_trans"], stored["target_x"], heads["y_trans"], stored["target_y"]
    weights = float(stored["rot_weight"]), float(stored["trans_weight"])
    loss = method.ood_loss(logits[:count], heads["rot"], stored["target_class"], weights[0], shifts, weights[1])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(stored["loss"]), abs=1e-5)
    np.testing.assert_allclose(logits.grad, stored["grad_logits"], atol=1e-5)
    np.testing.assert_allclose(features.grad, stored["grad_penultimate"], atol=1e-5)


@pytest.mark.golden
def test_score_reference() -> None:
    """The published score grows with anomaly; ours is its negative, term by term."""
    stored = tensors("multiclass_aux")
    count = len(stored["score"])
    kl = method.kl_from_uniform(stored["score_logits"][:count])
    turned = functional.linear(stored["score_penultimate"][: 4 * count], stored["rot_w"], stored["rot_b"])
    np.testing.assert_allclose(-kl, stored["score_class_term"], atol=1e-5)
    np.testing.assert_allclose(-(kl - method.rotation_bits(turned)), stored["score"], atol=1e-5)


@pytest.mark.golden
def test_training_step_reference() -> None:
    """Parts D and E: the class loss and half the rotation loss, each of a forward pass of its own."""
    stored = tensors("ss_train_step")
    for name, with_class, with_turns in (("both", True, True), ("ce_only", True, False), ("rot_only", False, True)):
        logits, features = (stored[f"{name}_{k}"].clone().requires_grad_() for k in ("logits", "penultimate"))
        loss = torch.zeros(())
        if with_class:
            loss = loss + functional.cross_entropy(logits, stored["labels"])
        if with_turns:
            turned = functional.linear(features, stored["rot_w"], stored["rot_b"])
            loss = loss + 0.5 * method.rotation_loss(turned)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(stored[f"{name}_loss"]), abs=1e-5)
        for actual, key in ((logits.grad, "grad_logits"), (features.grad, "grad_penultimate")):
            if f"{name}_{key}" in stored:
                np.testing.assert_allclose(actual, stored[f"{name}_{key}"], atol=1e-5)
    wanted = 2 * rotated_batch(stored["images"])[0] - 1
    torch.testing.assert_close(stored["both_rot_input"], wanted)


@pytest.mark.golden
def test_adversarial_reference() -> None:
    """Attack and update loss of the published step, on its tiny network in float64."""
    stored = tensors("adversarial")
    count = len(stored["x"])

    class Published(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            names = {key: value.clone() for key, value in stored.items() if key.startswith("net.")}
            self.names = torch.nn.ParameterDict(
                {k[4:].replace(".", "_"): torch.nn.Parameter(v) for k, v in names.items()}
            )

        def features(self, images: Tensor) -> Tensor:
            maps = torch.tanh(functional.conv2d(images, self.names["c_weight"], self.names["c_bias"], padding=1))
            return (maps**2).mean(dim=(2, 3)) + maps[:, :, 0].mean(dim=2)

        def head(self, features: Tensor) -> Tensor:
            return functional.linear(features, self.names["fc_weight"], self.names["fc_bias"])

        def rotation(self, features: Tensor) -> Tensor:
            return functional.linear(features, self.names["rot_pred_weight"], self.names["rot_pred_bias"])

    network = Published()
    config = Config(
        part="adversarial", rotation_weight=0.5, eps=float(stored["eps"]), step=float(stored["step_size"]),
        steps=int(stored["num_steps"]),
    )  # fmt: skip
    batch = Batch(stored["x"], stored["y"], torch.arange(count), torch.Generator(), 0, 0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "start_noise", lambda *_: stored["noise"])
        half = torch.tensor(0.5, dtype=torch.float64)
        # in float64 throughout: the published values are
        patch.setattr(Tensor, "float", lambda self: self)
        loss = method.adversarial_step(network, batch, config, half, half)  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(float(stored["train_loss"]), abs=1e-7)
    loss.backward()
    for name, value in network.names.items():
        key = "grad." + name.replace("_weight", ".weight").replace("_bias", ".bias")
        np.testing.assert_allclose(value.grad, stored[key], atol=1e-7)


@pytest.mark.golden
def test_network_reference() -> None:
    """A small network of the paper's kind: outputs in both modes, and the last statistics after a training batch."""
    stored = tensors("wrn_tiny")
    weights = {key: stored.pop(key) for key in list(stored) if "." in key}
    model = method.build(Config(), wrn.build(stored["x"].shape[1], depth=10, width=1), len(weights["fc.bias"]))
    actual = model.load_state_dict({ours(key): value for key, value in weights.items()}, strict=False)
    assert not actual.unexpected_keys
    assert all(key.startswith("rotation.") or key.endswith("num_batches_tracked") for key in actual.missing_keys)
    with torch.no_grad():
        for mode in ("eval", "train"):
            features = model.train(mode == "train").features(stored["x"])
            np.testing.assert_allclose(features, stored[f"pen_{mode}"], atol=1e-4)
            np.testing.assert_allclose(model.head(features), stored[f"logits_{mode}"], atol=1e-4)
    for name in ("running_mean", "running_var"):
        after = model.state_dict()[ours(f"bn1.{name}")]
        np.testing.assert_allclose(after, stored[f"bn1_{name}_after"], atol=1e-4)


def ours(key: str) -> str:
    """The place of a published weight in our network."""
    module, tensor = key.rsplit(".", 1)
    fixed = {"conv1": "backbone.stem", "bn1": "backbone.norm", "fc": "head"}
    if module not in fixed:
        group, _, number, part = module.split(".")
        part = part.replace("bn", "norm").replace("convShortcut", "shortcut")
        return f"backbone.stages.{int(group.removeprefix('block')) - 1}.{number}.{part}.{tensor}"
    return f"{fixed[module]}.{tensor}"


def test_biases_of_the_class_layer() -> None:
    """The authors' networks start it at 0 for label corruption only; everything else has the same first weights."""
    torch.manual_seed(0)
    ours = method.build(Config(), wrn.build(3, depth=10, width=1), 7)
    torch.manual_seed(0)
    labels = ss_labels.build(ss_labels.Config(), wrn.build(3, depth=10, width=1), 7)
    assert not labels.head.bias.any()
    bound = ours.width**-0.5
    assert 0.3 * bound < float(ours.head.bias.detach().abs().max()) <= bound
    state = ours.state_dict()
    assert all(torch.equal(values, state[name]) for name, values in labels.state_dict().items() if name != "head.bias")


@pytest.mark.golden
def test_schedule_reference() -> None:
    """The published scheduler steps before the optimiser: its t-th rate is ours of t / T."""
    stored = load("ss_ood", "cosine_lr")
    for case in sorted({key.split("_")[0] for key in stored}):
        total = int(stored[f"{case}_epochs"]) * int(stored[f"{case}_iters_per_epoch"])
        rate = float(stored[f"{case}_lr"])
        actual = [cosine(rate, step / total, rate * 1e-5) for step in range(1, total + 1)]
        np.testing.assert_allclose(actual, stored[f"{case}_lr_used"], atol=1e-9)


def test_rotation_loss_by_hand() -> None:
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = sum(float(torch.logsumexp(logits[row], 0) - logits[row, row // 2]) for row in range(8))
    assert float(method.rotation_loss(logits)) == pytest.approx(total / 8, abs=1e-6)
    bits = method.rotation_bits(logits)
    assert float(bits.mean()) == pytest.approx(total / 8 / np.log(2), abs=1e-6)


def test_attack_objective_by_hand() -> None:
    """Sums, not means: one class image weighs as much as at the update, where four turned ones share the weight."""
    generator = torch.Generator().manual_seed(0)
    logits, turns = (torch.randn(n, k, generator=generator, dtype=torch.float64) for n, k in ((3, 5), (12, 4)))
    labels = torch.tensor([4, 0, 2])
    classes = sum(float(torch.logsumexp(logits[row], 0) - logits[row, labels[row]]) for row in range(3))
    rotations = sum(float(torch.logsumexp(turns[row], 0) - turns[row, row // 3]) for row in range(12))
    assert float(method.attack_objective(logits, labels, turns, 0.5)) == pytest.approx(
        classes + rotations / 8, rel=1e-6
    )
    assert float(method.attack_objective(logits, labels, None, 0.5)) == pytest.approx(classes, rel=1e-6)


def test_the_score_s_signs() -> None:
    """Sure of the class and of the turns: in-distribution."""
    sure, unsure = torch.tensor([[9.0, 0, 0]]), torch.zeros(1, 3)
    assert method.kl_from_uniform(sure) > method.kl_from_uniform(unsure)
    assert float(method.kl_from_uniform(unsure)) == pytest.approx(0, abs=1e-12)
    right = 9.0 * torch.eye(4)
    assert method.rotation_bits(right) < method.rotation_bits(torch.zeros(4, 4))
    assert float(method.rotation_bits(torch.zeros(4, 4))) == pytest.approx(2)


@pytest.mark.parametrize(("part", "weight"), [("ood", 3.0), ("auxiliary", 0.5), ("adversarial", 0.5)])
def test_the_rotation_weight_is_the_paper_s_for_each_part(part: str, weight: float) -> None:
    assert Config(part=part).weight == weight
    assert Config(part=part, rotation_weight=0).weight == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotations": False}, "rotations: false belongs to part: adversarial, not to part: ood"),
        ({"part": "auxiliary", "rotations": False}, "not to part: auxiliary; for plain training use the method erm"),
        ({"part": "adversarial", "translation_weight": 1}, "part: adversarial has no shifted images"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**settings)


def test_shifts_are_labelled() -> None:
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    moved, right, down = method.shifted(images, Config(), torch.Generator().manual_seed(1))
    lengths = torch.tensor([0, 2, -2])
    assert {(int(r), int(d)) for r, d in zip(right, down, strict=True)} == {(r, d) for r in range(3) for d in range(3)}
    assert torch.equal(moved, translate(images, lengths[right], lengths[down]))
    inner = moved[:, :, 2:6, 2:6]
    for row in range(60):
        dx, dy = int(lengths[right[row]]), int(lengths[down[row]])
        assert torch.equal(inner[row], images[row, :, 2 - dy : 6 - dy, 2 - dx : 6 - dx])


@pytest.mark.parametrize("part", PARTS)
def test_training(part: str, tmp_path: Path) -> None:
    config = Config(training=SHORT, **PARTS[part])
    model, rows = method.train(problem(48), config, run(tmp_path))
    assert np.isfinite([row["train_loss"] for row in rows]).all()
    assert (model.horizontal is not None) == (part == "translations")
    images = torch.randn(5, 1, 8, 8)
    actual = method.scores(model, images, config, {})
    if not config.rotations:
        assert actual == {}
        return
    assert set(actual) == {"ss", "ss_kl", "ss_rotation"}
    torch.testing.assert_close(actual["ss"], actual["ss_kl"] + actual["ss_rotation"])
    fresh = method.build(config, Net(), 3)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(method.scores(fresh.eval(), images, config, {})["ss"], actual["ss"])


def test_rotations_are_learnt(tmp_path: Path) -> None:
    """Images with one bright corner: the rotation loss falls well below chance."""
    from dataclasses import replace

    from reprood.engine.problem import ImageSet

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (64, 1, 8, 8)).astype(np.uint8)
    pixels[:, :, :3, :3] += 180
    data = ImageSet(torch.from_numpy(pixels), torch.arange(64) % 3)
    long = SHORT.model_copy(update={"epochs": 25, "augment": "none"})
    task = replace(problem(16), train=data)
    _, rows = method.train(task, Config(training=long, part="auxiliary", rotation_weight=1.0), run(tmp_path))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert len(rows) == 25


@pytest.mark.parametrize("centre", ["noised", "clean"])
def test_the_attack_stays_in_its_ball(centre: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around the clean images, or around noised ones: then up to twice as far, as the published code does."""
    far = []
    inner = method.pgd

    def watched(objective: object, images: Tensor, **options: object) -> Tensor:
        actual = inner(objective, images, **options)
        far.append(float((actual - images).abs().max()))
        assert float(actual.min()) >= 0
        assert float(actual.max()) <= 1
        return actual

    monkeypatch.setattr(method, "pgd", watched)
    config = Config(training=SHORT, part="adversarial", rotation_weight=0.5, steps=4, eps=0.1, step=0.05, centre=centre)
    method.train(problem(32), config, run(tmp_path))
    bound = 0.1 if centre == "clean" else 0.2
    assert max(far) <= bound + 1e-6
    assert centre == "clean" or max(far) > 0.15


class Killed(Exception):
    pass


@pytest.mark.parametrize("part", ["adversarial", "plain adversarial"])
def test_the_history_has_the_robust_error_and_the_training_does_not_depend_on_it(part: str, tmp_path: Path) -> None:
    given = {**PARTS[part], "eps": 0.1, "step": 0.03, "training": SHORT.model_copy(update={"monitor_every": 1})}
    task, names = problem(48), ("validation_robust_error", "test_robust_error")
    model, rows = method.train(task, Config(**given, monitor_steps=4), run(tmp_path / "a"))
    other, plain = method.train(task, Config(**given, monitor_steps=0), run(tmp_path / "b"))
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), other.state_dict().values()))
    assert all(name in row for row in rows for name in names)
    assert [{key: value for key, value in row.items() if key not in names} for row in rows] == plain
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (task.mean, task.std))

    def classify(images: Tensor) -> Tensor:
        return model((images - mean) / std)

    for name, data in task.monitor.items():
        generator = run(tmp_path).generator("robust error")
        images = data.images.float() / 255
        attacked = attack_labels(classify, images, data.labels, eps=0.1, step=0.03, steps=4, generator=generator)
        wrong = (classify(attacked).argmax(1) != data.labels).double()
        assert rows[-1][f"{name}_robust_error"] == pytest.approx(100 * float(wrong.mean()))
        assert rows[-1][f"{name}_robust_error"] >= rows[-1][f"{name}_error"]


def test_other_parts_have_no_robust_error(tmp_path: Path) -> None:
    for part in ("ood", "auxiliary"):
        _, rows = method.train(problem(48), Config(training=SHORT, **PARTS[part]), run(tmp_path / part))
        assert not any("robust" in key for row in rows for key in row)


@pytest.mark.parametrize("part", PARTS)
def test_killed_training_ends_in_the_same_bits(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, task = Config(training=SHORT, **PARTS[part]), problem(48, dropout=0.2)
    whole, expected = method.train(task, config, run(tmp_path / "whole"))
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    name = "ood_loss" if config.part == "ood" else "auxiliary_step" if config.part == "auxiliary" else "pgd"
    inner = getattr(method, name)
    for survived in (1, 2, 1):
        left = [survived]

        def dying(*arguments: object, left: list[int] = left, **options: object) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(method, name, dying)
            method.train(task, config, job)
    resumed, rows = method.train(task, config, job)
    assert rows == expected
    for (key, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key


def test_illustration() -> None:
    images = torch.randn(12, 1, 8, 8)
    made = method.illustrate(images, Config(), torch.Generator().manual_seed(0))
    assert made.shape == images.shape
    assert not torch.equal(made, images)
