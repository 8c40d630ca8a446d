"""CnC's toy problem: areas against reference values and a dense grid, its data, and a small run with its figure."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from golden_files import load
from layout import problems

from reprood.report.studies.cnc_toy import conclude, draw
from reprood.studies import cnc_toy
from reprood.studies.base import Context
from reprood.studies.cnc_toy import ARMS, Config

SMALL = Config(points=60, hidden=(8, 8), steps=60, grid=24)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cases() -> Iterator[tuple[dict[str, np.ndarray], list[tuple[np.ndarray, np.ndarray]]]]:
    arrays = load("cnc", "toy_regions")
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        found = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        yield found, [(found[f"W{i}"], found[f"b{i}"]) for i in (1, 2, 3)]


@pytest.mark.golden
def test_regions_reference() -> None:
    for case, layers in cases():
        window, classes = tuple(case["domain"].tolist()), int(case["n_id_classes"])
        regions = cnc_toy.activation_regions(layers, window)
        areas = np.sort([region.area for region in regions])[::-1]
        assert abs(len(regions) - int(case["n_regions"])) <= 2
        assert areas.sum() == pytest.approx(float(case["area_total"]), abs=1e-6)
        shared = min(len(areas), len(case["areas"]))
        np.testing.assert_allclose(areas[:shared], case["areas"][:shared], rtol=0, atol=1e-6)
        inside = [region for region in regions if region.is_id(classes)]
        assert abs(len(inside) - int(case["n_id_regions"])) <= 2
        assert sum(region.area for region in inside) == pytest.approx(float(case["area_id"]), abs=1e-6)
        empty = cnc_toy.empty_id_regions(regions, layers, case["points"], classes)
        assert sum(region.area for region in empty) == pytest.approx(float(case["area_id_empty"]), abs=1e-6)


def network_layers(seed: int, widths: tuple[int, ...] = (2, 10, 9, 3)) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, 1, (b, a)), rng.normal(0, 0.5, b)) for a, b in pairwise(widths)]


def logits(layers: list[tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> np.ndarray:
    for weight, bias in layers[:-1]:
        points = np.maximum(points @ weight.T + bias, 0)
    return points @ layers[-1][0].T + layers[-1][1]


@pytest.mark.parametrize("widths", [(2, 10, 9, 3), (2, 6, 3), (2, 5, 5, 5, 4)])
def test_regions_against_a_dense_grid(widths) -> None:
    layers = network_layers(1, widths)
    regions = cnc_toy.activation_regions(layers, (-1.0, 2.0))
    by_pattern = {region.pattern: region for region in regions}
    assert len(by_pattern) == len(regions)
    side = 600
    centres = -1 + (np.arange(side) + 0.5) * 3 / side
    grid = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    found = cnc_toy.patterns(layers, grid)
    for name, count in Counter(found).items():
        region = by_pattern[name]
        perimeter = np.linalg.norm(region.corners - np.roll(region.corners, 1, 0), axis=1).sum()
        assert count * 9 / side**2 == pytest.approx(region.area, abs=perimeter * 3 / side + 1e-9)
    for point, name in zip(grid[::977], found[::977], strict=True):
        region = by_pattern[name]
        np.testing.assert_allclose(region.matrix @ point + region.offset, logits(layers, point), atol=1e-10)


def test_id_means_some_point() -> None:
    layers = network_layers(2)
    regions = cnc_toy.activation_regions(layers, (-1.0, 2.0))
    rng = np.random.default_rng(0)
    kinds = set()
    for region in regions:
        weights = rng.dirichlet(np.ones(len(region.corners)), 400)
        values = (weights @ region.corners) @ region.matrix.T + region.offset
        some = bool((values[:, :2].max(1) > values[:, 2]).any())
        assert region.is_id(2) or not some
        assert region.is_id(3)
        kinds.add(region.is_id(2))
    assert kinds == {True, False}


def test_regions_with_training_points_are_not_empty() -> None:
    layers = network_layers(3)
    regions = cnc_toy.activation_regions(layers, (-1.0, 2.0))
    largest = max(regions, key=lambda region: region.area)
    point = largest.corners.mean(0, keepdims=True)
    empty = cnc_toy.empty_id_regions(regions, layers, point, 3)
    assert len(empty) == len(regions) - 1
    assert largest.pattern not in {region.pattern for region in empty}


def test_half_moons() -> None:
    points, labels = cnc_toy.half_moons(400, generator())
    assert labels.tolist() == [0] * 200 + [1] * 200
    for label, centre, sign in ((0, (0.375, 0.375), 1), (1, (0.625, 0.5), -1)):
        offset = points[labels == label] - torch.tensor(centre)
        torch.testing.assert_close(offset.norm(dim=1), torch.full((200,), 0.25))
        assert bool((sign * offset[:, 1] >= -1e-6).all())


def test_combinations_lie_between_the_moons() -> None:
    points = torch.cat((torch.zeros(200, 2), torch.ones(200, 2)))
    mixed = cnc_toy.combined(points, generator())
    assert float(mixed.min()) >= 0
    assert float(mixed.max()) <= 1
    torch.testing.assert_close(mixed[:, 0], mixed[:, 1])
    assert float(mixed.mean()) == pytest.approx(0.5, abs=0.04)


def test_noise_has_the_standard_deviations() -> None:
    made = cnc_toy.blurred(torch.zeros(20_000, 2), (0.1, 0.3), generator())
    assert float(made.var()) == pytest.approx((0.01 + 0.09) / 2, rel=0.05)
    assert float((made.abs() < 0.1).double().mean()) == pytest.approx((0.683 + 0.261) / 2, abs=0.02)


def test_outliers_of_the_arms() -> None:
    points, _ = cnc_toy.half_moons(100, generator())
    made = {arm: cnc_toy.toy_outliers(arm, points, (0.1,), generator(1)) for arm in ARMS[1:]}
    assert all(outliers.shape == points.shape for outliers in made.values())
    assert torch.equal(made["pbcc"], cnc_toy.combined(points, generator(1)))
    assert torch.equal(made["corruption"], cnc_toy.blurred(points, (0.1,), generator(1)))
    assert not torch.equal(made["cnc"], made["r_cnc"])


def test_measure_and_figure() -> None:
    context = Context("cnc_toy", (0, 1), torch.device("cpu"))
    found, again = (cnc_toy.measure(SMALL, context) for _ in range(2))
    assert found.rows == again.rows
    table = pd.DataFrame(found.rows)
    assert set(table["arm"]) == set(ARMS)
    assert len(table) == 2 * 5 * 5
    assert bool(np.isfinite(table["value"]).all())
    wide = table.pivot(index=["arm", "seed"], columns="metric", values="value")
    assert bool(wide["empty_id_area"].between(0, 4).all())
    assert wide["log_empty_id_area"].tolist() == [math.log10(max(a, 1e-6)) for a in wide["empty_id_area"]]
    assert sum(array.nbytes for array in found.arrays.values()) < 2e6
    # With two outputs every point is in-distribution: the map of the empty area agrees with its exact value.
    share = found.arrays["empty_vanilla"].mean() * 4
    assert share == pytest.approx(wide.loc[("vanilla", 0), "empty_id_area"], abs=0.2)
    assert set(np.unique(found.arrays["class_vanilla"])) <= {0, 1}
    figure = draw(table, found.arrays)
    assert problems(figure) == []
    assert conclude(table).startswith("Empty area classified as in-distribution: ")
    assert len(figure.axes) == 6
