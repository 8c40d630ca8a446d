"""CSI's losses against slow references."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.methods.csi.loss import joint_labels, nt_xent, shift_cross_entropy, supervised_nt_xent


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(z: np.ndarray, temperature: float, labels: list[int] | None = None) -> float:
    unit = [row / (math.sqrt(sum(v * v for v in row)) + 1e-8) for row in z]
    count = len(z)
    total = 0.0
    for i in range(count):
        scaled = [float(np.dot(unit[i], unit[j])) / temperature for j in range(count)]
        top = max(scaled) if labels is not None else 0.0
        weights = [math.exp(s - top) if j != i else 0.0 for j, s in enumerate(scaled)]
        shares = [w / (sum(weights) + 1e-8) for w in weights]
        if labels is None:
            total -= math.log(shares[(i + count // 2) % count] + 1e-8)
        else:
            same = [j for j in range(count) if labels[j] == labels[i]]
            total -= sum(math.log(shares[j] + 1e-8) for j in same) / (len(same) + 1e-8)
    return total / count


def test_losses_against_loops() -> None:
    z = noise(12, 5)
    assert float(nt_xent(z, 0.5)) == pytest.approx(by_hand(z.numpy(), 0.5), rel=1e-12)
    labels = torch.tensor([0, 1, 0, 2, 2, 2])
    expected = by_hand(z.numpy(), 0.07, labels.repeat(2).tolist())
    assert float(supervised_nt_xent(z, labels, 0.07)) == pytest.approx(expected, rel=1e-12)


def test_losses_do_not_depend_on_lengths_or_order() -> None:
    z, labels = noise(12, 5), torch.tensor([0, 1, 0, 2, 2, 1])
    lengths = torch.arange(1.0, 13.0)[:, None]
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    both = torch.cat((order, order + 6))
    for loss, after in (
        (lambda v: nt_xent(v, 0.5), lambda v: nt_xent(v, 0.5)),
        (lambda v: supervised_nt_xent(v, labels, 0.2), lambda v: supervised_nt_xent(v, labels[order], 0.2)),
    ):
        assert float(loss(z * lengths)) == pytest.approx(float(loss(z)), rel=1e-6)
        assert float(after(z[both])) == pytest.approx(float(loss(z)), rel=1e-12)


def test_loss_at_chance_and_at_best() -> None:
    assert float(nt_xent(torch.ones(10, 4), 0.5)) == pytest.approx(math.log(9), abs=1e-5)
    apart = torch.eye(4).repeat(2, 1)
    assert float(nt_xent(apart, 0.02)) < 1e-6
    # the row itself among its positives: a constant of 18.42 over their number
    assert float(supervised_nt_xent(apart, torch.arange(4), 0.02)) == pytest.approx(-math.log(1e-8) / 2, abs=1e-3)
    zero = torch.zeros(4, 3, requires_grad=True)
    nt_xent(zero, 0.5).backward()
    assert bool(torch.isfinite(zero.grad).all())


def test_losses_do_not_depend_on_the_precision_of_the_network() -> None:
    z, labels = noise(64, 16).float(), torch.arange(32) % 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt_xent(z, 0.5), supervised_nt_xent(z, labels, 0.07)
    assert inside == (nt_xent(z, 0.5), supervised_nt_xent(z, labels, 0.07))


def test_losses_refuse_single_views() -> None:
    with pytest.raises(ReproodError, match="two views"):
        nt_xent(torch.ones(3, 2), 0.5)
    with pytest.raises(ReproodError, match="labels"):
        supervised_nt_xent(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), 0.5)


def test_joint_labels_and_shift_cross_entropy() -> None:
    assert joint_labels(torch.tensor([2, 0]), 3, "rotation").tolist() == [2, 0, 5, 3, 8, 6, 11, 9]
    assert joint_labels(torch.tensor([2, 0]), 3, "none").tolist() == [2, 0]
    sure = 50.0 * torch.eye(4).repeat_interleave(3, 0).repeat(2, 1)
    assert float(shift_cross_entropy(sure, "rotation", views=2)) == pytest.approx(0, abs=1e-6)
    assert float(shift_cross_entropy(sure.flip(0), "rotation", views=2)) > 10
