"""Label corruption: corrections against reference values and by hand, phases, resuming, clear errors."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import problem, run
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.problem import Problem
from reprood.engine.training import Training
from reprood.images.rotations import rotated_batch
from reprood.methods import ss_labels as method
from reprood.methods.ss_labels import Config
from reprood.methods.ss_ood import rotation_loss

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1, monitor_every=2)
CASES: dict[str, dict[str, object]] = {
    "plain": {"rotations": False},
    "rotations": {},
    "glc": {"rotations": False, "correction": "glc"},
    "glc with rotations": {"correction": "glc"},
    "forward": {"correction": "forward", "percentile": None},
}


def noisy(**changes: object) -> Problem:
    task = problem(48, **changes)
    return replace(task, trusted=torch.arange(48) < 12)


def config(case: str) -> Config:
    return Config(training=SHORT, pretraining=SHORT, **CASES[case])


@pytest.mark.golden
def test_glc_references() -> None:
    stored = {key: torch.from_numpy(np.array(value)) for key, value in load("ss_ood", "label_correction").items()}
    classes = stored["glc_C_hat_transpose"].shape[0]
    actual = method.gold_matrix(torch.softmax(stored["glc_gold_logits"], 1), stored["glc_gold_labels"], classes)
    np.testing.assert_allclose(actual.T, stored["glc_C_hat_transpose"], atol=1e-5)
    marked = stored["p2_targets_marked"]
    gold = marked >= classes
    matrix = stored["glc_C_hat_transpose"].T
    divisor = int(stored["p2_batch_size_constant"])
    turned, labels = rotated_batch(stored["p2_images"])
    assert labels.tolist() == [turn for turn in range(4) for _ in range(len(stored["p2_images"]))]
    for variant, with_turns in (("p2_ss0", False), ("p2_ss1", True)):
        silver = stored[f"{variant}_silver_logits"].clone().requires_grad_()
        loss = method.glc_loss(
            silver, marked[~gold], stored[f"{variant}_gold_logits"], marked[gold] - classes, matrix, divisor
        )
        if with_turns:
            features = functional.linear(stored["p2_rot_penultimate"], stored["rot_w"], stored["rot_b"])
            loss = loss + 0.5 * rotation_loss(features)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(stored[f"{variant}_loss"]), abs=1e-5)
        np.testing.assert_allclose(silver.grad, stored[f"{variant}_grad_silver"], atol=1e-5)
    if "p2_rot_images" in stored:
        found_images = {row.numpy().tobytes() for row in stored["p2_rot_images"]}
        plain, scaled = ({row.numpy().tobytes() for row in part} for part in (turned, 2 * turned - 1))
        assert found_images in (plain, scaled)


@pytest.mark.golden
def test_forward_references() -> None:
    stored = {key: torch.from_numpy(np.array(value)) for key, value in load("ss_ood", "label_correction").items()}
    probabilities = torch.softmax(stored["forward_logits"], 1)
    for percentile, name in ((97.0, "cifar10"), (None, "cifar100")):
        actual = method.forward_matrix(probabilities, percentile)
        np.testing.assert_allclose(actual.T, stored[f"forward_C_hat_transpose_{name}"], atol=1e-5)
    logits = stored["forward_train_logits"].clone().requires_grad_()
    matrix = stored["forward_C_hat_transpose_cifar100"].T
    loss = method.corrected_nll(logits, stored["forward_train_labels"], matrix).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(stored["forward_loss"]), abs=1e-5)
    np.testing.assert_allclose(logits.grad, stored["forward_grad"], atol=1e-5)


def test_corrected_loss_by_hand() -> None:
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    labels = torch.tensor([1, 0, 1])
    p = torch.softmax(logits, 1)
    wanted = [-np.log(sum(float(p[i, c]) * float(matrix[c, labels[i]]) for c in range(2))) for i in range(3)]
    np.testing.assert_allclose(method.corrected_nll(logits, labels, matrix), wanted)
    identity = method.corrected_nll(logits, labels, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(identity, functional.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("count", [7, 101, 250])
def test_forward_matrix_by_numpy(count: int) -> None:
    """Class after class on one array: what an earlier class zeroed stays zero."""
    generator = torch.Generator().manual_seed(count)
    probabilities = torch.softmax(3 * torch.randn(count, 4, generator=generator, dtype=torch.float64), 1)
    left, rows = probabilities.numpy().copy(), []
    for label in range(4):
        left[left[:, label] >= np.percentile(left[:, label], 97, method="higher"), label] = 0
        rows.append(left[left[:, label].argmax()].copy())
    kept = probabilities.clone()
    np.testing.assert_array_equal(method.forward_matrix(probabilities, 97.0), rows)
    assert torch.equal(probabilities, kept)


def test_forward_matrix_of_sure_predictions_is_the_identity() -> None:
    assert torch.equal(method.forward_matrix(torch.eye(4), None), torch.eye(4))


@pytest.mark.parametrize("case", CASES)
def test_phases(case: str, tmp_path: Path) -> None:
    _, rows = method.train(noisy(), config(case), run(tmp_path))
    chosen = config(case)
    phases = ["rotation"] * chosen.rotations + ["train"] + ["corrected"] * (chosen.correction != "none")
    assert list(dict.fromkeys(row["phase"] for row in rows)) == phases
    assert np.isfinite([row["train_loss"] for row in rows]).all()


def test_the_noisy_phase_of_glc_sees_no_trusted_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    inner = method.fit

    def watched(model: object, loss: object, data: object, *rest: object, **options: object) -> object:
        sizes[options.get("phase", "train")] = len(data)
        return inner(model, loss, data, *rest, **options)

    monkeypatch.setattr(method, "fit", watched)
    method.train(noisy(), config("glc"), run(tmp_path))
    assert sizes == {"train": 36, "corrected": 48}


@pytest.mark.parametrize("case", ["glc", "glc with rotations"])
def test_where_the_corrected_phase_begins(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weights that the rotations left, or with new ones; never with those of the noisy labels."""
    before, after = {}, {}
    inner = method.fit

    def watched(model: torch.nn.Module, *rest: object, **options: object) -> object:
        phase = options.get("phase", "train")
        before[phase] = {key: value.clone() for key, value in model.state_dict().items()}
        rows = inner(model, *rest, **options)
        after[phase] = {key: value.clone() for key, value in model.state_dict().items()}
        return rows

    def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return all(torch.equal(one[key], other[key]) for key in one)

    monkeypatch.setattr(method, "fit", watched)
    method.train(noisy(), config(case), run(tmp_path))
    assert not same(before["corrected"], after["train"])
    if "rotation" in after:
        assert same(before["corrected"], after["rotation"])
        assert same(before["train"], after["rotation"])
    else:
        assert not same(before["corrected"], before["train"])


