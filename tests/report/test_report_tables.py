"""Tables on fabricated results: the same numbers in every form, and the words for them."""

import csv
import re

import fabricate
import pytest
from toy_paper import PAPER

from reprood.audit.explanations import signed
from reprood.core.errors import ReproodError
from reprood.report import labels
from reprood.report.figures import make_figure
from reprood.report.formats import Cell, Table, frame, latex, markdown, write_forms
from reprood.report.plots import write_plots
from reprood.report.published import comparable, published
from reprood.report.tables import classification, detection, matrix, write_table


def test_unknown_figure_and_table(results, tmp_path):
    with pytest.raises(ReproodError, match="known: leaderboard"):
        make_figure("pie", results, tmp_path / "a.svg", tmp_path / "a.png")
    with pytest.raises(ReproodError, match="known: leaderboard"):
        write_table("pie", results, tmp_path / "a")


def test_classification_table_matches_the_metrics(results):
    table = classification(results)
    for row, method in zip(table.rows, results.methods, strict=True):
        assert row[0].text == results.label(method)
        assert row[1].value == pytest.approx(results.values(method, "top1_error").mean())
        assert row[2].text == "25.0", "the lowest recorded test error"
        assert row[1].interval.startswith("[")


def test_detection_table_matches_the_metrics_and_names_the_convention(results):
    table = detection(results)
    assert sum("FPR@95 (ID positive)" in head for head in table.head) == 1
    assert sum("FPR@95 (OOD positive)" in head for head in table.head) == 1
    by_key = {(row[0].text, row[1].text): row for row in table.rows}
    row = by_key["Good & better", "MSP"]
    assert row[2].value == pytest.approx(100 * results.values("good", "auroc", "mean_natural", "msp").mean())
    assert row[4].value == pytest.approx(
        100 * results.values("good", "fpr95_id_positive", "mean_natural", "msp").mean()
    )
    assert row[5].value == pytest.approx(
        100 * results.values("good", "fpr95_ood_positive", "mean_natural", "msp").mean()
    )
    assert row[7].value == pytest.approx(100 * results.values("good", "auroc", "near_set", "msp").mean())
    assert by_key["Broken", "accuracy gate failed"][2].text == "–"


def test_robustness_table_has_the_last_and_the_best_robust_error_of_adversarial_trainings(tmp_path):
    made = fabricate.results(tmp_path)
    for seed in made.seeds:
        path = tmp_path / "runs" / "toy" / "good" / str(seed) / "history.csv"
        head, *rows = path.read_text().splitlines()
        errors = ["", 50 + seed, "", 40 + seed, "", "", 45 + seed]
        lines = [f"{row},{error}" for row, error in zip(rows, errors, strict=True)]
        path.write_text("\n".join([f"{head},test_robust_error", *lines]) + "\n")
    table = robustness_table(BenchmarkResults("toy", made, tmp_path))
    by_method = {row[0].text: row[-2:] for row in table.rows}
    assert [cell.value for cell in by_method["Good & better"]] == [46.0, 41.0]
    assert [cell.text for cell in by_method["Cross-entropy"]] == ["–", "–"]
    assert ["last epoch" in table.head[-2], "best epoch" in table.head[-1]] == [True, True]
    assert "never used" in table.caption


def test_robustness_table_of_other_trainings_has_no_such_columns(results):
    assert not any("while training" in head for head in robustness_table(results).head)


