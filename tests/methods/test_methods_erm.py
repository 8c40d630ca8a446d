"""Cross-entropy and label smoothing."""

import numpy as np
import pytest
import torch
from tiny_problem import problem, run

from reprood.engine.training import Training
from reprood.methods import erm


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_against_a_loop(smoothing) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 4, 2, 2, 1, 3])
    slow = 0.0
    for row, label in zip(logits.numpy(), labels.tolist(), strict=True):
        target = np.full(5, smoothing / 5)
        target[label] += 1 - smoothing
        slow -= float(target @ (row - np.log(np.exp(row).sum()))) / 6
    assert float(erm.smoothed_cross_entropy(logits, labels, smoothing)) == pytest.approx(slow, abs=1e-12)


def test_training_learns_and_repeats(tmp_path) -> None:
    config = erm.Config(training=Training(epochs=8, batch_size=16, lr=0.1, crop_padding=1, monitor_every=8))
    outcome = [erm.train(problem(96), config, run(tmp_path / str(i))) for i in range(2)]
    assert outcome[0][1] == outcome[1][1]
    assert outcome[0][1][-1]["validation_error"] < 20
    for key, value in outcome[0][0].state_dict().items():
        assert torch.equal(value, outcome[1][0].state_dict()[key])
    other, _ = erm.train(problem(96), config, run(tmp_path / "other", root_seed=8))
    assert not torch.equal(other.head.weight, outcome[0][0].head.weight)
