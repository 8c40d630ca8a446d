"""The fingerprint changes with the meaning of the code, and with nothing else."""

import ast
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reprood.pipeline import fingerprint

PACKAGE = fingerprint.PACKAGE


def modules() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


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
    assert fingerprint.meaning(before) == fingerprint.meaning(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", "x = 2\n"),
        ("def f(a, b):\n    return a / (b + 1)\n", "def f(a, b):\n    return a / b + 1\n"),
        ('x = "text"\n', 'x = "other"\n'),
        ("def f(a: int): ...\n", "def f(a: float): ...\n"),
    ],
)
def test_meaning_matters(before, after):
    assert fingerprint.meaning(before) != fingerprint.meaning(after)


def test_init_files_are_empty():
    """They are in every closure, so a line in one of them would re-run everything."""
    for path in PACKAGE.rglob("__init__.py"):
        assert path.read_text() == "", path


def test_dynamic_imports_only_in_the_dispatcher():
    for path in PACKAGE.rglob("*.py"):
        if path.name == "registry.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.id] if isinstance(node, ast.Name) else []
            # importlib.metadata only reads versions
            bad = [
                n
                for n in names
                if n in ("importlib", "__import__", "runpy", "pkgutil") or n.startswith("importlib.util")
            ]
            assert not bad, f"{path}: {bad}"


def test_closure_follows_relative_and_nested_imports(tmp_path, monkeypatch):
    package = tmp_path / "toy"
    (package / "sub").mkdir(parents=True)
    for folder in (package, package / "sub"):
        (folder / "__init__.py").write_text("")
    (package / "a.py").write_text("from .sub import b\ndef f():\n    from toy.sub.c import g\n")
    (package / "sub" / "b.py").write_text("from ..d import h\n")
    (package / "sub" / "c.py").write_text("import numpy\ng = 1\n")
    (package / "d.py").write_text("h = 1\n")
    (package / "unused.py").write_text("x = 1\n")
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.forget()
    try:
        assert fingerprint.closure("toy.a") == ("toy", "toy.a", "toy.d", "toy.sub", "toy.sub.b", "toy.sub.c")
        first = fingerprint.code_hash("toy.a")
        (package / "unused.py").write_text("x = 2\n")
        (package / "d.py").write_text("# a comment\nh = 1\n")
        fingerprint.forget()
        assert fingerprint.code_hash("toy.a") == first
        (package / "d.py").write_text("h = 2\n")
        fingerprint.forget()
        assert fingerprint.code_hash("toy.a") != first
    finally:
        fingerprint.forget()


