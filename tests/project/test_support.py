"""The helpers of the tests: editing suites, choosing the tests that run by default."""

from types import SimpleNamespace

import pytest
import yaml
from selection import SHARE, order_by_cost, sample
from suite import edit_suite


def test_a_suite_is_edited_by_its_keys(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("a: &a {b: 1, c: [1, 2]}\nd: *a\n")
    edit_suite(path, {"a.b": 2, "a.e": {"f": True}})
    assert yaml.safe_load(path.read_text()) == {
        "a": {"b": 2, "c": [1, 2], "e": {"f": True}},
        "d": {"b": 1, "c": [1, 2]},
    }
    with pytest.raises(KeyError):
        edit_suite(path, {"x.y": 1})


def item(*markers, kind=None):
    def closest(name):
        return name if name in markers else None

    params = {} if kind is None else {"case": SimpleNamespace(kind=kind)}
    return SimpleNamespace(get_closest_marker=closest, callspec=SimpleNamespace(params=params), markers=markers)


def test_a_tenth_of_each_kind_runs_by_default():
    items = [item("hostile", kind="a") for _ in range(21)] + [item("hostile", kind="b"), item("hostile"), item()]
    items += [item("chaos"), item("chaos", "full")]
    kept, left_out = sample(items)
    assert [items.index(one) for one in kept] == [0, SHARE, 2 * SHARE, 21, 22, 23, 24]
    assert len(kept) + len(left_out) == len(items)


def test_tests_on_the_finished_suite_come_first():
    items = [item(), item("workflow"), item("slow"), item("chaos")]
    assert [one.markers for one in order_by_cost(items)] == [("workflow",), ("chaos",), (), ("slow",)]
