"""Nested settings as plain mappings."""

from collections.abc import Mapping
from typing import Any


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep merge in which later layers win and mappings are merged key by key.

    Examples
    --------
    >>> merged({"training": {"lr": 0.1, "epochs": 2}}, {"training": {"lr": 0.5}})
    {'training': {'lr': 0.5, 'epochs': 2}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
