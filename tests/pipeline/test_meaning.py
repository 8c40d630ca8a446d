"""What counts as the meaning of a source text, and what does not."""

import ast

import pytest

from reprood.core import messages
from reprood.core.errors import ReproodError
from reprood.pipeline import fingerprint
from reprood.pipeline.meaning import MESSAGE_MODULES, MESSAGE_ONLY, meaning

IMPORTS = """
import logging
import sys
import warnings
from pathlib import Path
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
log = logging.getLogger(__name__)
"""


def in_function(statement: str, imports: str = IMPORTS) -> str:
    return f"{imports}\ndef f(x, names, error, stream):\n    {statement}\n    return x\n"


def same(before: str, after: str) -> bool:
    return meaning(in_function(before)) == meaning(in_function(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1  # one\n", "x = 1\n"),
        ('def f():\n    """Old."""\n    return 1\n', "def f():\n    '''New\n    words.'''\n    return 1\n"),
        ('"""Module."""\nx = (1,\n  2)\n', "x = (1, 2)\n"),
        ('class A:\n    """Only this."""\n', "class A:\n    pass\n"),
    ],
)
def test_layout_comments_and_docstrings_mean_nothing(before, after):
    assert meaning(before) == meaning(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", "x = 2\n"),
        ("def f(a, b):\n    return a / (b + 1)\n", "def f(a, b):\n    return a / b + 1\n"),
        ('x = "text"\n', 'x = "other"\n'),
        ("def f(a: int): ...\n", "def f(a: float): ...\n"),
    ],
)
def test_code_means_something(before, after):
    assert meaning(before) != meaning(after)


# Arguments without effect, each a different text.
PURE = [
    '"old"',
    'f"{x} of {names[0]}, {error.strerror!r} {x:.3g} {x:{names}}"',
    '"%d" % (x + 1)',
    '"a" + str(len(names))',
    'f"{round(x, 2)} {type(x).__name__} {Path(x).name} {-x} {x if names else 0} {x == 1 and not names}"',
    '"{} {}".format(x, repr(names)).strip().upper()',
    'f"{x}", names[1:2], {"a": x}, {x}, [x]',
    'f"{explain_validation(error, str(x))}"',
]
# These also run through their arguments.
ITERATING = [
    '", ".join(sorted(names))',
    '"; ".join(f"{name}: {max(name, 3)}" for name in names if name)',
    "str(list(map(str, names)))",
    "min(names, key=len)",
    "*names",
]
# Arguments that may have an effect, or whose effect is not known.
IMPURE = [
    "names.pop()",
    "next(names)",
    'f"{unknown(x)}"',
    "(x := 3)",
    "[names.append(n) for n in x]",
    "lambda: x",
    "sorted(names, key=unknown)",
    "list(map(unknown, names))",
    "Path(x).read_text()",
    "open(x)",
]


@pytest.mark.parametrize("exception", ["ValueError", "TypeError", "RuntimeError", "AssertionError", "ReproodError"])
@pytest.mark.parametrize("argument", [*PURE, *ITERATING])
def test_the_message_of_an_exception_means_nothing(exception, argument):
    assert same(f"raise {exception}({argument})", f"raise {exception}('new')")
    assert same(f"raise {exception}({argument}) from error", f"raise {exception}('new', x) from error")


