"""Nested settings are merged without changing the layers."""

from reprood.core.mappings import merged


def test_merged_is_deep_and_leaves_its_inputs_alone():
    low = {"training": {"lr": 1, "epochs": 2}, "x": 1}
    assert merged(low, {"training": {"lr": 3}}) == {"training": {"lr": 3, "epochs": 2}, "x": 1}
    assert low == {"training": {"lr": 1, "epochs": 2}, "x": 1}
