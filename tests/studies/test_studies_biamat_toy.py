"""BiaMAT's Gaussian model: the exact robust error, and what auxiliary labels along the robust feature do."""

from pathlib import Path

import pytest
import torch

from reprood.report.studies.biamat_toy import draw as draw_figure
from reprood.studies.base import Context
from reprood.studies.biamat_toy import Config, draw, measure, robust_error, uniform_loss, worst_loss


def test_the_robust_error_is_the_share_of_points_with_a_negative_worst_margin() -> None:
    mean, gains, eps = (
        torch.tensor([1.0, 0.3], dtype=torch.float64),
        torch.tensor([0.8, -0.4], dtype=torch.float64),
        0.2,
    )
    points, labels = draw(200_000, mean, torch.Generator().manual_seed(0))
    corners = points - eps * labels[:, None] * gains.sign()  # the worst point of the ball
    wrong = (labels * (corners @ gains) < 0).double().mean()
    assert robust_error(gains, mean, eps) == pytest.approx(100 * float(wrong), abs=0.3)
    assert worst_loss(points @ gains, labels, eps * gains.abs().sum()) == pytest.approx(
        float(torch.nn.functional.softplus(-labels * (corners @ gains)).mean())
    )


def test_the_uniform_target_is_best_met_at_zero() -> None:
    outputs = torch.linspace(-2, 2, 9)
    losses = [float(uniform_loss(one[None], torch.tensor(0.1))) for one in outputs]
    assert losses.index(min(losses)) == 4


def test_labels_along_the_robust_feature_help_and_the_figure_is_drawn(tmp_path: Path) -> None:
    import pandas as pd

    findings = measure(Config(steps=200), Context(name="biamat_toy", seeds=(0, 1), device=torch.device("cpu")))
    rows = pd.DataFrame(findings.rows)
    mean = rows.groupby(["metric", "arm"])["value"].mean()
    assert mean["robust_error", "near"] < mean["robust_error", "at"]
    assert mean["robust_share", "near"] > mean["robust_share", "at"]
    draw_figure(rows, findings.arrays).savefig(tmp_path / "toy.png")