@pytest.mark.parametrize("argument", IMPURE)
def test_arguments_with_effects_count(argument):
    assert not same(f"raise ValueError({argument})", "raise ValueError('new')")
    assert not same(f"raise ValueError({argument}, 'old')", f"raise ValueError({argument}, 'new')")
    assert not same(f"print({argument})", "pass")
    assert not same(f"log.info('%s', {argument})", "pass")
    assert not same(f"warnings.warn({argument})", "pass")
    assert not same(f"assert x, {argument}", "assert x")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raise ValueError('a')", "raise TypeError('a')"),
        ("raise ValueError('a')", "raise ReproodError('a')"),
        ("raise ValueError('a')", "return ValueError('a')"),
        ("raise ValueError('a')", "pass"),
        ("raise ValueError('a') from error", "raise ValueError('a') from None"),
        ("if x > 1: raise ValueError('a')", "if x > 2: raise ValueError('a')"),
        ("assert x > 1, 'a'", "assert x > 2, 'a'"),
        # exceptions that carry more than a message
        ("raise SystemExit('a')", "raise SystemExit('b')"),
        ("raise SystemExit(1)", "raise SystemExit(2)"),
        ("raise OSError(2, 'a')", "raise OSError(3, 'a')"),
        ("raise OSError(2, 'a')", "raise OSError(2, 'b')"),
        ("raise KeyError('a')", "raise KeyError('b')"),
        ("raise StopIteration('a')", "raise StopIteration('b')"),
        ("raise Unknown('a')", "raise Unknown('b')"),
        ("raise names.Unknown('a')", "raise names.Unknown('b')"),
        ("raise explain_validation(error, 'a')", "raise explain_validation(error, 'b')"),
        ("sys.exit('a')", "sys.exit('b')"),
        # text that is not the message
        ("error = ValueError('a')", "error = ValueError('b')"),
        ("x = explain_validation(error, 'a')", "x = explain_validation(error, 'b')"),
        ("print('a', file=stream)", "print('b', file=stream)"),
        ("print('a', **names)", "print('b', **names)"),
        ("x = print('a')", "x = print('b')"),
        ("stream.write('a')", "stream.write('b')"),
        ("stream.info('a')", "stream.info('b')"),
        ("sys.stderr.write('a')", "sys.stderr.write('b')"),
        ("log.setLevel(10)", "log.setLevel(20)"),
        ("log.addHandler(x)", "log.addHandler(names)"),
        ("warnings.simplefilter('error')", "warnings.simplefilter('ignore')"),
        # what runs through an iterator is not free while the function goes on
        ("print(list(names))", "pass"),
        ("log.info('%s', ', '.join(names))", "pass"),
        ("print(*names)", "pass"),
        ("print([n for n in names])", "pass"),
    ],
)
def test_what_counts(before, after):
    assert not same(before, after)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"print({argument})" for argument in PURE),
        "print('a', x, sep='', end='', flush=True)",
        "print('a', file=sys.stderr)",
        "print('a', file=sys.stdout)",
        "log.info('%s of %s', x, names)",
        "log.warning(f'{x}')",
        "log.log(10, 'a')",
        "logging.error('a')",
        "warnings.warn('a', RuntimeWarning, stacklevel=2)",
        "assert x, 'a'\n    assert x",
    ],
)
def test_reports_mean_nothing(statement):
    nothing = "assert x\n    assert x" if "assert" in statement else "pass"
    assert meaning(in_function(statement)) == meaning(in_function(nothing).replace("    pass\n", ""))


def test_bodies_that_become_empty_stay_valid():
    text = IMPORTS + (
        "def f(x):\n"
        "    if x:\n        print(1)\n"
        "    else:\n        print(2)\n"
        "    for n in x:\n        log.info('a')\n"
        "    try:\n        print(3)\n    except ValueError:\n        print(4)\n"
        "    try:\n        x()\n    finally:\n        print(5)\n"
        "    with x:\n        print(6)\n"
        "    match x:\n        case 1:\n            print(7)\n"
    )
    assert meaning(text) == meaning(
        "from pathlib import Path\nfrom reprood.core.errors import ReproodError\n"
        "def f(x):\n    if x: pass\n    for n in x: pass\n"
        "    try: pass\n    except ValueError: pass\n"
        "    try: x()\n    finally: pass\n"
        "    with x: pass\n    match x:\n        case 1: pass\n"
    )


@pytest.mark.parametrize(
    "rebinding",
    [
        "def print(*a): x.append(a)",
        "from x import print",
        "from x import y as print",
        "print = None",
        "def g(print): ...",
        "for print in x: ...",
        "class print: ...",
        "try: ...\nexcept ValueError as print: ...",
    ],
)
def test_a_rebound_name_is_not_trusted(rebinding):
    one, two = (meaning(f"{rebinding}\ndef f(x):\n    print({text})\n") for text in ("'a'", "'b'"))
    assert one != two


@pytest.mark.parametrize(
    ("name", "statement"),
    [("ValueError", "raise ValueError({})"), ("len", "raise ValueError(len({}))"), ("log", "log.info({})")],
)
def test_rebound_exceptions_functions_and_loggers_are_not_trusted(name, statement):
    one, two = (meaning(f"{IMPORTS}\ndef f(x, {name}):\n    {statement.format(text)}\n") for text in ("'a'", "'b'"))
    assert one != two


def test_a_name_from_elsewhere_is_not_the_known_one():
    for line in ("from other import ReproodError", "from .errors import ReproodError", "from other import warn"):
        call = "raise ReproodError({})" if "Repr" in line else "warn({})"
        assert meaning(f"{line}\n{call.format(1)}\n") != meaning(f"{line}\n{call.format(2)}\n"), line
    assert meaning("from warnings import warn\nwarn('a')\n") == meaning("from warnings import warn\nwarn('b')\n")


