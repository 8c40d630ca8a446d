"""What code a job depends on: a hash of the meaning of its modules and of all they import.

The hash is taken over the unparsed syntax trees of an entry's static import closure inside the package,
without comments, docstrings and layout. It is a parameter of the workflow's rules, so that editing a loss
re-runs the method that uses it and editing a comment re-runs nothing.

Parsing the whole package takes longer than everything else that Snakemake asks before it runs jobs; `remembered` keeps
what a source text means, by the text's own hash, from one process to the next.
"""

import ast
import hashlib
import json
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import write_json

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent

Read = tuple[str, tuple[str, ...]]  # the meaning of a source text, and the modules (or names in them) that it imports
_known: dict[str, Read] = {}  # by module and SHA-256 of its text


@cache
def source(module: str) -> Path | None:
    """The file of a first-party module, or None when there is none."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _with_parents(module: str) -> frozenset[str]:
    """Importing a.b.c also runs a and a.b."""
    parts = module.split(".")
    return frozenset(".".join(parts[: i + 1]) for i in range(len(parts)))


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


def _key(module: str, text: bytes) -> str:
    return f"{module} {hashlib.sha256(text).hexdigest()}"


def _read(module: str, text: bytes, package: str) -> Read:
    key = _key(module, text)
    if key not in _known:
        named = {name for name in _imported(ast.parse(text), package) if name.split(".")[0] == PACKAGE.name}
        _known[key] = meaning(text), tuple(sorted(named))
    return _known[key]


@cache
def _parse(module: str) -> tuple[str, frozenset[str]]:
    path = source(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for {module} under {ROOT}")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    told, named = _read(module, path.read_bytes(), package)
    return told, frozenset(name for name in named if source(name))


@cache
def closure(entry: str) -> tuple[str, ...]:
    """Every first-party module that importing `entry` can import, sorted."""
    seen: set[str] = set()
    todo = set(_with_parents(entry))
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
    source.cache_clear()
    _parse.cache_clear()
    closure.cache_clear()
    code_hash.cache_clear()


# --- from one process to the next


def remembered(path: Path) -> None:
    """Take what is known of the package's sources from a file, and keep there what was not known yet.

    Entries are found by the hash of the text, so no edit, checkout or file time can make them wrong; a file made by
    other code or another Python, or damaged, is not used. Without it everything is parsed again, with the same result.
    """
    maker = f"{sys.version_info[:2]} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
    recalled = _recalled(path, maker)
    _known.update(recalled)
    present = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parts[:-1])
        module = package if parts[-1] == "__init__" else ".".join(parts)
        text = file.read_bytes()
        try:
            present[_key(module, text)] = _read(module, text, package)
        except (SyntaxError, ValueError):  # half an edit: what needs this module will say so
            continue
    if present != recalled:
        with suppress(ReproodError):  # a full disk: the next process parses again
            write_json(path, {"maker": maker, "read": present})


def _recalled(path: Path, maker: str) -> dict[str, Read]:
    try:
        record = json.loads(path.read_bytes())
        if record["maker"] != maker:
            return {}
        return {str(key): (str(told), tuple(map(str, named))) for key, (told, named) in record["read"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
