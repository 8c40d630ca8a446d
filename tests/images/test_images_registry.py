"""A corruption or style is one module, and nothing depends on those that it does not use."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reprood
from reprood.config.perturbations import PUBLISHED_CORRUPTIONS
from reprood.images.registry import CORRUPTION_NAMES, STYLE_NAMES, corruption_module, style_module
from reprood.pipeline import fingerprint

PACKAGE = Path(reprood.__file__).parent
ENTRIES = (
    "reprood.data.dataset",
    "reprood.data.benchmark",
    "reprood.data.corrupt",
    "reprood.train.run",
    "reprood.predict.run",
    "reprood.evaluate.table",
    "reprood.methods.cnc.method",
)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package that fingerprints read."""
    folder = tmp_path / "src" / "reprood"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", folder)
    monkeypatch.setattr(fingerprint, "ROOT", folder.parent)
    fingerprint.forget()
    yield folder
    monkeypatch.undo()
    fingerprint.forget()


def test_a_new_corruption_or_style_changes_no_fingerprint(copy):
    before = {entry: fingerprint.code_hash(entry) for entry in ENTRIES}
    (copy / "images/corruptions/rain.py").write_text('CORRUPTION = "rain"\n')
    (copy / "images/styles/sepia.py").write_text("def apply(images): return images\n")
    fingerprint.forget()
    assert {entry: fingerprint.code_hash(entry) for entry in ENTRIES} == before


def test_an_edited_corruption_changes_what_uses_it(copy):
    entries = (*ENTRIES, *map(corruption_module, CORRUPTION_NAMES))
    before = {entry: fingerprint.code_hash(entry) for entry in entries}
    path = copy / "images/corruptions/fog.py"
    path.write_text(path.read_text().replace("cifar=((0.2, 3)", "cifar=((0.3, 3)"))
    fingerprint.forget()
    changed = {entry for entry in entries if fingerprint.code_hash(entry) != before[entry]}
    # Frost uses the plasma of fog.
    assert changed == {"reprood.methods.cnc.method", corruption_module("fog"), corruption_module("frost")}


@pytest.mark.parametrize("entry", ENTRIES[:-1])
def test_no_job_depends_on_corruptions_or_styles_by_import(entry):
    named = {*map(corruption_module, CORRUPTION_NAMES), *map(style_module, STYLE_NAMES)}
    assert not named & set(fingerprint.closure(entry))


def test_cnc_depends_on_the_corruptions_it_uses():
    from reprood.methods.cnc.settings import CNC_NAMES

    used = {
        name
        for name in CORRUPTION_NAMES
        if corruption_module(name) in fingerprint.closure("reprood.methods.cnc.method")
    }
    assert len(CNC_NAMES) == 15
    assert used == {*CNC_NAMES, "motion_blur"}  # by which the flakes of snow move


def test_names_are_known_without_importing_the_modules():
    assert set(PUBLISHED_CORRUPTIONS) < set(CORRUPTION_NAMES)
    program = "import sys, reprood.images.registry as r; assert r.CORRUPTION_NAMES; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
