"""Find the modules of a folder by name: the only place with dynamic imports.

A method, backbone, study or figure is one module, `<folder>/<name>.py` or `<folder>/<name>/method.py`, that defines a
known top-level name (`METHOD`, `build`, `STUDY`, `draw`). Which modules there are is read from their syntax trees, so
that planning imports neither torch nor matplotlib.

A static fingerprint cannot see through a dynamic import, so every module that is loaded here is an entry of its own
wherever a fingerprint is taken (see `reprood.pipeline.plan`).
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError

PACKAGE = Path(__file__).resolve().parents[1]


def module_name(folder: str, name: str) -> str:
    """Return the full name of the module that implements `name`: a file, or a folder with `method.py`."""
    is_folder = (PACKAGE / folder / name).is_dir()
    return f"reprood.{folder.replace('/', '.')}.{name}" + (".method" if is_folder else "")


def _files(folder: str) -> dict[str, Path]:
    files = {path.stem: path for path in (PACKAGE / folder).glob("*.py")}
    files |= {path.parent.name: path for path in (PACKAGE / folder).glob("*/method.py")}
    return dict(sorted(files.items()))


def _definition(path: Path, attribute: str) -> ast.stmt | None:
    """Return the top-level statement of a source file that defines `attribute`, or None."""
    text = path.read_text(encoding="utf-8")
    if attribute not in text:  # parsing is slow
        return None
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == attribute for t in node.targets):
            return node
    return None


def available(folder: str, attribute: str) -> tuple[str, ...]:
    """Return the sorted names of the modules in `reprood/<folder>/` that define `attribute` at the top level."""
    return tuple(name for name, path in _files(folder).items() if _definition(path, attribute) is not None)


def keywords(folder: str, name: str, attribute: str) -> frozenset[str]:
    """Return the keywords of the call that a module assigns to `attribute`, without importing the module.

    Parameters
    ----------
    folder, name : str
        As in `module_name`.
    attribute : str
        Top-level name, as `METHOD` in `METHOD = Method(name="csi", ...)`.
    """
    path = _files(folder).get(name)
    node = None if path is None else _definition(path, attribute)
    call = node.value if isinstance(node, ast.Assign) else None
    return frozenset(keyword.arg or "" for keyword in call.keywords) if isinstance(call, ast.Call) else frozenset()


def load(folder: str, name: str, attribute: str) -> Any:
    """Import the module that implements `name` and return its `attribute`.

    Raises
    ------
    ReproodError
        If no module of that name defines `attribute`; lists those that do.
    """
    known = available(folder, attribute)
    if name not in known:
        raise ReproodError(f"There is no '{name}' in reprood.{folder.replace('/', '.')}; known: {', '.join(known)}.")
    return getattr(importlib.import_module(module_name(folder, name)), attribute)


def load_function(path: str) -> Any:
    """Import and return the object named by "package.module:name", such as the function that draws a figure."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
