"""The meaning of a source text: what is left of it when everything that cannot change a result is removed.

Removed are

- comments, layout and docstrings;
- the body of `if TYPE_CHECKING:`, which never runs;
- the arguments of a `raise` whose exception carries a message and nothing else (`MESSAGE_ONLY`), and the message of an
  `assert`. The exception's type, its cause (`from ...`) and the condition stay. A class without fields or methods that
  the same module derives from `Exception` or from one of these carries a message only, too;
- calls of `print` to the terminal or the log, of `warnings.warn`, and of a logger's methods, whole statements each;
- imports of `sys`, `logging` and `warnings`, of the functions that make sentences (`MESSAGE_MODULES`), and a module's
  `log = logging.getLogger(...)`, if nothing is left that uses them.

So a message can be reworded, and a log line or a warning added, without re-running anything. The rule is conservative:
arguments are removed only if evaluating them has no effect, which is known for constants, names, attributes,
subscripts, operators, f-strings, displays, comprehensions and calls of a few pure functions and methods
(`PURE_FUNCTIONS`, `PURE_METHODS`). What runs through an iterator (`sorted(x)`, `", ".join(x)`) counts as pure in a
`raise`, after which nothing is read from it, and not in a `print`. With any other argument the whole call counts.

The following count in full: every other exception (`SystemExit`; `OSError` and `KeyError`, whose arguments are read
elsewhere; classes with fields of their own), `print(file=...)` to anything but the standard streams, and every name
above that the module rebinds.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable

MESSAGE_MODULES = ("reprood.core.messages",)  # modules of pure functions that return text for messages
MESSAGE_ONLY = {
    "builtins.ArithmeticError",
    "builtins.AssertionError",
    "builtins.NotImplementedError",
    "builtins.RuntimeError",
    "builtins.TypeError",
    "builtins.ValueError",
    "reprood.core.errors.ReproodError",
    "reprood.data.download.SourceFailed",
}
PURE_FUNCTIONS = {
    f"builtins.{name}"
    for name in (
        *("abs", "ascii", "bool", "divmod", "float", "format", "hex", "int", "isinstance", "len", "ord", "range"),
        *("repr", "round", "str", "type"),
    )
} | {"pathlib.Path"}
ITERATING_FUNCTIONS = {
    f"builtins.{name}"
    for name in (
        *("all", "any", "dict", "enumerate", "frozenset", "list", "map", "max", "min", "reversed", "set", "sorted"),
        *("sum", "tuple", "zip"),
    )
}
PURE_METHODS = {
    *("as_posix", "capitalize", "count", "format", "hex", "isoformat", "item", "items", "keys", "lower", "lstrip"),
    *("max", "min", "partition", "relative_to", "removeprefix", "removesuffix", "rpartition", "rsplit", "rstrip"),
    *("split", "splitlines", "strip", "sum", "title", "upper", "values", "with_name", "with_suffix"),
}
ITERATING_METHODS = {"join"}
LOGGER_METHODS = {"critical", "debug", "error", "exception", "info", "log", "warning"}
STREAMS = {"sys.stderr", "sys.stdout"}
REPORTING_MODULES = ("logging", "sys", "warnings")


def meaning(text: bytes | str) -> str:
    """Return the SHA-256 of what a source text means."""
    return digest(meaningful(text))


def digest(tree: ast.Module) -> str:
    """Return the SHA-256 of a syntax tree's source text."""
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def meaningful(text: bytes | str) -> ast.Module:
    """Return the syntax tree of a source text without what means nothing (see the module's docstring)."""
    tree = ast.parse(text)
    _remove_docstrings(tree)
    reduced: ast.Module = _Removal(tree).visit(tree)
    _remove_unused_imports(reduced)
    return reduced


def _remove_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]


