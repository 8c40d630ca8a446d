"""The study of HOOD's mechanism: its numbers against their definitions, the same pairs for every model, the figure."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_problem import Net, image_set, problem
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import erm, hood
from reprood.nets.classifier import Classifier
from reprood.report.studies.hood_mechanism import conclude, draw
from reprood.studies import hood_mechanism
from reprood.studies.base import Context
from reprood.studies.hood_mechanism import Config, numbers, shuffled_hsic

METRICS = {"hsic", "hsic_expected", "hsic_relative_gap", "pairing_spread", "kbar", "lbar", "norm_id", "norm_outlier"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(seeds: tuple[int, ...] = (0, 1), factor: float = 1.0) -> Context:
    models: dict[str, dict[int, nn.Module]] = {"erm": {}, "hood": {}}
    for seed in seeds:
        with seeded(seed):
            models["erm"][seed] = Classifier(Net(), 3).eval()
            models["hood"][seed] = hood.build(hood.Config(), Net(), 3).eval()
            with torch.no_grad():
                models["hood"][seed].backbone.norm.weight.mul_(factor)
    task = replace(problem(40), auxiliary={"letters": image_set(30, seed=5)})
    training = Training(batch_size=8, drop_last=True)
    configs = {"erm": erm.Config(), "hood": hood.Config(training=training, tau=0.3)}
    return Context("mechanism", seeds, torch.device("cpu"), dict.fromkeys(seeds, task), models, configs)


def kernels(width: int, rows: int = 64) -> tuple[Tensor, Tensor]:
    made = torch.randn(2, rows, width, generator=generator(), dtype=torch.float64)
    return hood.gaussian_kernel(made[0], width**0.5), hood.gaussian_kernel(made[1], width**0.5)


def test_numbers_of_arbitrary_pairs() -> None:
    spreads = []
    for width in (2, 400):
        k, m = kernels(width)
        shuffled = shuffled_hsic(k, m, 200, generator(1))
        found = numbers(k, m, shuffled)
        expected = float((1 - (k.sum() - 64) / 4032) * (1 - (m.sum() - 64) / 4032) / 63)
        assert found["hsic_expected"] == pytest.approx(expected)
        assert found["hsic"] == pytest.approx(float(hood.kernel_hsic(k, m)))
        assert found["hsic_relative_gap"] == pytest.approx(abs(found["hsic"] - expected) / found["hsic"])
        assert found["kbar"] == pytest.approx(float((k.sum() - 64) / 4032))
        assert found["pairing_spread"] == pytest.approx(float(shuffled.std()) / expected, rel=0.01)
        assert float(shuffled.mean()) == pytest.approx(expected, rel=4 * found["pairing_spread"] / 200**0.5)
        spreads.append((found["hsic_relative_gap"], found["pairing_spread"]))
    # In few dimensions one pairing may be far from the mean of all; in many it is not.
    assert spreads[0][1] > 0.2
    assert max(spreads[1]) < 0.05


def test_dependent_pairs_are_told_from_shuffled_ones() -> None:
    k, _ = kernels(5)
    found = numbers(k, k, shuffled_hsic(k, k, 50, generator()))
    assert found["hsic"] > 2 * found["hsic_expected"]
    assert found["hsic"] - found["hsic_expected"] > 5 * found["pairing_spread"] * found["hsic_expected"]


def test_measure_and_figure() -> None:
    task = context()
    found = hood_mechanism.measure(Config(pairings=20), task)
    assert found.rows == hood_mechanism.measure(Config(pairings=20), task).rows
    rows = pd.DataFrame(found.rows)
    assert np.isfinite(rows["value"]).all()
    assert not rows.duplicated(["seed", "arm", "metric"]).any()
    for arm, metrics in (("erm", METRICS), ("hood", METRICS), ("mean_over_pairings", {"hsic_relative_gap"})):
        assert set(rows.loc[rows["arm"] == arm, "metric"]) == metrics
    assert set(rows["seed"]) == {0, 1}
    # Both models of a seed are the same here and see the same pairs.
    for seed in (0, 1):
        with seeded(seed):
            task.models["hood"][seed].backbone.load_state_dict(task.models["erm"][seed].backbone.state_dict())
    again = pd.DataFrame(hood_mechanism.measure(Config(pairings=20), task).rows).set_index(["arm", "metric", "seed"])
    again = again.sort_index()
    assert again.loc["hood", "value"].to_dict() == again.loc["erm", "value"].to_dict()
    assert found.arrays["pairings_hood"].shape == (20,)
    assert found.arrays["pair_erm"].shape == (2,)
    figure = draw(rows, found.arrays)
    assert len(figure.axes) == 3
    assert problems(figure) == []
    assert conclude(rows).startswith("HSIC of the actual pairing")


def test_less_spread_has_less_hsic() -> None:
    by_factor = {}
    for factor in (1.0, 0.5):
        found = hood_mechanism.measure(Config(), context(factor=factor))
        by_factor[factor] = {(row["arm"], row["metric"], row["seed"]): row["value"] for row in found.rows}
    for seed in (0, 1):
        assert by_factor[0.5]["hood", "kbar", seed] > by_factor[1.0]["hood", "kbar", seed]
        assert by_factor[0.5]["hood", "hsic", seed] < by_factor[1.0]["hood", "hsic", seed]
        assert by_factor[0.5]["hood", "norm_id", seed] == pytest.approx(by_factor[1.0]["hood", "norm_id", seed] / 2)


def test_errors() -> None:
    with pytest.raises(ReproodError, match="'hood_aug'"):
        hood_mechanism.measure(Config(reference="hood_aug"), context())
    with pytest.raises(ReproodError, match="'erm' is not a training with HOOD"):
        hood_mechanism.measure(Config(reference="erm"), context())
    with pytest.raises(ReproodError, match="pairs of 128 images.*20 and 30"):
        hood_mechanism.measure(Config(batch=128), context())
    with pytest.raises(ReproodError, match="do not differ"):
        hood_mechanism.measure(Config(), context(factor=0.0))
