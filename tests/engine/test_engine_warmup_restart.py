"""ReSmooth's learning rate: the warm-up package's values, the jump, and what happens at the edges."""

import math

import numpy as np
import pytest
from golden_files import load

from reprood.engine import schedules
from reprood.engine.training import Training


def rates(epochs: int, warm: float = 5, factor: float = 2.0, lr: float = 0.1) -> list[float]:
    training = Training(epochs=epochs, lr=lr, schedule="warmup_restart", warmup_epochs=warm, warmup_factor=factor)
    return [training.rate(epoch, 3, 10) for epoch in range(epochs)]


@pytest.mark.golden
def test_reference() -> None:
    arrays = load("resmooth", "lr_schedule")
    for case in range(int(arrays["n_cases"])):
        names = ("epochs", "lr0", "multiplier", "warm_epochs")
        epochs, lr, factor, warm = (float(arrays[f"c{case}_{name}"].item()) for name in names)
        np.testing.assert_allclose(rates(int(epochs), warm, factor, lr), arrays[f"c{case}_lr"], rtol=0, atol=1e-12)


def test_the_rate_jumps_back_and_does_not_reach_zero() -> None:
    found = rates(200)
    np.testing.assert_allclose(found[:7], [0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.1], atol=1e-12)
    assert found[199] == pytest.approx(0.05 * (1 + math.cos(math.pi * 193 / 200)))
    assert found[199] == pytest.approx(3.02e-4, abs=1e-6)


def test_edges() -> None:
    assert rates(4, warm=0)[:2] == [0.1, 0.1]
    assert rates(3, warm=3) == pytest.approx([0.1, 0.1 + 0.1 / 3, 0.1 + 0.2 / 3])
    # With the factor 1 the package starts at zero.
    assert rates(5, warm=2, factor=1.0)[:4] == pytest.approx([0.0, 0.05, 0.1, 0.1])
    assert schedules.warmup_restart(1.0, 0, 10, 0, 1.0) == 1.0


def test_other_schedules_do_not_use_the_factor() -> None:
    plain, other = (Training(epochs=8, schedule="cosine", warmup_epochs=2, warmup_factor=f) for f in (1.0, 5.0))
    assert [plain.rate(e, 1, 2) for e in range(8)] == [other.rate(e, 1, 2) for e in range(8)]
    with pytest.raises(ValueError, match="warmup_factor"):
        Training(warmup_factor=0.5)
