"""Drawings do not show the last bits of a layout."""

import re
from pathlib import Path
from types import SimpleNamespace

import fabricate
import numpy as np
import pytest
from layout import problems
from matplotlib.lines import Line2D
from toy_paper import KINDS

from reprood.report.contents import FIGURES, resolve
from reprood.report.figures import auroc, curves, histograms, roc
from reprood.report.leaderboard import draw_leaderboard
from reprood.report.results import BenchmarkResults
from reprood.report.style import OTHER, entries, legend_below, legend_columns, log_scale, new_figure, normalised, save

REPORT = Path(__file__).parents[2] / "src" / "reprood" / "report"
LONG = "CutPaste, 3-way (Gaussian) with the outliers of another method and {}"


def drawn(folder, shift):
    figure = new_figure(3, 2)
    figure.set_layout_engine("none")
    for place in (0.125, 0.6):
        axes = figure.add_axes((place + shift, 0.25, 0.3 - shift, 0.5 + shift))
        axes.plot(np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** 2, "-o")
        axes.axvspan(0.25, 0.5)
    save(figure, folder / "a.svg", folder / "a.png")
    return (folder / "a.svg").read_text()


@pytest.mark.parametrize("shift", [1e-14, -1e-14, 3e-13, -3e-13])
def test_noise_of_the_layout_is_not_written(tmp_path, shift):
    exact = drawn(tmp_path, 0.0)
    assert drawn(tmp_path, shift) == exact
    assert drawn(tmp_path, 1e-3) != exact
    assert (
        set(re.findall(r"url\(#(\w+)\)", exact))
        == set(re.findall(r'<clipPath id="(\w+)"', exact))
        == {"clip0", "clip1"}
    )


def test_coordinates_are_cut_to_hundredths_and_stay_where_they_are():
    move = 'transform="translate(75.0390625 1.5) scale(0.00123)"'
    text = f'<path d="M 10.25 -3.1259 L 7.5000001 7.4999999" cx="1.23456" {move}/>'
    assert normalised(text) == (
        '<path d="M 10.25 -3.13 L 7.50 7.50" cx="1.23456" transform="translate(75.04 1.5) scale(0.00123)"/>'
    )
    values = np.random.default_rng(0).uniform(-50, 50, 200)
    found = re.findall(r"-?\d+\.\d+", normalised(' d="' + " ".join(f"{value:.6f}" for value in values) + '"'))
    assert np.abs(np.array(found, dtype=float) - values).max() < 0.0065


def test_a_logarithmic_axis_has_plain_numbers(tmp_path):
    """Formulas are not parsed, so the default labels would show their markup."""
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([1, 2, 3], [2e-3, 0.01, 0.5])
    log_scale(axes)
    save(figure, tmp_path / "a.svg", tmp_path / "a.png")
    text = (tmp_path / "a.svg").read_text()
    assert "mathdefault" not in text
    assert "<!-- 0.01 -->" in text
    texts = {path.name: path.read_text() for path in REPORT.rglob("*.py") if path.name != "style.py"}
    assert [name for name, source in texts.items() if re.search(r"scale\(?=?\(?.log", source)] == []


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (9, 7)])
def test_a_legend_has_as_many_columns_as_fit(count, columns):
    assert legend_columns(["HOOD-aug"] * count, 7.2) == columns
    assert legend_columns([LONG.format(k) for k in range(count)], 7.2) == 1


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """The fabricated results with method names that are longer than a panel."""
    methods = {name: {**record, "label": LONG.format(name)} for name, record in fabricate.SUITE["methods"].items()}
    folder = tmp_path_factory.mktemp("long")
    suite = fabricate.results(folder, methods=methods)
    return BenchmarkResults("toy", suite, folder)


@pytest.mark.parametrize("draw", [curves, roc, histograms, auroc, draw_leaderboard])
def test_no_text_leaves_the_figure_or_runs_into_another(long_names, draw):
    assert problems(draw(long_names)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_any_figure_leaves_it_or_runs_into_another(folder, results, kind):
    chosen = next(one for one in FIGURES if one.name == kind)
    draw = resolve(chosen.draw)
    assert problems(draw(results, folder / "data") if chosen.images == "test" else draw(results)) == []


def test_the_check_of_texts_finds_what_is_wrong():
    figure = new_figure(3, 2)
    figure.text(0.5, 0.5, "one")
    figure.text(0.52, 0.5, "another")
    figure.text(0.95, 0.1, "too far to the right")
    assert problems(figure) == ["'too far to the right' leaves the canvas", "'one' overlaps 'another'"]


def test_at_most_five_lines_of_a_plot_have_a_colour(tmp_path):
    methods = {**fabricate.SUITE["methods"], **{f"same{k}": {"use": "cutmix", "label": f"Same {k}"} for k in range(4)}}
    suite = fabricate.suite(methods=methods, runs=[{"benchmark": "toy", "methods": list(methods)}])
    ranked = BenchmarkResults("toy", suite, tmp_path)
    ranked.__dict__["_values"] = {
        (name, metric, split, score): [value]
        for place, name in enumerate(methods)
        for metric, split, score, value in (
            ("auroc", "mean_natural", "msp", place / 10), ("gate", "test", "-", float(name != "broken")),
        )
    }  # fmt: skip
    ranked.__dict__["detecting"] = [name for name in methods if name != "broken"]
    ranked.__dict__["_sampled"] = {(name, "msp"): [0, 1, 2] for name in methods}
    ranked.__dict__["stored"] = SimpleNamespace(predictions=lambda _: [SimpleNamespace(facts={"native": []})])
    assert ranked.highlighted == ("erm", "same0", "same1", "same2", "same3")
    assert ranked.line("good")["color"] == OTHER["color"]
    names = [ranked.label(method) for method in ranked.methods]
    shown = [ranked.label(method) for method in ranked.highlighted]
    assert entries(shown, [Line2D([], []) for _ in names], names)[1][-1] == "others: Good & better; Same; Broken"


def test_a_folded_legend_lies_below_the_axes():
    figure = new_figure(7.2, 3)
    axes = figure.subplots()
    handles = [axes.plot([0, 1])[0] for _ in range(4)]
    legend_below(figure, handles, [LONG.format(k) * 2 for k in range(4)])
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert legend.y1 <= axes.get_window_extent().y0


def test_a_benchmark_without_labels_has_one_panel_of_curves(tmp_path):
    suite = fabricate.results(tmp_path)
    for path in tmp_path.rglob("history.csv"):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(line[:4]) + "\n" for line in lines))
    figure = curves(BenchmarkResults("toy", suite, tmp_path))
    assert [axes.get_title() for axes in figure.axes] == ["training loss (of each method)"]
