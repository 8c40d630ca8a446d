"""The study of ReSmooth's split: its numbers against their definitions, equal draws, and the figure."""

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_problem import Net, problem
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import erm
from reprood.methods.resmooth.mixture import bic_of_one, fit_mixture
from reprood.nets.classifier import Classifier
from reprood.report.studies.resmooth_split import conclude, draw
from reprood.studies import resmooth_split
from reprood.studies.base import Context
from reprood.studies.resmooth_split import Config, Views, arm_of, split

STRONG = ("n2_m28", "n1_m28", "n3_m28", "n2_m4", "n2_m16")


def context(channels: int = 1, seeds: tuple[int, ...] = (0, 1), size: int = 12) -> Context:
    with seeded(0):
        models: dict[int, nn.Module] = {seed: Classifier(Net(channels), 3).eval() for seed in seeds}
    task = problem(40, size=size, channels=channels)
    configs = {"erm": erm.Config(training=Training(crop_padding=1))}
    return Context("resmooth_split", seeds, torch.device("cpu"), dict.fromkeys(seeds, task), {"erm": models}, configs)


def views(losses: list[float], right: list[bool]) -> Views:
    return Views(torch.zeros(len(losses), 1, 2, 2, dtype=torch.uint8), torch.tensor(losses), torch.tensor(right))


def test_numbers_against_their_definitions() -> None:
    weak = views([-6.0, -5.5, -5.0, -5.2, 0.1], [True, True, True, True, False])
    strong = views([-5.4, 0.0, 0.3, 0.2, -0.1], [True, False, False, True, False])
    mild = views([-5.4, -5.1, 0.2, -6.0, -5.0], [True] * 5)
    found, mixture = split({"weak": weak, "n2_m28": strong, "n1_m28": mild}, "n2_m28")
    pooled = torch.cat((weak.losses, strong.losses))
    assert mixture == fit_mixture(pooled)
    assert found["weak", "share_ood"] == pytest.approx(20)
    assert found["n2_m28", "share_ood"] == pytest.approx(80)
    assert found["n1_m28", "share_ood"] == pytest.approx(20)
    assert found["id", "accuracy"] == pytest.approx(100)
    assert found["ood", "accuracy"] == pytest.approx(20)
    assert found["two", "bic_difference"] == pytest.approx(mixture.bic(pooled) - bic_of_one(pooled))
    assert found["two", "bic_difference"] == pytest.approx(found["two", "bic"] - found["one", "bic"])
    assert found["two", "bic_difference"] < 0
    assert found["two", "collapsed"] == 0


def test_settings() -> None:
    assert [arm_of(*setting) for setting in Config().settings()] == list(STRONG)
    assert Config(operation_grid=(), magnitude_grid=(2.5,)).settings() == [(2, 28.0), (2, 2.5)]


def test_draws_are_the_same_along_the_magnitudes(monkeypatch) -> None:
    calls = []
    inner = resmooth_split.resmooth.strong_before

    def spy(images, method, rng):
        calls.append((method.operations, method.magnitude, images.clone(), rng.get_state()))
        return inner(images, method, rng)

    monkeypatch.setattr(resmooth_split.resmooth, "strong_before", spy)
    resmooth_split.measure(Config(images=20), context(seeds=(0,)))
    states = {(n, m): state for n, m, _, state in calls}
    assert torch.equal(states[2, 28.0], states[2, 4.0])
    assert not torch.equal(states[2, 28.0], states[1, 28.0])
    assert all(torch.equal(calls[0][2], images) for _, _, images, _ in calls)


@pytest.mark.parametrize("channels", [1, 3])
def test_measure_and_figure(channels) -> None:
    task = context(channels)
    found = resmooth_split.measure(Config(images=32, batch=10, shown=4), task)
    again = resmooth_split.measure(Config(images=32, batch=10, shown=4), task)
    assert found.rows == again.rows
    rows = pd.DataFrame(found.rows)
    assert np.isfinite(rows["value"]).all()
    assert set(rows.loc[rows["metric"] == "share_ood", "arm"]) == {"weak", *STRONG}
    assert set(rows["seed"]) == {0, 1}
    arrays = found.arrays
    assert arrays["weak"].sum() == arrays["strong"].sum() == 32
    assert arrays["mixture"].shape == (3, 2)
    assert arrays["shown_id"].dtype == np.uint8
    assert arrays["shown_id"].shape[1:] == (12, 12, channels)
    assert sum(array.nbytes for array in arrays.values()) < 2_000_000
    figure = draw(rows, arrays)
    assert len(figure.axes) == 5
    assert problems(figure) == []
    assert conclude(rows).startswith("By BIC, ")
    # A side may have no images, and a grid a single point.
    assert draw(rows, {**arrays, "shown_ood": arrays["shown_ood"][:0]})
    few = resmooth_split.measure(Config(images=32, operation_grid=(), magnitude_grid=()), task)
    assert draw(pd.DataFrame(few.rows), few.arrays)


def test_errors() -> None:
    with pytest.raises(ReproodError, match="'plain'"):
        resmooth_split.measure(Config(classifier="plain"), context())
