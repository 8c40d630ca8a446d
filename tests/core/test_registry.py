"""Modules are found by what they define at the top level, and by nothing else in their text."""

import pytest

from reprood.core import registry
from reprood.core.errors import ReproodError


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "things"
    (folder / "large").mkdir(parents=True)
    (folder / "small.py").write_text("THING = Thing(name='small', colour=red)\n")
    (folder / "large" / "method.py").write_text("def draw():\n    THING = 1\nTHING = Thing(name='large')\n")
    (folder / "large" / "parts.py").write_text("THING = 1\n")
    (folder / "helper.py").write_text('"""THING = Thing()"""\ndef f():\n    THING = 2\n')
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)


def test_names_keywords_and_modules(package) -> None:
    assert registry.available("things", "THING") == ("large", "small")
    assert registry.available("things", "draw") == ("large",)
    assert registry.keywords("things", "small", "THING") == {"name", "colour"}
    assert registry.keywords("things", "large", "draw") == set()
    assert registry.module_name("things", "small") == "reprood.things.small"
    assert registry.module_name("things", "large") == "reprood.things.large.method"


def test_unknown_names_are_refused(package) -> None:
    with pytest.raises(ReproodError, match="no 'helper' in reprood.things; known: large, small"):
        registry.load("things", "helper", "THING")
