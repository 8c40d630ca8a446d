"""Detectors in a user's own file."""

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.detectors import registry
from reprood.detectors.record import Outputs
from reprood.pipeline.fingerprint import code_hash, forget

MARGIN = '''"""Difference of the two largest logits."""

import numpy as np

from reprood.detectors.record import Detector, Paper


def margin(logits):
    ordered = np.sort(logits, axis=1)
    return ordered[:, -1] - ordered[:, -2]


DETECTOR = Detector(
    name="margin",
    label="Margin",
    paper=Paper(title="", authors="", venue="", year=2026, url=""),
    formula="l_(1) - l_(2)",
    inputs=("logits",),
    score=lambda outputs, fitted, options: margin(outputs.logits),
)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "margin.py").write_text(MARGIN)
    yield tmp_path
    registry.detector.cache_clear()
    forget()


def test_a_file_is_a_detector_named_after_it(folder):
    record = registry.detector("./mine/margin.py")
    assert registry.score_name("./mine/margin.py") == record.name == "margin"
    assert registry.inputs_of(["./mine/margin.py"]) == {"logits"}
    logits = np.array([[1.0, 4.0, 2.0], [0.0, 0.0, -1.0]])
    assert record.score(Outputs(logits), None, registry.parse_options({"./mine/margin.py": {}})).tolist() == [2.0, 0.0]


def test_its_code_is_in_the_fingerprint(folder):
    before = code_hash(registry.module_name("./mine/margin.py"))
    file = folder / "mine" / "margin.py"
    file.write_text(MARGIN.replace('"""Difference', '"""The difference'))
    forget()
    assert code_hash("./mine/margin.py") == before, "a docstring"
    file.write_text(MARGIN.replace("-2]", "0]"))
    forget()
    assert code_hash("./mine/margin.py") != before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("./nothing.py", None, "There is no file ./nothing.py in "),
        ("./margin.py", "X = 1\n", "./margin.py defines no `DETECTOR` at the top level"),
        ("./margin.py", "DETECTOR = (\n", "./margin.py is not valid Python: '\\(' was never closed"),
        ("./margin.py", "import nothing_here\nDETECTOR = 1\n", "cannot be imported: ModuleNotFoundError: No module"),
        ("./margin.py", "DETECTOR = 1\n", "DETECTOR in ./margin.py is a int; expected a Detector"),
        ("./other.py", MARGIN, "./other.py registers 'margin'; give file and record one name"),
        ("./msp.py", MARGIN, "A detector cannot have the file name msp.py"),
        ("./My margin.py", MARGIN, "must consist of lower-case letters"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, monkeypatch, name, text, words):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ReproodError, match=words):
        registry.detector(name)


def test_two_files_of_one_name_are_refused(folder):
    (folder / "margin.py").write_text(MARGIN)
    with pytest.raises(ReproodError, match="./margin.py and ./mine/margin.py have one name, margin; rename a file"):
        registry.parse_options({"./margin.py": {}, "./mine/margin.py": {}})
