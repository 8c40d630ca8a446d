"""Batches of a second data set: full passes, over the epochs of the first, a function of epoch and step."""

from pathlib import Path

import pytest
import torch
from tiny_problem import run

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.training import Training
from reprood.methods.biamat.second_stream import second_stream

EMPTY = torch.zeros(0)
TRAINING = Training(epochs=4, batch_size=8)


def batch(epoch: int, step: int) -> Batch:
    return Batch(EMPTY, EMPTY, EMPTY, torch.Generator(), epoch, step, 0.0)


def test_passes(tmp_path: Path) -> None:
    """27 images give three batches of 8 a pass; five steps an epoch."""
    rows = second_stream(27, 40, TRAINING, run(tmp_path), "letters")
    steps = [rows(batch(epoch, step)) for epoch in range(3) for step in range(5)]
    for start in range(0, 15, 3):
        seen = torch.cat(steps[start : start + 3])
        assert len(seen) == 24
        assert len(seen.unique()) == 24
        assert int(seen.max()) < 27
    assert not torch.equal(torch.cat(steps[:3]), torch.cat(steps[3:6]))


def test_any_step_at_any_time(tmp_path: Path) -> None:
    first, second = (second_stream(27, 40, TRAINING, run(tmp_path), "letters") for _ in range(2))
    for epoch in range(3):
        for step in range(5):
            first(batch(epoch, step))
    assert torch.equal(first(batch(1, 2)), second(batch(1, 2)))
    other = second_stream(27, 40, TRAINING, run(tmp_path, root_seed=8), "letters")
    assert not torch.equal(other(batch(1, 2)), second(batch(1, 2)))
    named = second_stream(27, 40, TRAINING, run(tmp_path), "digits")
    assert not torch.equal(named(batch(1, 2)), second(batch(1, 2)))


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(ReproodError, match="'letters' has 7 images, but a batch takes 8"):
        second_stream(7, 40, TRAINING, run(tmp_path), "letters")