class _Names:
    """What the names of a module refer to, as far as its text tells: imported things and builtins.

    A name that is bound in any other way, in whatever scope, refers to nothing that is known.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.imported: dict[str, str] = {}
        self.bound: set[str] = set()  # otherwise than by one import
        bindings: Counter[str] = Counter()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias.asname or alias.name.split(".")[0], alias.name if alias.asname else "")
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}" if node.module and not node.level else "?"
                    self._import(alias.asname or alias.name, whole)
            else:
                bindings.update(_bound_names(node))
        self.bound |= set(bindings)
        self.exceptions: set[str] = set()
        for statement in tree.body:
            if (
                isinstance(statement, ast.ClassDef)
                and bindings[statement.name] == 1
                and self._carries_message(statement)
            ):
                self.exceptions.add(statement.name)
        self.loggers = {name for statement in tree.body for name in self._logger(statement) if bindings[name] == 1}

    def _import(self, name: str, whole: str) -> None:
        target = whole or name
        if self.imported.setdefault(name, target) != target:
            self.bound.add(name)

    def _carries_message(self, definition: ast.ClassDef) -> bool:
        """Return whether an exception has only a message; docstrings are removed before."""
        return (
            len(definition.bases) == 1
            and not definition.keywords
            and not definition.decorator_list
            and all(isinstance(statement, ast.Pass) for statement in definition.body)
            and (self.whole(definition.bases[0]) == "builtins.Exception" or self.message_only(definition.bases[0]))
        )

    def message_only(self, node: ast.expr) -> bool:
        """Return whether an expression names an exception that carries only a message."""
        return self.whole(node) in MESSAGE_ONLY or (isinstance(node, ast.Name) and node.id in self.exceptions)

    def _logger(self, statement: ast.stmt) -> list[str]:
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.value, ast.Call)
            and self.whole(statement.value.func) == "logging.getLogger"
            and all(isinstance(argument, ast.Constant | ast.Name) for argument in statement.value.args)
            and not statement.value.keywords
        ):
            return [target.id for target in statement.targets if isinstance(target, ast.Name)]
        return []

    def whole(self, node: ast.expr) -> str:
        """Return the full name of a function, class or module, or "?" if it is not known."""
        if isinstance(node, ast.Attribute):
            return f"{self.whole(node.value)}.{node.attr}"
        if not isinstance(node, ast.Name) or node.id in self.bound:
            return "?"
        return self.imported.get(node.id, f"builtins.{node.id}")


def _bound_names(node: ast.AST) -> list[str]:
    """Return the names that a node binds, other than by an import."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    if isinstance(node, ast.MatchMapping):
        return [node.rest] if node.rest else []
    return list(node.names) if isinstance(node, ast.Global | ast.Nonlocal) else []