@pytest.mark.parametrize("make", [classification, detection])
def test_the_forms_of_a_table_agree(results, make, tmp_path):
    table = make(results)
    stem = tmp_path / "t"
    write_table(table.name, results, stem)
    with open(stem.with_suffix(".csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(table.rows) == len(frame(table))
    lines = stem.with_suffix(".md").read_text().splitlines()[2 : 2 + len(rows)]
    tex = stem.with_suffix(".tex").read_text()
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    for cells, record, line, latex_line in zip(table.rows, rows, lines, body, strict=True):
        numbers = [cell.text for cell in cells if cell.value is not None]
        assert numbers or cells[1].text == "accuracy gate failed"
        for text in numbers:
            plain = text.replace("−", "-")
            assert plain in record.values()
            assert text in line
            assert plain.replace("-", "$-$") in latex_line
    assert markdown(table) == stem.with_suffix(".md").read_text()
    assert latex(table).count(r"\\") == len(rows) + 1
    assert "Good & better" not in tex
    assert r"Good \& better" in tex
    assert re.search(r"(?<!\\)%(?! needs)", tex) is None


def test_latex_survives_every_special_character():
    table = Table("t", "100 % of {a}~b^c", ("x_y", "n & m"), ((Cell("a\\b#$"), Cell("−1.0", "", -1.0)),))
    tex = latex(table)
    assert r"100 \% of \{a\}\textasciitilde{}b\textasciicircum{}c" in tex
    assert r"a\textbackslash{}b\#\$ & $-$1.0 \\" in tex
    assert r"\begin{tabular}{lr}" in tex
    assert markdown(table).splitlines()[1] == "| --- | ---: |"


def test_only_columns_that_hold_a_number_are_numbers():
    number, missing, text = Cell("1.0", "", 1.0), Cell("–"), Cell("a word")
    rows = ((text, text, number, missing, missing), (text, missing, text, number, missing))
    assert Table("t", "", tuple("abcde"), rows).numbers == ("c", "d")
    assert Table("t", "", ("a", "b"), ()).numbers == ()


def test_matrix_marks_the_highest_of_each_score(results):
    table = matrix(results)
    assert table.head == ("method", "MSP", "own")
    assert [row[0].text for row in table.rows] == ["Cross-entropy", "Good & better", "Same"], "no broken run"
    for place, score in ((1, "msp"), (2, "own")):
        values = {m: results.values(m, "auroc", "mean_natural", score).mean() for m in results.detecting}
        marked = [row[0].text for row in table.rows if row[place].best]
        assert marked == [results.label(max(values, key=values.get))]
        for row, value in zip(table.rows, values.values(), strict=True):
            assert row[place].value == pytest.approx(100 * value)


def test_published_numbers_stand_comparable_what_corresponds(results, tmp_path):
    table = published(PAPER, [results])
    measured = [row[5] for row in table.rows]
    assert measured[0].value == pytest.approx(results.values("good", "top1_error").mean())
    assert measured[1].value == pytest.approx(100 * results.values("good", "auroc", "mean_all", "msp").mean())
    false_positives = results.values("good", "fpr95_id_positive", "near_set", "msp").mean()
    assert measured[2].value == pytest.approx(100 - 100 * false_positives)
    assert [cell.text for cell in measured[3:]] == ["–", "–"]
    assert comparable(table).rows == table.rows[:3]
    assert comparable(published(PAPER, [])) is None
    assert measured[1].interval.startswith("[")
    assert table.rows[1][-1].text == "unverified citation"
    write_forms(published(PAPER, [results]), tmp_path / "p")
    for form in ("csv", "md", "tex"):
        assert "unverified citation" in (tmp_path / f"p.{form}").read_text()


def test_plots_table(folder, results, tmp_path):
    source = folder / "runs" / "toy" / "good" / "0" / "metrics.csv"
    write_plots(source, tmp_path / "plots.csv")
    rows = list(csv.DictReader((tmp_path / "plots.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} == {"msp", "own"}


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "1.2"), (-0.04, "0.0"), (-0.4, "−0.4"), (float("nan"), "–"), (12.0, "12.0")]
)  # fmt: skip
def test_numbers(value, text):
    assert labels.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0"), (-0.04, "0.0"), (0.4, "+0.4"), (-0.4, "−0.4")])
def test_differences_have_a_sign(value, text):
    assert signed(value) == text
