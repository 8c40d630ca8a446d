"""Label corruption: corrections against reference values and by hand, phases, resuming, clear errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from golden_files import load
from reprood.engine.problem import Problem
from reprood.engine.training import Training
from reprood.errors import ReproodError
from reprood.images.rotations import rotated_batch
from reprood.methods import ss_labels as method
from reprood.methods.ss_labels import Config
from reprood.methods.ss_ood import rotation_loss
from tiny_problem import problem, run

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
    found = method.gold_matrix(torch.softmax(stored["glc_gold_logits"], 1), stored["glc_gold_labels"], classes)
    np.testing.assert_allclose(found.T, stored["glc_C_hat_transpose"], atol=1e-5)
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
        found = method.forward_matrix(probabilities, percentile)
        np.testing.assert_allclose(found.T, stored[f"forward_C_hat_transpose_{name}"], atol=1e-5)
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


def test_glc_without_trusted_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproodError, match="GLC needs training images with trusted labels"):
        method.train(problem(48), config("glc"), run(tmp_path))


class Killed(Exception):
    pass


@pytest.mark.parametrize("case", ["plain", "glc with rotations"])
def test_killed_training_ends_in_the_same_bits(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = noisy(dropout=0.2)
    whole, expected = method.train(task, config(case), run(tmp_path / "whole"))
    job = run(tmp_path / "killed", checkpoint_seconds=0)
    inner = functional.cross_entropy
    # calls of the loss until death, over all phases: within the first, between, within the last
    for survived in (1, 2, 1) if case == "plain" else (2, 5, 4, 5, 2):
        left = [survived]

        def dying(*arguments: object, left: list[int] = left, **options: object) -> Tensor:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return inner(*arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(functional, "cross_entropy", dying)
            method.train(task, config(case), job)
    resumed, rows = method.train(task, config(case), job)
    assert rows == expected
    for (key, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key
