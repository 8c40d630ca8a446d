"""Find the modules of a folder by name, or a user's own file by its path: the only place with dynamic imports.

A method, backbone, study or figure is one module, `<folder>/<name>.py` or `<folder>/<name>/method.py`, that defines a
known top-level name (`METHOD`, `build`, `STUDY`, `draw`). A name that ends in `.py` is a file of the user, relative to
the working directory, that defines the same. Which modules there are is read from their syntax trees, so that planning
imports neither torch nor matplotlib.

A static fingerprint cannot see through a dynamic import, so every module that is loaded here is an entry of its own
wherever a fingerprint is taken (see `reprood.pipeline.plan`).
"""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from reprood.core.errors import ReproodError

PACKAGE = Path(__file__).resolve().parents[1]


def is_path(name: str) -> bool:
    """Return whether a name is the path of a user's own file, such as `./my_method.py`."""
    return name.endswith(".py")


def module_name(folder: str, name: str) -> str:
    """Return the full name of the module that implements `name`: a file, or a folder with `method.py`.

    For a user's own file that is its path.
    """
    if is_path(name):
        return name
    is_folder = (PACKAGE / folder / name).is_dir()
    return f"reprood.{folder.replace('/', '.')}.{name}" + (".method" if is_folder else "")


def _files(folder: str) -> dict[str, Path]:
    files = {path.stem: path for path in (PACKAGE / folder).glob("*.py")}
    files |= {path.parent.name: path for path in (PACKAGE / folder).glob("*/method.py")}
    return dict(sorted(files.items()))


def own_file(name: str, attribute: str) -> Path:
    """Return the path of a user's own module.

    Raises
    ------
    ReproodError
        When there is no such file, or it does not define `attribute` at the top level.
    """
    path = Path(name)
    if not path.is_file():
        raise ReproodError(
            f"There is no file {name} in {Path.cwd()}; paths of own modules are relative to that folder."
        )
    try:
        found = _definition(path, attribute)
    except (SyntaxError, ValueError) as error:
        raise ReproodError(f"{name} is not valid Python: {error}.") from error
    if found is None:
        raise ReproodError(
            f"{name} defines no `{attribute}` at the top level; see the modules of the package for examples."
        )
    return path


def _import_own(path: Path) -> ModuleType:
    """Import a user's file once, under a name that no other module has."""
    name = f"reprood_own:{path.resolve()}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it is being imported
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ReproodError(f"{path} cannot be imported: {type(error).__name__}: {error}.") from error
    return sys.modules[name]


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
    path = own_file(name, attribute) if is_path(name) else _files(folder).get(name)
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
    if is_path(name):
        return getattr(_import_own(own_file(name, attribute)), attribute)
    path = _files(folder).get(name)
    if path is None or _definition(path, attribute) is None:
        known = available(folder, attribute)
        raise ReproodError(f"There is no '{name}' in reprood.{folder.replace('/', '.')}; known: {', '.join(known)}.")
    return getattr(importlib.import_module(module_name(folder, name)), attribute)


def load_function(path: str) -> Any:
    """Import and return the object named by "package.module:name", such as the function that draws a figure."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