class _Removal(ast.NodeTransformer):
    """Remove messages, and the statements that only report."""

    def __init__(self, tree: ast.Module) -> None:
        self.names = _Names(tree)

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        call = node.exc
        if (
            isinstance(call, ast.Call)
            and self.names.message_only(call.func)
            and self._all_pure(_arguments(call), iterating=True)
        ):
            node.exc = ast.Call(call.func, [], [])
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        if node.msg is not None and self._pure(node.msg, iterating=True):
            node.msg = None
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Call) and self._only_reports(node.value) else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if self.names.whole(node.test) in ("typing.TYPE_CHECKING", "typing_extensions.TYPE_CHECKING"):
            return node.orelse
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit what is inside, and keep bodies that became empty valid."""
        super().generic_visit(node)
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[union-attr]
        if isinstance(node, ast.Try | ast.TryStar) and not node.handlers and not node.finalbody:
            node.finalbody = [ast.Pass()]
        return node

    def _only_reports(self, call: ast.Call) -> bool:
        whole = self.names.whole(call.func)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if whole == "builtins.print":
            stream = keywords.get("file")
            reports = None not in keywords and (stream is None or self.names.whole(stream) in STREAMS)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in LOGGER_METHODS:
            owner = call.func.value
            reports = (isinstance(owner, ast.Name) and owner.id in self.names.loggers) or whole.startswith("logging.")
        else:
            reports = whole == "warnings.warn"
        return reports and self._all_pure(_arguments(call), iterating=False)

    def _all_pure(self, nodes: Iterable[ast.AST], *, iterating: bool) -> bool:
        return all(self._pure(node, iterating=iterating) for node in nodes)

    def _pure(self, node: ast.AST, *, iterating: bool) -> bool:
        """Return whether evaluating an expression has no effect; `iterating`: also if it runs through an iterator."""
        if isinstance(node, ast.Call):
            return self._pure_call(node, iterating=iterating) and self._all_pure(_arguments(node), iterating=iterating)
        if isinstance(node, ast.Starred | ast.comprehension) and not iterating:
            return False
        if isinstance(node, ast.comprehension) and node.is_async:
            return False
        if isinstance(node, ast.expr_context | ast.operator | ast.unaryop | ast.boolop | ast.cmpop):
            return True
        known = isinstance(
            node,
            ast.Constant
            | ast.Name
            | ast.Attribute
            | ast.Subscript
            | ast.Slice
            | ast.JoinedStr
            | ast.FormattedValue
            | ast.BinOp
            | ast.UnaryOp
            | ast.BoolOp
            | ast.Compare
            | ast.IfExp
            | ast.Tuple
            | ast.List
            | ast.Set
            | ast.Dict
            | ast.Starred
            | ast.ListComp
            | ast.SetComp
            | ast.DictComp
            | ast.GeneratorExp
            | ast.comprehension,
        )
        return known and self._all_pure(ast.iter_child_nodes(node), iterating=iterating)

    def _pure_call(self, call: ast.Call, *, iterating: bool) -> bool:
        whole = self.names.whole(call.func)
        if whole == "builtins.map" and not (call.args and self._pure_function(call.args[0])):
            return False
        if any(keyword.arg == "key" and not self._pure_function(keyword.value) for keyword in call.keywords):
            return False
        if self._pure_function(call.func) or (iterating and whole in ITERATING_FUNCTIONS):
            return True
        methods = PURE_METHODS | (ITERATING_METHODS if iterating else set())
        return (
            isinstance(call.func, ast.Attribute)
            and call.func.attr in methods
            and self._pure(call.func.value, iterating=iterating)
        )

    def _pure_function(self, node: ast.expr) -> bool:
        whole = self.names.whole(node)
        return whole in PURE_FUNCTIONS or whole.rpartition(".")[0] in MESSAGE_MODULES


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _remove_unused_imports(tree: ast.Module) -> None:
    """Remove loggers, then imports, that only the removed parts used."""
    names = _Names(tree)
    used = _used(tree)
    tree.body = [
        statement
        for statement in tree.body
        if not (isinstance(statement, ast.Assign) and (own := names._logger(statement)) and not used & set(own))
    ]
    used = _used(tree)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                kept = [statement for statement in block if not _unused_import(statement, used)]
                if kept != block:
                    setattr(node, field, kept or ([ast.Pass()] if field == "body" else []))


def _used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _unused_import(statement: ast.stmt, used: set[str]) -> bool:
    """Drop from an import what nothing uses; return whether nothing is left of it.

    Only names of modules that report are dropped, and no re-exports (`from x import y as y`).
    """
    if isinstance(statement, ast.Import):
        droppable = {alias.name: alias.name in REPORTING_MODULES for alias in statement.names}
    elif isinstance(statement, ast.ImportFrom) and not statement.level:
        module = statement.module in (*REPORTING_MODULES, *MESSAGE_MODULES)
        droppable = {alias.name: module for alias in statement.names}
    else:
        return False
    statement.names = [
        alias
        for alias in statement.names
        if not droppable[alias.name] or (alias.asname or alias.name) in used or alias.asname == alias.name
    ]
    return not statement.names
