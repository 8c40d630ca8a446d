"""Tables on fabricated results: the same numbers in every form, and the words for them."""

import csv
import re

import fabricate
import pytest
from toy_paper import PAPER

from reprood.audit.explanations import signed
from reprood.audit.papers import Paper
from reprood.core.errors import ReproodError
from reprood.report import labels
from reprood.report.figures import make_figure
from reprood.report.formats import Cell, Table, frame, latex, markdown, plain, write_forms
from reprood.report.plots import write_plots
from reprood.report.published import HEAD, against, comparable, effects, published
from reprood.report.results import BenchmarkResults
from reprood.report.robustness import robustness_table
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
    assert latex(table).count(r" \\") == len(rows) + 1
    assert "Good & better" not in tex
    assert r"Good \& better" in tex
    assert re.search(r"(?<!\\)(?<!^)%", tex, re.MULTILINE) is None


def test_latex_has_a_label_one_sentence_and_the_best_in_bold():
    rows = [(Cell(name), plain("auroc", [a]), plain("top1_error", [e]), plain("mce", [e] * (name == "A")))
            for name, a, e in (("A", 0.91, 12.04), ("B", 0.905, 12.0), ("C", 0.3, 30.0))]  # fmt: skip
    tex = latex(Table("t", "AUROC at 95 % TPR. More: see there. Last.", ("method", "a", "e", "m"), tuple(rows)), "x_y")
    assert r"\caption{AUROC at 95 \% TPR (\dag{}: worse than chance).}" in tex
    assert "% More: see there.\n% Last.\n" in tex.replace(" \n", "\n")
    assert r"\label{tab:x-y}" in tex
    assert r"A & \textbf{91.0} & \textbf{12.0} & 12.0 \\" in tex
    assert r"B & 90.5 & \textbf{12.0} & – \\".replace("–", "--") in tex
    assert r"C & 30.0\dag{} & 30.0 & -- \\" in tex
    members = (Cell("coat"), plain("auroc", [0.9]), plain("auroc", [0.95])), (Cell("bag"), *[plain("auroc", [0.8])] * 2)
    tex = latex(Table("t", "By member.", ("member", "x", "y"), members, by_row=True))
    assert r"coat & 90.0 & \textbf{95.0} \\" in tex
    assert r"bag & \textbf{80.0} & \textbf{80.0} \\" in tex


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
    measured = [row[len(HEAD)] for row in table.rows]
    assert measured[0].value == pytest.approx(results.values("good", "top1_error").mean())
    assert measured[1].value == pytest.approx(100 * results.values("good", "auroc", "mean_all", "msp").mean())
    false_positives = results.values("good", "fpr95_id_positive", "near_set", "msp").mean()
    assert measured[2].value == pytest.approx(100 - 100 * false_positives)
    assert [cell.text for cell in measured[3:]] == ["–", "–"]
    assert comparable(table).rows == table.rows[:3]
    assert comparable(published(PAPER, [])) is None
    assert measured[1].interval.startswith("[")
    assert [row[HEAD.index("source")].text for row in table.rows[:2]] == ["read in the paper", "unverified citation"]
    assert [row[HEAD.index("published")].mark for row in table.rows[:3]] == ["", "◇", ""]
    write_forms(published(PAPER, [results]), tmp_path / "p")
    for form in ("csv", "md", "tex"):
        assert "unverified citation" in (tmp_path / f"p.{form}").read_text()


SETTINGS = {
    "here": {"dataset": "d", "backbone": {"name": "wrn"}},
    "other_data": {"dataset": "cifar100"},
    "other_network": {"dataset": "d", "backbone": {"name": "resnet"}},
}


def paper_with(*numbers):
    """Return the toy paper with other published numbers, of the arm `good` unless they say otherwise."""
    record = PAPER.model_dump()
    common = {"where": "T", "setting": "here", "method": "m", "source": "paper", "measured_by": "good"}
    given = [{**common, "id": f"n{i}", "value": 9.0, **number} for i, number in enumerate(numbers)]
    return Paper.model_validate({**record, "settings": SETTINGS, "published": given})


def test_a_number_is_attached_in_its_own_setting_only(results):
    numbers = [{"metric": "top1_error", "setting": name} for name in SETTINGS]
    cells = [row[len(HEAD)].text for row in published(paper_with(*numbers), [results]).rows]
    assert cells[0] == labels.number(results.values("good", "top1_error").mean())
    assert cells[1:] == ["–", "–"]


def test_a_number_of_a_family_is_not_attached_to_one_benchmark(results):
    paper = paper_with({"metric": "top1_error"}, {"metric": "top1_error", "member": "cat"},
                       {"metric": "top1_error", "members": 10})  # fmt: skip
    assert [row[len(HEAD)].text == "–" for row in published(paper, [results]).rows] == [False, True, True]


