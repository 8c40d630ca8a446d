"""What code a job depends on: a hash of the meaning of its modules and of all they import.

The hash is taken over the unparsed syntax trees of an entry's static import closure inside the package,
without comments, docstrings and layout. It is a parameter of the workflow's rules, so that editing a loss
re-runs the method that uses it and editing a comment re-runs nothing.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent


def source(module: str) -> Path | None:
    """The file of a first-party module, or None when there is none."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _with_parents(module: str) -> set[str]:
    """Importing a.b.c also runs a and a.b."""
    parts = module.split(".")
    return {".".join(parts[: i + 1]) for i in range(len(parts))}


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def meaning(text: bytes | str) -> str:
    """SHA-256 of a source text up to comments, docstrings and layout."""
    return hashlib.sha256(ast.unparse(_without_docstrings(ast.parse(text))).encode()).hexdigest()


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Modules (or names in modules) that a module names in its import statements, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@cache
def _parse(module: str) -> tuple[str, frozenset[str]]:
    path = source(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for {module} under {ROOT}")
    text = path.read_bytes()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    named = _imported(ast.parse(text), package)
    first_party = {name for name in named if name.split(".")[0] == PACKAGE.name and source(name)}
    return meaning(text), frozenset(first_party)


@cache
def closure(entry: str) -> tuple[str, ...]:
    """Every first-party module that importing `entry` can import, sorted."""
    seen: set[str] = set()
    todo = _with_parents(entry)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            for name in _parse(module)[1]:
                todo |= _with_parents(name)
    return tuple(sorted(seen))


@cache
def code_hash(*entries: str) -> str:
    """16 hexadecimal digits that change when, and only when, the meaning of the entries' code changes."""
    modules = sorted({module for entry in entries for module in closure(entry)})
    lines = "\n".join(f"{module} {_parse(module)[0]}" for module in modules)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def forget() -> None:
    """Drop what was read, for a process that edits sources (tests)."""
    _parse.cache_clear()
    closure.cache_clear()
    code_hash.cache_clear()
