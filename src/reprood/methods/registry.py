"""From a name in the configuration to the module that implements it.

The only place with dynamic imports: a static fingerprint cannot see through them, so what is resolved
here is named as a fingerprint entry of its own (see `reprood.pipeline.plan`).
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from reprood.core.errors import ReproodError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

PACKAGE = Path(__file__).resolve().parents[1]


def available(kind: str, marker: str) -> tuple[str, ...]:
    """Names of the modules `<name>.py` or `<name>/method.py` in `reprood/<kind>/` that have a `def <marker>`."""
    pattern = re.compile(rf"^def {marker}\(", re.MULTILINE)
    names = {path.stem: path for path in (PACKAGE / kind).glob("*.py")}
    names |= {path.parent.name: path for path in (PACKAGE / kind).glob("*/method.py")}
    return tuple(name for name in sorted(names) if pattern.search(names[name].read_text(encoding="utf-8")))


def module_name(kind: str, name: str) -> str:
    """Return the full name of the module that implements `name`: a file or a folder of its own."""
    folder = (PACKAGE / kind / name).is_dir()
    return f"reprood.{kind.replace('/', '.')}.{name}" + (".method" if folder else "")


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
    return importlib.import_module(module_name(kind, name))


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
