"""Detectors from files of the user in a release: stored with it, and run only if the reader agrees.

A release may come from anybody, and a detector is code. `reprood release verify` therefore runs the stored files only
with `--own-detectors`; without it the scores of detectors are not recomputed. All other checks read stored scores.
"""

from pathlib import Path
from typing import Any

from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.registry import is_path
from reprood.detectors.registry import score_name

FOLDER = "code/detectors"


def own_detectors(suite: Suite) -> dict[str, str]:
    """Return the detectors from files of the user -> where a release stores the file.

    Raises
    ------
    ReproodError
        When two different files have one name.
    """
    found: dict[str, str] = {}
    for name in (name for record in suite.benchmarks.values() for name in record.detectors if is_path(name)):
        stored = f"{FOLDER}/{score_name(name)}.py"
        other = next((one for one, place in found.items() if place == stored and Path(one) != Path(name)), None)
        if other is not None:
            raise ReproodError(f"The detectors {other} and {name} have one name; a release needs different ones.")
        found[name] = stored
    return found


def with_stored(suite: Suite, root: Path) -> Suite:
    """Return the suite whose own detectors are the files that a release holds."""
    stored = {name: str(root.resolve() / place) for name, place in own_detectors(suite).items()}
    if not stored:
        return suite
    benchmarks = {
        name: record.model_copy(update={"detectors": _renamed(record.detectors, stored)})
        for name, record in suite.benchmarks.items()
    }
    return suite.model_copy(update={"benchmarks": benchmarks})


def _renamed(detectors: dict[str, Any], stored: dict[str, str]) -> dict[str, Any]:
    return {stored.get(name, name): options for name, options in detectors.items()}
