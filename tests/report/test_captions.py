"""Snakemake's report has a caption for every figure and table; the pages have one for every figure."""

from pathlib import Path

import pytest

from reprood.report.figures import KINDS, WITH_DATA
from reprood.report.pages import CAPTIONS
from reprood.report.tables import KINDS as TABLES

CAPTION_FILES = Path(__file__).parents[2] / "workflow" / "report"


FILES = [*(f"figure_{kind}" for kind in [*KINDS, *WITH_DATA]), *(f"table_{kind}" for kind in TABLES)]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_has_a_caption_that_names_its_benchmark(name):
    text = (CAPTION_FILES / f"{name}.rst").read_text()
    assert "{{ snakemake.params.benchmark }}" in text  # rules of one benchmark each have no wildcards
    assert "wildcards" not in text


def test_no_caption_is_left_over():
    others = {"figure_study", "table_published", "verdicts", "page", "workflow"}
    assert {path.stem for path in CAPTION_FILES.glob("*.rst")} == set(FILES) | others


def test_the_pages_have_a_caption_for_every_figure():
    assert CAPTIONS.keys() == {*KINDS, *WITH_DATA}
