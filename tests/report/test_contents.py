"""Every type of figure and table is complete, its function exists, and some committed benchmark has it."""

import subprocess
import sys
from pathlib import Path

import pytest

from reprood.pipeline.fingerprint import source
from reprood.pipeline.plan import Plan
from reprood.report.contents import FIGURES, TABLES, modules_of, resolve

ROOT = Path(__file__).parents[2]
CAPTION_FILES = ROOT / "workflow" / "report"
TYPES = [*FIGURES, *TABLES]
IDS = [f"{type(one).__name__}-{one.name}" for one in TYPES]


@pytest.fixture(scope="module")
def benchmarks():
    plans = [Plan({"suite": suite}, ROOT) for suite in ("smoke", "quick", "openood_cifar10")]
    return [plan.benchmark(name) for plan in plans for name in plan.benchmarks]


@pytest.mark.parametrize("one", TYPES, ids=IDS)
def test_a_type_is_complete_and_used(one, benchmarks):
    name = one.draw if one in FIGURES else one.make
    assert callable(resolve(name))
    assert source(modules_of([name])[0])
    assert one.title
    assert one not in FIGURES or one.caption.endswith(".")
    assert any(one.applies(benchmark) for benchmark in benchmarks)


@pytest.mark.parametrize("types", [FIGURES, TABLES], ids=["figures", "tables"])
def test_names_are_unique(types):
    assert len({one.name for one in types}) == len(types)


def test_contents_imports_neither_matplotlib_nor_pandas():
    program = (
        "import sys, reprood.report.contents as _; assert not {'matplotlib', 'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_drawing_depends_on_the_modules_that_draw():
    plan = Plan({"suite": "smoke"}, ROOT)
    name = next(name for name in plan.benchmarks if "hardest" in plan.figures(name))
    assert {"reprood.report.hardest", "reprood.report.figures"} <= set(plan.figure_modules(name))
    assert "reprood.report.tables" in plan.table_modules(name)
    without = next(name for name in plan.benchmarks if "boxes" not in plan.figures(name))
    assert "reprood.report.boxes" not in plan.figure_modules(without)


def test_captions_of_snakemake_report():
    for name in ("figure", "table"):
        text = (CAPTION_FILES / f"{name}.rst").read_text()
        assert "{{ snakemake.params.benchmark }}" in text  # each benchmark has its own rule, without wildcards
        assert "wildcards" not in text
    others = {"figure_study", "table_published", "verdicts", "page", "workflow"}
    assert {path.stem for path in CAPTION_FILES.glob("*.rst")} == {"figure", "table"} | others
