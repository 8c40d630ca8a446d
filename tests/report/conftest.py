"""Shared by the tests of the report: fabricated results and the pages on them, which tests leave as they are."""

import fabricate
import pytest
from toy_paper import CLAIMS, DEFECTS, KINDS, PAPER

from reprood.audit.verdicts import audit
from reprood.report.contents import page_names
from reprood.report.figures import make_figure
from reprood.report.pages import write_report
from reprood.report.results import BenchmarkResults


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    fabricate.results(path)
    return path


@pytest.fixture(scope="session")
def results(folder):
    return BenchmarkResults("toy", fabricate.suite(), folder, folder / "examples.npz")


@pytest.fixture(scope="session")
def pages(folder, results):
    figures = folder / "reports" / "figures"
    for kind in KINDS:
        toy = figures / "toy"
        make_figure(kind, results, toy / f"{kind}.svg", toy / f"{kind}.png", folder / "data")
    audit(fabricate.suite(), [PAPER], folder, folder / "studies", folder / "verdicts.csv")
    written = write_report(
        fabricate.suite(),
        [PAPER],
        folder / "verdicts.csv",
        root=folder,
        studies=folder / "studies",
        data=folder / "data",
        figures=figures,
        defects=DEFECTS,
        out=folder / "reports",
    )
    evidence = [name for name in written if name.startswith("evidence/")]
    assert sorted(set(written) - set(evidence)) == sorted(page_names(["toy"], ["toy"], []))
    assert len(evidence) == len(set(evidence)) == len(CLAIMS) + len(results.methods)
    return {name: (folder / "reports" / name).read_text() for name in written if name.endswith(".html")}
