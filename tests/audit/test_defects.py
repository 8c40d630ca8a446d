"""The list of known defects, and that each check shows what is said of it."""

from pathlib import Path

import pytest

from reprood.audit.defects import CHECKS, load_defects
from reprood.core.errors import ReproodError

FILE = Path(__file__).parents[2] / "config" / "defects.yaml"
SHOWN = {  # as found, right
    "sigmoid": (0.5, 1.0),
    "trapezoid_aupr": (0.5, 7 / 18),
    "fpr_nearest": (0.5, 0.75),
    "oscr_one_short": (0.98, 1.0),
    "ties": (0.0, 0.5),
    "pgd_centre": (2.0, 1.0),
}


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_shows_a_difference(name):
    found, right, what = CHECKS[name]()
    assert what
    assert abs(found - right) > 0.01
    if name in SHOWN:
        assert (found, right) == pytest.approx(SHOWN[name], abs=2e-3)


def test_the_list_uses_every_check():
    defects = load_defects(FILE)
    assert {defect.check for defect in defects} - {""} == set(CHECKS)
    assert all(defect.source and defect.effect for defect in defects)
    assert next(defect for defect in defects if not defect.check).shown() is None


def test_mistakes_are_one_sentence(tmp_path):
    path = tmp_path / "defects.yaml"
    entry = "{id: a, where: w, what: x, effect: e, source: s}"
    path.write_text(f"- {entry}\n- {entry}\n")
    with pytest.raises(ReproodError, match="the id 'a' is used twice"):
        load_defects(path)
    path.write_text("- {id: a, where: w, what: x, effect: e, source: s, check: nothing}\n")
    with pytest.raises(ReproodError, match="there is no check 'nothing'"):
        load_defects(path)
