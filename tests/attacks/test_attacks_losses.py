"""Objectives of attacks against loops and identities."""

import math

import torch
from torch import Tensor

from reprood.attacks.losses import cross_entropy, kl_divergence, margin


def logits(seed: int = 0, count: int = 5, classes: int = 4) -> Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 3, 1, 2, 2])


def test_cross_entropy_of_classes_and_of_distributions() -> None:
    values = logits()
    expected = [math.log(sum(math.exp(z) for z in row)) - row[y] for row, y in zip(values.tolist(), LABELS.tolist())]
    torch.testing.assert_close(cross_entropy(values, LABELS), torch.tensor(expected, dtype=torch.float64))
    one_hot = torch.nn.functional.one_hot(LABELS, 4).double()
    torch.testing.assert_close(cross_entropy(values, one_hot), cross_entropy(values, LABELS))
    uniform = torch.full_like(values, 0.25)
    torch.testing.assert_close(cross_entropy(values, uniform), -values.log_softmax(1).mean(1))


def test_margin() -> None:
    values = logits()
    rows = [(row.pop(y), row) for row, y in zip(values.tolist(), LABELS.tolist())]
    for confidence in (50.0, 1.0, 0.0):
        expected = [-max(own - max(others) + confidence, 0.0) for own, others in rows]
        torch.testing.assert_close(margin(values, LABELS, confidence), torch.tensor(expected, dtype=torch.float64))


def test_margin_with_confidence_zero_leaves_misclassified_images_alone() -> None:
    values = logits()
    values[:2, 0] = torch.tensor([9.0, -9.0])  # the first image is right
    values.requires_grad_()
    wrong = values.argmax(1) != LABELS
    assert 0 < wrong.sum() < len(LABELS)
    (slope,) = torch.autograd.grad(margin(values, LABELS, 0.0).sum(), values)
    assert torch.equal(slope.abs().sum(1) == 0, wrong)


def test_kl_divergence() -> None:
    changed, natural = logits(1), logits(2)
    before = natural.softmax(1)
    expected = (before * (before.log() - changed.softmax(1).log())).sum(1)
    torch.testing.assert_close(kl_divergence(changed, natural), expected)
    assert kl_divergence(natural, natural).abs().max() < 1e-12
    certain = torch.tensor([[2000.0, 0.0]])
    assert kl_divergence(torch.zeros(1, 2), certain).item() == torch.tensor(2.0).log()  # 0 log 0 is 0
