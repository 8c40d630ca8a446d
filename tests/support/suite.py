"""Change suites by their keys instead of their text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def edit_suite(path: Path, changes: Mapping[str, Any]) -> None:
    """Set values in a suite file.

    Parameters
    ----------
    path : Path
        A YAML file; it is rewritten without its comments.
    changes : mapping of str to object
        Dotted keys and their new values, such as ``{"methods.cutmix.set": {"alpha": 0.5}}``. All keys but the last one
        must exist.

    Raises
    ------
    KeyError
        When a key before the last one does not exist.
    """
    suite = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))  # nothing is shared by anchors
    for key, value in changes.items():
        *parents, last = key.split(".")
        target = suite
        for parent in parents:
            target = target[parent]
        target[last] = value
    path.write_text(yaml.safe_dump(suite, sort_keys=False, allow_unicode=True), encoding="utf-8")
