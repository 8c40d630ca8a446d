"""Re-run, audit and publish results on out-of-distribution detection, novelty detection, augmentation and robustness.

The public functions are those of `reprood.api`, for instance `reprood.score`.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Return a public function; it is imported by name, so that no fingerprint of a training covers it."""
    if not name.startswith("_"):
        public = importlib.import_module("reprood.api")
        if name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module 'reprood' has no attribute {name!r}")
