"""What code a job depends on: a hash of the meaning of its modules and of all that they import.

The hash covers an entry's static import closure inside the package, each module reduced to its meaning (see
`reprood.pipeline.meaning`: comments, docstrings, layout and messages do not count). It is a parameter of the workflow's
rules, so editing a loss re-runs the methods that use it, and editing a comment or a log line re-runs nothing.

Parsing the whole package takes longer than all other work before Snakemake runs its first job; `load_cache` keeps the
meaning of a source text, keyed by the text's hash, from one process to the next.
"""

import ast
import hashlib
import json
import sys
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import write_json
from reprood.core.registry import is_path
from reprood.pipeline import meaning as normaliser
from reprood.pipeline.meaning import digest, meaningful

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent

# Hash of a source text's meaning; the modules (or names in modules) of this package, and the other packages it imports.
Summary = tuple[str, tuple[str, ...], tuple[str, ...]]
_summaries: dict[str, Summary] = {}  # by module and SHA-256 of its text


@cache
def source(module: str) -> Path | None:
    """Return the file of a module of this package, or a user's own file; None if there is none."""
    if is_path(module):
        return Path(module) if Path(module).is_file() else None
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def module_of(path: Path) -> str | None:
    """Return the module whose file `path` is, or None if it is not a module of this package.

    Examples
    --------
    >>> module_of(PACKAGE / "core" / "files.py")
    'reprood.core.files'
    """
    path = path.resolve()
    if path.suffix != ".py" or not path.is_relative_to(PACKAGE):
        return None
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _with_parents(module: str) -> frozenset[str]:
    """Return a module and its packages: importing a.b.c also runs a and a.b."""
    if is_path(module):
        return frozenset({module})
    parts = module.split(".")
    return frozenset(".".join(parts[: i + 1]) for i in range(len(parts)))


def _imports(tree: ast.Module, package: str) -> set[str]:
    """Return the modules, or names in modules, of all import statements, nested ones included."""
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            imports.add(base)
            imports.update(f"{base}.{alias.name}" for alias in node.names)
    return imports


def _key(module: str, text: bytes) -> str:
    return f"{module} {hashlib.sha256(text).hexdigest()}"


def _summarise(module: str, text: bytes, package: str) -> Summary:
    key = _key(module, text)
    if key not in _summaries:
        tree = meaningful(text)
        imports = _imports(tree, package)
        own = {name for name in imports if name.split(".")[0] == PACKAGE.name}
        others = {name.split(".")[0] for name in imports - own}
        _summaries[key] = digest(tree), tuple(sorted(own)), tuple(sorted(others))
    return _summaries[key]


@cache
def _read(module: str) -> tuple[str, frozenset[str], tuple[str, ...]]:
    path = source(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for {module} under {ROOT}")
    package = module if path.name == "__init__.py" else "" if is_path(module) else module.rpartition(".")[0]
    meaning, imports, others = _summarise(module, path.read_bytes(), package)
    return meaning, frozenset(name for name in imports if source(name)), others


@cache
def closure(entry: str) -> tuple[str, ...]:
    """Return every module of this package that importing `entry` can import and that means something to it, sorted."""
    seen: set[str] = set()
    todo = set(_with_parents(entry))
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            for name in _read(module)[1]:
                todo |= _with_parents(name)
    return tuple(sorted(seen))


def packages(*entries: str) -> frozenset[str]:
    """Return the other packages, such as torch, that importing the entries can import, nested imports included."""
    return frozenset(name for entry in entries for module in closure(entry) for name in _read(module)[2])


def import_chain(entry: str, module: str) -> tuple[str, ...]:
    """Return the shortest chain of imports from `entry` to `module`, both included; empty if there is none."""
    came_from: dict[str, str] = dict.fromkeys(_with_parents(entry), entry) | {entry: ""}
    queue = deque([entry, *sorted(_with_parents(entry) - {entry})])
    while queue:
        here = queue.popleft()
        if here == module:
            chain = [here]
            while came_from[chain[-1]]:
                chain.append(came_from[chain[-1]])
            return tuple(reversed(chain))
        for name in sorted(_read(here)[1]):
            for step in (name, *sorted(_with_parents(name) - {name})):
                if step not in came_from:
                    came_from[step] = here
                    queue.append(step)
    return ()


@cache
def code_hash(*entries: str) -> str:
    """Return 16 hexadecimal digits that change if and only if the meaning of the entries' code changes."""
    modules = sorted({module for entry in entries for module in closure(entry)})
    lines = "\n".join(f"{module} {_read(module)[0]}" for module in modules)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def forget() -> None:
    """Drop everything read so far, for a process that edits sources (tests)."""
    for cached in (source, _read, closure, code_hash):
        cached.cache_clear()


# --- from one process to the next


def load_cache(path: Path) -> None:
    """Load known summaries of the package's sources from a file, and store there the ones that were missing.

    Entries are keyed by the hash of the text, so no edit, checkout or file time can make them wrong. A damaged file, or
    one written by other code or another version of Python, is ignored. Without the file everything is parsed again,
    with the same result.

    Parameters
    ----------
    path : Path
        The file; created if it is missing and can be written.
    """
    own_code = b"".join(Path(str(file)).read_bytes() for file in (__file__, normaliser.__file__))
    writer = f"{sys.version_info[:2]} {hashlib.sha256(own_code).hexdigest()}"
    stored = _stored(path, writer)
    _summaries.update(stored)
    current = {}
    for file in PACKAGE.rglob("*.py"):
        module = str(module_of(file))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        text = file.read_bytes()
        with suppress(SyntaxError, ValueError):  # a half-finished edit: reported by what needs this module
            current[_key(module, text)] = _summarise(module, text, package)
    if current != stored:
        with suppress(ReproodError):  # a full disk: the next process parses again
            write_json(path, {"writer": writer, "summaries": current})


def _stored(path: Path, writer: str) -> dict[str, Summary]:
    try:
        record = json.loads(path.read_bytes())
        if record["writer"] != writer:
            return {}
        return {
            str(key): (str(meaning), tuple(map(str, imports)), tuple(map(str, others)))
            for key, (meaning, imports, others) in record["summaries"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
