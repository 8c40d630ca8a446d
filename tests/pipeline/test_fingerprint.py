"""The fingerprint changes with the meaning of the code, and with nothing else."""

import ast
import shutil
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest
from imports import imported_by

from reprood.pipeline import fingerprint
from reprood.pipeline.meaning import MESSAGE_MODULES

PACKAGE = fingerprint.PACKAGE


def modules() -> list[str]:
    return [str(fingerprint.module_of(path)) for path in sorted(PACKAGE.rglob("*.py"))]


def test_init_files_are_empty():
    """They are in every closure, so a line in one of them would re-run everything."""
    public = {PACKAGE / "__init__.py", PACKAGE / "api" / "__init__.py"}  # reprood.score and what it stands for
    for path in PACKAGE.rglob("__init__.py"):
        assert path in public or path.read_text() == "", path
    assert fingerprint.closure("reprood.train.run").count("reprood.api") == 0


def test_dynamic_imports_only_in_the_dispatcher():
    for path in PACKAGE.rglob("*.py"):
        if path.name == "registry.py" or path == PACKAGE / "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.id] if isinstance(node, ast.Name) else []
            # importlib.metadata only reads versions
            bad = [n for n in names if n in ("importlib", "__import__", "runpy", "pkgutil")]
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
    "reprood.evaluate.run",
    *(m for m in modules() if m.startswith("reprood.methods.")),
    *(m for m in modules() if m.startswith("reprood.nets.")),
]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.slow
def test_closure_covers_what_is_really_imported(entry):
    """The static closure is a superset of the first-party modules in sys.modules after the import."""
    assert imported_by(tuple(ENTRIES))[entry] <= {*fingerprint.closure(entry), *MESSAGE_MODULES}


def test_closure_agrees_with_an_independent_import_graph():
    import grimp

    graph = grimp.build_graph("reprood", cache_dir=None, exclude_type_checking_imports=True)
    for entry in ENTRIES:
        theirs = {entry, *graph.find_upstream_modules(entry)} - set(MESSAGE_MODULES)
        ours = set(fingerprint.closure(entry)) - set(MESSAGE_MODULES)
        parents = {".".join(m.split(".")[:i]) for m in ours for i in range(1, m.count(".") + 1)}
        assert ours - parents == theirs - parents, entry


TORCH_FREE = [m for m in modules() if m.split(".")[1:2] and m.split(".")[1] in ("data", "evaluate", "audit", "report")]
TORCH_FREE.remove("reprood.data.corrupt")  # the corruptions are tensor operations shared with training
TORCH_FREE += [
    "reprood.pipeline.plan",
    "reprood.config.suite",
    "reprood.cli.main",
    "reprood.pipeline.fingerprint",
    "reprood.cli.watch",
    "reprood.core.gpus",
]


@pytest.mark.slow
def test_stages_without_torch_do_not_import_it():
    program = textwrap.dedent(f"""
        import importlib, sys
        for name in {TORCH_FREE!r}:
            importlib.import_module(name)
            assert "torch" not in sys.modules, name
    """)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_predictions_depend_on_no_detector():
    closure = fingerprint.closure("reprood.predict.run")
    assert not any(m.startswith("reprood.detectors") for m in closure), closure


def test_the_evaluation_depends_on_no_single_detector():
    """Those of a benchmark are entries of their own: adding one leaves the other benchmarks alone."""
    from reprood.detectors import registry

    detectors = {registry.module_name(name) for name in registry.names()}
    assert not detectors & set(fingerprint.closure("reprood.evaluate.run"))
    needed = {"reprood.detectors.energy", "reprood.detectors.maxlogit"}
    assert needed <= set(fingerprint.closure("reprood.detectors.vim"))


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


def test_the_cache_gives_what_parsing_gives(tmp_path, monkeypatch):
    """Through edits, a new module, a half-finished edit and a damaged file; a known text is not parsed again."""
    package, stored = toy(tmp_path), tmp_path / "state" / "fingerprints.json"
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)

    def cached(path: Path) -> str:
        fingerprint.forget()
        monkeypatch.setattr(fingerprint, "_summaries", {})
        fingerprint.load_cache(path)
        return fingerprint.code_hash("toy.a")

    def parsed_again() -> str:
        fingerprint.forget()
        monkeypatch.setattr(fingerprint, "_summaries", {})
        return fingerprint.code_hash("toy.a")

    try:
        first = cached(stored)
        assert first == parsed_again() == cached(stored)
        (package / "b.py").write_text("y = 2\n")
        assert cached(stored) == parsed_again() != first
        (package / "b.py").write_text("y = 1\n")
        assert cached(stored) == first
        (package / "a.py").write_text("from toy import b, c\nx = 1\n")
        without = cached(stored)
        (package / "c.py").write_text("z = 1\n")
        assert cached(stored) == parsed_again() != without
        (package / "unused.py").write_text("def f(:\n")
        assert cached(stored) == parsed_again()
        for damage in ('{"writer": 3}', "[", '{"writer": "x", "summaries": {}}', "{}", "null"):
            stored.write_text(damage)
            assert cached(stored) == parsed_again()
        parsed = []
        meaningful = fingerprint.meaningful
        monkeypatch.setattr(fingerprint, "meaningful", lambda text: parsed.append(text) or meaningful(text))
        (package / "unused.py").unlink()
        cached(stored)
        assert parsed == []
        (package / "b.py").write_text("y = 3\n")
        cached(stored)
        assert parsed == [b"y = 3\n"]
    finally:
        fingerprint.forget()


def test_without_a_cache_file_everything_works(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", toy(tmp_path))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.forget()
    try:
        (tmp_path / "file").write_text("")
        fingerprint.load_cache(tmp_path / "file" / "fingerprints.json")
        assert len(fingerprint.code_hash("toy.a")) == 16
    finally:
        fingerprint.forget()


def test_import_chains():
    """The shortest way from an entry to a module, which `reprood why` shows."""
    chain = fingerprint.import_chain("reprood.predict.run", "reprood.core.errors")
    assert (chain[0], chain[-1]) == ("reprood.predict.run", "reprood.core.errors")
    for importer, imported in pairwise(chain):
        assert imported in fingerprint.closure(importer)
    assert fingerprint.import_chain("reprood.core.files", "reprood.core.files") == ("reprood.core.files",)
    assert fingerprint.import_chain("reprood.core.files", "reprood.core") == ("reprood.core.files", "reprood.core")
    assert fingerprint.import_chain("reprood.core.files", "reprood.report.pages") == ()
    for module in fingerprint.closure("reprood.evaluate.table"):
        assert fingerprint.import_chain("reprood.evaluate.table", module)


def test_other_packages_of_an_entry():
    """Also those that only a function, or a module further on, imports."""
    assert "torchvision" in fingerprint.packages("reprood.nets.resnext")
    assert not {"torch", "torchvision"} & fingerprint.packages("reprood.evaluate.run")
    both = fingerprint.packages("reprood.nets.wrn", "reprood.evaluate.boxes")
    assert {"torch", "pycocotools"} <= both
    assert "reprood" not in both


def test_the_module_of_a_file(tmp_path):
    assert fingerprint.module_of(PACKAGE / "core" / "files.py") == "reprood.core.files"
    assert fingerprint.module_of(PACKAGE / "core" / "__init__.py") == "reprood.core"
    assert fingerprint.module_of(PACKAGE / "report" / "templates" / "report.css") is None
    assert fingerprint.module_of(tmp_path / "files.py") is None
