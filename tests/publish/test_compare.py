"""Metrics of two releases: equal ones, changes within the spread of seeds, changes beyond it."""

import numpy as np
import pandas as pd
import pytest

from reprood.publish.compare import compare_metrics


def metrics(**values: list[float]) -> pd.DataFrame:
    """One metric per method."""
    rows = [
        ("b", method, seed, "test", "-", "top1_error", value)
        for method, given in values.items()
        for seed, value in enumerate(given)
    ]
    return pd.DataFrame(rows, columns=["benchmark", "method", "seed", "split", "score", "metric", "value"])


def test_changes_are_sorted_by_what_seeds_explain():
    first = metrics(same=[1, 2, 3], shuffled=[10, 11, 12], far=[10, 10.1, 10.2], one=[5.0], gone=[1, 1])
    second = metrics(same=[1, 2, 3], shuffled=[11, 12, 10.5], far=[20, 20.1, 20.2], one=[9.0], new=[1, 1])
    changes = compare_metrics(first, second)
    assert (changes.same, changes.only_first, changes.only_second) == (1, 1, 1)
    table = changes.table.set_index("method")
    assert list(table.index) == ["far", "shuffled", "one"]
    assert list(table["beyond_noise"]) == [True, False, None]
    assert table.loc["far", ["first", "second", "seeds"]].tolist() == pytest.approx([10.1, 20.1, 3])
    assert list(changes.beyond["method"]) == ["far"]


def test_order_of_rows_means_nothing_and_last_bits_are_equal():
    first = metrics(a=[1.0, 2.0, 3.0], b=[4.0, 5.0, 6.0])
    second = first.sample(frac=1, random_state=0)
    second["value"] *= 1 + 1e-12
    assert compare_metrics(first, second).same == 2


@pytest.mark.slow
def test_no_difference_is_beyond_noise_more_often_than_stated():
    """Holm: of releases that differ by seeds alone, at most 5 % have any difference beyond noise."""
    chance = np.random.default_rng(0)
    any_beyond = 0
    for _ in range(200):
        tables = [metrics(**{f"m{i}": list(chance.normal(10, 1, 3)) for i in range(12)}) for _ in range(2)]
        any_beyond += len(compare_metrics(*tables).beyond) > 0
    assert any_beyond <= 17  # 5 % of 200 and 2.3 standard deviations of a binomial


def test_constant_values_that_differ_are_beyond_noise():
    changes = compare_metrics(metrics(a=[1, 1, 1]), metrics(a=[2, 2, 2]))
    assert list(changes.table["p"]) == [0.0]