ENTRIES = [
    "reprood.train.run",
    "reprood.predict.run",
    "reprood.data.dataset",
    "reprood.data.benchmark",
    "reprood.data.lint",
    "reprood.evaluate.table",
    *(m for m in modules() if m.startswith("reprood.methods.")),
    *(m for m in modules() if m.startswith("reprood.nets.")),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_closure_covers_what_is_really_imported(entry):
    """The static closure is a superset of the first-party modules in sys.modules after the import."""
    program = f"import sys, {entry}; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'reprood'))"
    real = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(real) <= set(fingerprint.closure(entry))


def test_closure_agrees_with_an_independent_import_graph():
    import grimp

    graph = grimp.build_graph("reprood", cache_dir=None)
    for entry in ENTRIES:
        theirs = {entry, *graph.find_upstream_modules(entry)}
        ours = set(fingerprint.closure(entry))
        parents = {".".join(m.split(".")[:i]) for m in ours for i in range(1, m.count(".") + 1)}
        assert ours - parents == theirs - parents, entry


TORCH_FREE = [m for m in modules() if m.split(".")[1:2] and m.split(".")[1] in ("data", "evaluate", "audit", "report")]
TORCH_FREE += [
    "reprood.pipeline.plan",
    "reprood.config.suite",
    "reprood.cli.main",
    "reprood.pipeline.fingerprint",
    "reprood.cli.watch",
    "reprood.core.gpus",
]


def test_stages_without_torch_do_not_import_it():
    program = textwrap.dedent(f"""
        import importlib, sys
        for name in {TORCH_FREE!r}:
            importlib.import_module(name)
            assert "torch" not in sys.modules, name
    """)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_method_does_not_depend_on_its_siblings():
    """Editing one paper's file re-trains that paper only."""
    for name in ("erm", "cutmix", "godin"):
        others = {m for m in modules() if m.startswith("reprood.methods.")} - {f"reprood.methods.{name}"}
        shared = {m for m in fingerprint.closure(f"reprood.methods.{name}") if m in others}
        assert not shared & {"reprood.methods.cutmix", "reprood.methods.godin"}, (name, shared)
    assert not any(m.startswith("reprood.methods.") for m in fingerprint.closure("reprood.train.run"))
    assert not any(
        m.startswith(("reprood.methods.", "reprood.report")) for m in fingerprint.closure("reprood.predict.run")
    )


def test_package_copy_has_the_same_hash(tmp_path, monkeypatch):
    """The hash depends on contents, not on where the checkout lies or when its files were written."""
    before = fingerprint.code_hash("reprood.evaluate.table")
    shutil.copytree(PACKAGE, tmp_path / "src" / "reprood", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", Path(tmp_path / "src" / "reprood"))
    monkeypatch.setattr(fingerprint, "ROOT", Path(tmp_path / "src"))
    fingerprint.forget()
    try:
        assert fingerprint.code_hash("reprood.evaluate.table") == before
    finally:
        fingerprint.forget()


def toy(folder: Path) -> Path:
    (folder / "toy").mkdir()
    (folder / "toy" / "__init__.py").write_text("")
    (folder / "toy" / "a.py").write_text("from toy import b\nx = 1\n")
    (folder / "toy" / "b.py").write_text("y = 1\n")
    return folder / "toy"


def test_what_is_remembered_is_what_would_be_parsed(tmp_path, monkeypatch):
    """Through edits, a new module, half an edit and a damaged file; a parse that was remembered is not done again."""
    package, memory = toy(tmp_path), tmp_path / "state" / "fingerprints.json"
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)

    def asked(path: Path) -> str:
        fingerprint.forget()
        monkeypatch.setattr(fingerprint, "_known", {})
        fingerprint.remembered(path)
        return fingerprint.code_hash("toy.a")

    def plain() -> str:
        fingerprint.forget()
        monkeypatch.setattr(fingerprint, "_known", {})
        return fingerprint.code_hash("toy.a")

    try:
        first = asked(memory)
        assert first == plain() == asked(memory)
        (package / "b.py").write_text("y = 2\n")
        assert asked(memory) == plain() != first
        (package / "b.py").write_text("y = 1\n")
        assert asked(memory) == first
        (package / "a.py").write_text("from toy import b, c\nx = 1\n")
        without = asked(memory)
        (package / "c.py").write_text("z = 1\n")
        assert asked(memory) == plain() != without
        (package / "unused.py").write_text("def f(:\n")
        assert asked(memory) == plain()
        for damage in ('{"maker": 3}', "[", '{"maker": "x", "read": {}}', "{}", "null"):
            memory.write_text(damage)
            assert asked(memory) == plain()
        parsed = []
        monkeypatch.setattr(fingerprint, "meaning", lambda text: parsed.append(text) or "never")
        (package / "unused.py").unlink()
        asked(memory)
        assert parsed == []
        (package / "b.py").write_text("y = 3\n")
        asked(memory)
        assert parsed == [b"y = 3\n"]
    finally:
        fingerprint.forget()


def test_nothing_is_lost_when_nothing_can_be_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", toy(tmp_path))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.forget()
    try:
        (tmp_path / "file").write_text("")
        fingerprint.remembered(tmp_path / "file" / "fingerprints.json")
        assert len(fingerprint.code_hash("toy.a")) == 16
    finally:
        fingerprint.forget()
