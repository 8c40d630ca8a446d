"""Names of the corruptions and image styles, and how to load one by its name.

Each corruption is one module in `reprood.images.corruptions`, each style one module in `reprood.images.styles`; the
name is that of the module. Listing them imports nothing, so the configuration can check names without torch, and no
job depends on a corruption or style that it does not use: the modules that are loaded here by name are listed in the
fingerprint of the job that uses them (see `reprood.pipeline.plan`).
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError


def _modules(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in Path(__file__).parent.joinpath(folder).glob("[!_]*.py")))


CORRUPTION_NAMES = _modules("corruptions")
STYLE_NAMES = _modules("styles")
SEVERITIES = (1, 2, 3, 4, 5)


def corruption_module(name: str) -> str:
    """Return the full name of the module of a corruption, for fingerprints.

    Raises
    ------
    ReproodError
        If there is no such corruption.
    """
    if name not in CORRUPTION_NAMES:
        raise ReproodError(f"There is no corruption '{name}'; known: {', '.join(CORRUPTION_NAMES)}.")
    return f"reprood.images.corruptions.{name}"


def style_module(name: str) -> str:
    """Return the full name of the module of a style, for fingerprints.

    Raises
    ------
    ReproodError
        If there is no such style.
    """
    if name not in STYLE_NAMES:
        raise ReproodError(f"There is no style '{name}'; known: {', '.join(STYLE_NAMES)}.")
    return f"reprood.images.styles.{name}"


def load_corruption(name: str) -> Any:
    """Return the `reprood.images.corruption.Corruption` of a name (imports torch).

    The type is not imported here, so that the modules that only check names do not depend on it.
    """
    return importlib.import_module(corruption_module(name)).CORRUPTION


def load_style(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function of a style: uint8 [N, H, W, C] -> uint8 [N, H, W, C] (no torch)."""
    function: Callable[[np.ndarray], np.ndarray] = importlib.import_module(style_module(name)).apply
    return function