def test_a_mean_over_a_family_is_attached_to_the_family_and_a_member_to_its_benchmark(tmp_path):
    record = {**fabricate.SUITE["benchmarks"]["toy"], "members": {"cat": {}, "dog": {"settings": {"epochs": 1}}}}
    runs = [{"benchmark": "pets", "methods": ["erm", "good"], "seeds": 4}]
    suite = fabricate.results(tmp_path, benchmarks={"pets": record}, runs=runs)
    found = BenchmarkResults("pets", suite, tmp_path)
    auroc = {"metric": "auroc", "score": "msp", "split": "mean_all"}
    paper = paper_with({**auroc, "members": 2}, {**auroc, "members": 10}, {**auroc, "member": "dog"})
    table = published(paper, [found])
    heads = table.head[len(HEAD) :]
    assert heads == ("measured on pets (mean of 2)", "measured on pets_dog")
    values = 100 * found.values("good", "auroc", "mean_all", "msp")
    assert abs(values[[1, 3]].mean() - values[[0, 2]].mean()) > 1
    cells = [[cell.text for cell in row[len(HEAD) :]] for row in table.rows]
    mean, dog = labels.number(values.mean()), labels.number(values[[1, 3]].mean())
    assert cells == [[mean, "–"], ["–", "–"], ["–", dog]]
    assert table.rows[0][len(HEAD)].interval


@pytest.mark.parametrize(
    ("metric", "measured", "scale", "complement"),
    [
        ("accuracy", "top1_error", 1, True),
        ("tnr95", "fpr95_id_positive", 100, True),
        ("detection_accuracy", "detection_error", 100, True),
        ("ece", "ece15", 100, False),
        ("top5_error", "top5_error", 1, False),
    ],
)
def test_published_metrics_are_measured_under_their_name_here(results, metric, measured, scale, complement):
    detection_metric = measured in ("fpr95_id_positive", "detection_error")
    where = {"score": "msp", "split": "near_set"} if detection_metric else {}
    cell = published(paper_with({"metric": metric, **where}), [results]).rows[0][len(HEAD)]
    value = scale * results.values("good", measured, where.get("split", "test"), where.get("score", "-")).mean()
    assert cell.value == pytest.approx(100 - value if complement else value)
    if cell.interval:
        low, high = (float(end) for end in cell.interval.strip("[]").split(", "))
        assert low <= cell.value <= high


def test_numbers_against_a_claim_are_described():
    paper = paper_with(
        {"metric": "auroc", "value": 76.43, "method": "ours", "against": ["c0"], "than": "n1", "measured_by": ""},
        {
            "metric": "auroc",
            "value": 80.27,
            "method": "MSP",
            "measured_by": "",
            "source": "copy",
            "read_in": "a survey",
        },
    )
    claim = paper.claims[0].model_copy(update={"metric": "auroc", "better": "higher"})
    assert against(paper, claim.model_copy(update={"id": "c1"})) == []
    assert against(paper, claim) == [
        "ours 76.43 %, MSP 80.27 % (difference −3.8 points): AUROC, here; T, read in the paper"
    ]


def test_effects_compare_directions():
    record = paper_with({"metric": "top1_error", "value": 9.0}, {"metric": "top1_error", "value": 12.0}).model_dump()
    record["claims"][0]["published"] = ["n0", "n1"]
    record["published"][1]["source"] = "recalled"
    paper = Paper.model_validate(record)
    row = {
        "claim": "c0", "kind": "difference", "metric": "top1_error", "benchmark": "toy", "published_effect": -3.0,
        "published_source": "T", "effect": -1.0, "low": -2.0, "high": 0.5, "verdict": "open", "level": 0.995, "look": 1,
    }  # fmt: skip
    unknown, opposite = {**row, "published_effect": float("nan")}, {**row, "effect": 1.0}
    not_run = {**row, "benchmark": float("nan"), **dict.fromkeys(("effect", "low", "high"), float("nan"))}
    rows = effects(paper, [unknown, row, opposite, not_run]).rows
    assert [cell.text for cell in rows[0]][1:] == ["toy", "−3.0", "T", "−1.0", "yes", "open"]
    assert (rows[0][2].mark, rows[0][4].interval) == ("◇", "[−2.0, +0.5]")
    assert [row[5].text for row in rows] == ["yes", "no", "–"]
    assert effects(paper, [unknown]) is None


def test_values_below_chance_are_marked_except_in_csv(tmp_path):
    cells = [plain("auroc", [0.4, 0.45]), plain("auroc", [0.6]), plain("top1_error", [90.0]), plain("aupr_out", [0.2])]
    assert [cell.mark for cell in cells] == ["†", "", "", ""]
    table = Table("t", "Caption.", ("method", "a", "b"), ((Cell("m"), cells[0], cells[1]),))
    assert table.caption == "Caption. †: worse than chance."
    assert "†" not in Table("t", "Caption.", ("method", "b"), ((Cell("m"), cells[1]),)).caption
    write_forms(table, tmp_path / "t")
    assert "42.5†" in (tmp_path / "t.md").read_text()
    assert r"42.5\dag{}" in (tmp_path / "t.tex").read_text()
    assert "†" not in (tmp_path / "t.csv").read_text()


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