@pytest.mark.parametrize(("case", "trusted"), [("glc", 12), ("forward", 0)])
def test_what_the_corrected_loss_is_given(
    case: str, trusted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trusted rows apart from the others; GLC divides by the batch size of the settings in a short last batch, too."""
    given = []
    inner = method.glc_loss

    def watched(*arguments: Tensor | int) -> Tensor:
        given.append((len(arguments[1]), len(arguments[3]), arguments[5]))
        return inner(*arguments)

    monkeypatch.setattr(method, "glc_loss", watched)
    short = SHORT.model_copy(update={"epochs": 1, "batch_size": 20})
    method.train(noisy(), config(case).model_copy(update={"training": short, "rotations": False}), run(tmp_path))
    assert [silver + gold for silver, gold, _ in given] == [20, 20, 8]
    assert sum(gold for _, gold, _ in given) == trusted
    assert [divisor for *_, divisor in given] == ([20, 20, 20] if case == "glc" else [20, 20, 8])


def test_class_forward_of_the_rotation_phase_moves_batch_statistics(tmp_path: Path) -> None:
    model, _ = method.train(noisy(), config("rotations"), run(tmp_path))
    steps = 3 * SHORT.epochs
    assert int(model.backbone.norm.num_batches_tracked) == 2 * steps + 2 * steps


def test_glc_without_trusted_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproodError, match="GLC needs training images with trusted labels"):
        method.train(problem(48), config("glc"), run(tmp_path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [([0, 1, 3, 4], "4 have trusted labels, and none is of class 2"), (range(48), "and no other image is left")],
)
def test_trusted_images_that_glc_cannot_use(rows: Sequence[int], message: str, tmp_path: Path) -> None:
    trusted = torch.zeros(48, dtype=torch.bool)
    trusted[list(rows)] = True
    with pytest.raises(ReproodError, match=message):
        method.train(replace(problem(48), trusted=trusted), config("glc"), run(tmp_path))


class Killed(Exception):
    pass


# calls of the loss that each attempt survives; a step with labels and rotations has two
PATIENCE = {"plain": 1, "glc": 3, "forward": 3, "glc with rotations": 3}


@pytest.mark.parametrize("case", PATIENCE)
def test_killed_training_ends_in_the_same_bits(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed repeatedly, in every phase: the matrix between the phases is computed again each time."""
    task, chosen = noisy(dropout=0.2), config(case)
    whole, expected = method.train(task, chosen, run(tmp_path / "whole"))
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    inner, inner_fit = functional.cross_entropy, method.fit
    left, phases, deaths = [0], [""], []

    def dying(*arguments: object, **options: object) -> Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return inner(*arguments, **options)

    def watched(*arguments: object, **options: object) -> object:
        phases.append(str(options.get("phase", "train")))
        return inner_fit(*arguments, **options)

    monkeypatch.setattr(functional, "cross_entropy", dying)
    monkeypatch.setattr(method, "fit", watched)
    for _ in range(60):
        left[0] = PATIENCE[case]
        try:
            resumed, rows = method.train(task, chosen, job)
            break
        except Killed:
            deaths.append(phases[-1])
    assert set(deaths) == {row["phase"] for row in expected}
    assert rows == expected
    for (key, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key