@pytest.mark.parametrize(
    ("definition", "message_only"),
    [
        ('class Stop(ReproodError):\n    """Text."""', True),
        ("class Stop(Exception):\n    pass", True),
        ("class Base(Exception):\n    pass\nclass Stop(Base):\n    pass", True),
        ("class Stop(OSError):\n    pass", False),
        ("class Stop(Exception):\n    field = 1", False),
        ("class Stop(Exception):\n    def __init__(self, x): self.x = x", False),
        ("class Stop(Exception, Other):\n    pass", False),
        ("@register\nclass Stop(Exception):\n    pass", False),
        ("class Stop(Exception):\n    pass\nStop = Other", False),
    ],
)
def test_exceptions_of_the_module_carry_a_message_or_more(definition, message_only):
    one, two = (meaning(f"{IMPORTS}\n{definition}\ndef f(x):\n    raise Stop({x})\n") for x in ("'a'", "'b'"))
    assert (one == two) is message_only


def test_imports_that_only_messages_use_mean_nothing():
    code = "def f(x):\n    if x:\n        raise ValueError('a')\n    return x\n"
    with_reports = (
        "import logging\nimport sys\nimport warnings\n"
        "from reprood.core.messages import explain_validation\n"
        "log = logging.getLogger(__name__)\n"
        "def f(x):\n    from warnings import warn\n    warn('a')\n    log.info('a')\n    print('a', file=sys.stderr)\n"
        "    if x:\n        raise ValueError(explain_validation(x, 'a'))\n    return x\n"
    )
    assert meaning(code) == meaning(with_reports)


@pytest.mark.parametrize(
    "use",
    [
        "import sys\nx = sys.argv",
        "import logging\nlog = logging.getLogger(__name__)\nlog.setLevel(3)",
        "from reprood.core.messages import explain_validation\nx = explain_validation",
        "from reprood.core.messages import explain_validation as explain_validation",
        "import reprood.core.files",
    ],
)
def test_imports_that_code_uses_count(use):
    assert meaning(use) != meaning("\n".join(line for line in use.split("\n") if "import" not in line))


def test_type_checking_blocks_mean_nothing():
    block = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reprood.x import y\n{}x = 1\n"
    assert meaning(block.format("")) == meaning("from typing import TYPE_CHECKING\nx = 1\n")
    assert meaning(block.format("else:\n    y = 2\n")) == meaning("from typing import TYPE_CHECKING\ny = 2\nx = 1\n")
    assert meaning("from a import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1\n") != meaning(
        "from a import TYPE_CHECKING\n"
    )


def test_every_module_keeps_valid_code():
    for path in fingerprint.PACKAGE.rglob("*.py"):
        tree = fingerprint.meaningful(path.read_bytes())
        ast.parse(ast.unparse(tree))


def test_the_listed_exceptions_carry_a_message_only():
    from reprood.data.download import SourceFailed

    listed = {name for name in MESSAGE_ONLY if not name.startswith("builtins.")}
    assert listed == {f"{kind.__module__}.{kind.__qualname__}" for kind in (ReproodError, SourceFailed)}
    for kind in (ReproodError, SourceFailed):
        own = set(vars(kind)) - {"__doc__", "__module__", "__weakref__", "__static_attributes__", "__firstlineno__"}
        assert not own, kind
        assert kind.__bases__ == (Exception,)


def test_the_message_module_is_pure_text():
    """Its functions are not part of any fingerprint, so it may hold nothing else."""
    assert list(MESSAGE_MODULES) == [messages.__name__]
    assert fingerprint.closure(messages.__name__) == ("reprood", "reprood.core", "reprood.core.messages")
    path = fingerprint.source(messages.__name__)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            assert ast.unparse(node.returns) == "str", node.name
        else:
            assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.If | ast.Assign), ast.unparse(node)


LOOKING = ("search", "match", "fullmatch", "startswith", "endswith")


def test_no_code_decides_by_the_text_of_an_exception():
    """Else a message would mean something. (The command line does, for what torch raises; no job imports it.)"""
    for path in fingerprint.PACKAGE.rglob("*.py"):
        if "cli" in path.parts:
            continue
        handlers = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ExceptHandler) and n.name]
        for handler in handlers:
            for node in ast.walk(handler):
                looks = isinstance(node, ast.Compare) or (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKING
                )
                texts = [
                    part
                    for part in (ast.walk(node) if looks else [])
                    if isinstance(part, ast.JoinedStr)
                    or (isinstance(part, ast.Call) and ast.unparse(part.func) in ("str", "repr"))
                ]
                if isinstance(node, ast.Attribute) and node.attr == "args":
                    texts.append(node.value)
                names = {part.id for text in texts for part in ast.walk(text) if isinstance(part, ast.Name)}
                assert handler.name not in names, f"{path}:{node.lineno}: {ast.unparse(node)}"
