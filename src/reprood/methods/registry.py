"""From a name in the configuration to the module that implements it.

The only place with dynamic imports: a static fingerprint cannot see through them, so what is resolved
here is named as a fingerprint entry of its own (see `reprood.workflow`).
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from reprood.errors import ReproodError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

PACKAGE = Path(__file__).resolve().parent


def available(kind: str, marker: str) -> tuple[str, ...]:
    """Names of the modules in `reprood/<kind>/` whose source has a top-level `def <marker>`."""
    pattern = re.compile(rf"^def {marker}\(", re.MULTILINE)
    files = sorted((PACKAGE / kind).glob("*.py"))
    return tuple(path.stem for path in files if pattern.search(path.read_text(encoding="utf-8")))


def fits_on_train(method: str) -> bool:
    """A method's own scores are fitted on training images, so prediction needs them."""
    return method in available("methods", "fit_on_train")


def methods() -> tuple[str, ...]:
    """Names that a suite may `use`."""
    return available("methods", "train")


def backbones() -> tuple[str, ...]:
    """Names that `backbone: {name: ...}` may take."""
    return available("nets", "build")


def studies() -> tuple[str, ...]:
    """Names that a suite's study may `use`."""
    return available("studies", "measure")


def drawings() -> tuple[str, ...]:
    """Studies that have a figure."""
    return available("report/studies", "draw")


def _module(kind: str, name: str, known: tuple[str, ...]) -> ModuleType:
    if name not in known:
        raise ReproodError(f"There is no module '{name}' in reprood.{kind}; known: {', '.join(known)}.")
    return importlib.import_module(f"reprood.{kind.replace('/', '.')}.{name}")


def method(name: str) -> ModuleType:
    """The module `reprood.methods.<name>` (imports torch).

    Raises
    ------
    ReproodError
        When there is no such method; the known ones are listed.
    """
    return _module("methods", name, methods())


def backbone(name: str) -> "Callable[..., nn.Module]":
    """The function `build(channels, **options)` of `reprood.nets.<name>` (imports torch).

    Raises
    ------
    ReproodError
        When there is no such network; the known ones are listed.
    """
    build: Any = _module("nets", name, backbones()).build
    return build  # type: ignore[no-any-return]


def study(name: str) -> ModuleType:
    """The module `reprood.studies.<name>` (imports torch).

    Raises
    ------
    ReproodError
        When there is no such study; the known ones are listed.
    """
    return _module("studies", name, studies())


def drawing(name: str) -> "Callable[..., Figure]":
    """The function `draw(rows, arrays)` of `reprood.report.studies.<name>` (no torch).

    Raises
    ------
    ReproodError
        When the study has no figure; those that have are listed.
    """
    draw: Any = _module("report/studies", name, drawings()).draw
    return draw  # type: ignore[no-any-return]
