"""The Outlier Exposure loss against a loop, and against stored values."""

import math

import golden_files
import pytest
import torch
from torch import Tensor

from reprood.detectors.oe_cross_entropy import oe_cross_entropy
from reprood.methods.oe import oe_loss, uniform_cross_entropy


def slow(logits: Tensor, labels: Tensor, outlier_logits: Tensor, weight: float) -> float:
    """Sample by sample, from probabilities."""

    def log_softmax(row: list[float]) -> list[float]:
        total = math.log(sum(math.exp(value) for value in row))
        return [value - total for value in row]

    inside = [-log_softmax(row)[label] for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    outside = [-sum(log_softmax(row)) / len(row) for row in outlier_logits.tolist()]
    return sum(inside) / len(inside) + weight * sum(outside) / len(outside)


@pytest.mark.parametrize(("n", "m", "classes"), [(1, 1, 2), (5, 9, 4), (8, 3, 10)])
def test_equals_a_loop(n: int, m: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(n)
    logits, outliers = (3 * torch.randn(k, classes, generator=generator, dtype=torch.float64) for k in (n, m))
    labels = torch.randint(classes, (n,), generator=generator)
    for weight in (0.0, 0.5, 2.0):
        assert float(oe_loss(logits, labels, outliers, weight)) == pytest.approx(slow(logits, labels, outliers, weight))


def test_uniform_predictions_cost_log_c_and_the_score_is_the_same_function() -> None:
    assert float(uniform_cross_entropy(torch.zeros(1, 10)).exp()) == pytest.approx(10)
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(uniform_cross_entropy(logits), torch.from_numpy(oe_cross_entropy(logits.numpy())))


@pytest.mark.golden
def test_stored_values() -> None:
    arrays = {key: torch.as_tensor(array) for key, array in golden_files.load("baselines", "oe_loss").items()}
    inside = int(arrays["n_in"])
    logits = arrays["logits"].clone().requires_grad_()
    labels, alpha = arrays["labels"], float(arrays["alpha"])
    assert (labels[inside:] == -1).all()
    total = oe_loss(logits[:inside], labels[:inside], logits[inside:], alpha)
    (gradient,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(total.detach(), arrays["total_reference"], rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, arrays["grad_reference"], rtol=0, atol=1e-9)
    oe = uniform_cross_entropy(logits[inside:]).mean().detach()
    torch.testing.assert_close(oe, arrays["oe"], rtol=0, atol=1e-9)
    torch.testing.assert_close(total.detach() - alpha * oe, arrays["ce"], rtol=0, atol=1e-9)
    # pytorch-ood divides both sums by all samples: another trade-off.
    n, m = inside, len(labels) - inside
    other = (n * arrays["ce"] + alpha * m * arrays["oe"]) / (n + m)
    torch.testing.assert_close(other.float(), arrays["total_ptood"], rtol=0, atol=1e-5)
