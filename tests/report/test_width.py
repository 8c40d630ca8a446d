"""Figures at the width of a column: their size, and every text on the canvas."""

import pytest

from reprood.core.errors import ReproodError
from reprood.report.contents import FIGURES, PHONE_WIDTH, resolve
from reprood.report.style import new_figure
from reprood.report.width import fit_width

DRAWN = [one for one in FIGURES if one.name in ("leaderboard", "curves", "roc", "histograms", "auroc", "robustness")]


@pytest.mark.parametrize("kind", DRAWN, ids=lambda kind: kind.name)
@pytest.mark.parametrize("width", [3.3, PHONE_WIDTH, 5.0])
def test_no_text_leaves_a_narrow_figure(results, kind, width):
    if not kind.applies(results.benchmark):
        pytest.skip("the benchmark has no such figure")
    figure = resolve(kind.draw)(results)
    fit_width(figure, width)
    figure.canvas.draw()
    assert figure.get_figwidth() == width
    drawn = figure.get_tightbbox()  # of everything that is visible, in inches
    assert drawn.x0 >= -0.04
    assert drawn.x1 <= width + 0.04
    assert drawn.y0 >= -0.04
    assert drawn.y1 <= figure.get_figheight() + 0.04


def test_rows_of_images_are_scaled_as_a_whole():
    figure = new_figure(7.2, 2.0)
    for axes in figure.subplots(1, 4):
        axes.imshow([[0, 1]])
        axes.set_xlabel("other letters\n5.0 %")
    fit_width(figure, 3.6)
    assert figure.get_size_inches()[0] == 3.6
    assert figure.axes[0].get_xlabel() == "other letters\n5.0 %"


@pytest.mark.parametrize("width", [0.5, 100.0])
def test_other_widths_are_refused(width):
    with pytest.raises(ReproodError, match="give --width between 2 and 20"):
        fit_width(new_figure(7.2, 2.0), width)
