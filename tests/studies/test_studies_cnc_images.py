"""CnC's study of synthetic images: equal boxes and corruptions across arms, entropy, distances, and the figure."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_problem import Net, image_set, problem

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets.classifier import Classifier
from reprood.report.studies.cnc_images import conclude, draw
from reprood.studies import cnc_images
from reprood.studies.base import Context
from reprood.studies.cnc_images import Config

ARMS = ("source", "pbcc", "corruption", "cnc")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(channels: int = 1, seeds: tuple[int, ...] = (0, 1)) -> Context:
    with seeded(0):
        models = {seed: Classifier(Net(channels), 3).eval() for seed in seeds}
    task = problem(40, size=28, channels=channels)
    return Context("cnc_images", seeds, torch.device("cpu"), dict.fromkeys(seeds, task), {"erm": models})


def test_arms_share_boxes_and_corruptions(monkeypatch) -> None:
    calls = []

    def corrupt(images, names, rng, strengths, frost):
        calls.append((images.clone(), float(torch.rand((), generator=rng))))
        return 255 - images

    monkeypatch.setattr(cnc_images, "corrupt_mixed", corrupt)
    source = image_set(30, 12, 1, 3)
    made = cnc_images.synthesise(source, Config(batch=8), generator(1), generator(2))
    assert tuple(made) == ARMS
    assert torch.equal(made["cnc"], 255 - made["pbcc"])
    assert torch.equal(made["corruption"], 255 - source.images)
    assert [draw for _, draw in calls[:4]] == [draw for _, draw in calls[4:]]
    assert len({draw for _, draw in calls}) == 4


def test_entropy_and_distance() -> None:
    logits = torch.tensor([[0.0, 0, 0], [50, 0, 0], [1, 2, 3]], dtype=torch.float64)
    shares = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    expected = [np.log(3), 0.0, -(shares * np.log(shares)).sum()]
    np.testing.assert_allclose(cnc_images.entropy(logits).numpy(), expected, atol=1e-12)
    points = torch.tensor([[0.0, 0], [3, 4], [0, 0]], dtype=torch.float64)
    assert cnc_images.mean_distance(points) == pytest.approx(10 / 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_measure_and_figure(channels) -> None:
    what = context(channels)
    config = Config(images=30, batch=16, shown=4, frost="drawn")
    found, again = (cnc_images.measure(config, what) for _ in range(2))
    assert found.rows == again.rows
    table = pd.DataFrame(found.rows)
    wide = table.pivot(index=["arm", "seed"], columns="metric", values="value")
    assert len(wide) == 4 * 2
    assert bool(wide["entropy"].between(0, np.log(3)).all())
    np.testing.assert_allclose(wide.loc["source", "feature_distance"], 1)
    for arm in ARMS:
        assert found.arrays[f"shown_{arm}"].shape == (4, 28, 28, channels)
        assert found.arrays[f"entropy_{arm}"].sum() == 30
    figure = draw(table, found.arrays)
    assert len(figure.axes) == 4 + 3
    assert problems(figure) == []
    assert conclude(table).startswith("Mean entropy of a plain classifier")


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ReproodError, match="trained models of 'plain'"):
        cnc_images.measure(Config(classifier="plain"), context())
    small = problem(40)
    one = replace(small, train=image_set(1))
    with pytest.raises(ReproodError, match="two training images"):
        cnc_images.measure(Config(frost="drawn"), replace(context(), problems={0: one}))
