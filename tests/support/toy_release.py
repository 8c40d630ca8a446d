"""A finished checkout with fabricated results, and its release."""

import json
import shutil
from pathlib import Path

import fabricate
import yaml

from reprood.audit.papers import load_papers
from reprood.audit.verdicts import audit
from reprood.evaluate.collect import collect
from reprood.publish.build import build_release
from reprood.publish.contents import ROOT_FILES
from reprood.report.draw import draw_benchmark
from reprood.report.plots import write_plots
from reprood.report.results import BenchmarkResults

ROOT = Path(__file__).parents[2]
RUNS = [{"benchmark": "toy", "methods": ["erm", "good"]}]
PAPER = fabricate.paper(
    {"metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}]},
)  # fmt: skip


def make_checkout(folder: Path) -> Path:
    """A folder as a checkout is after a run, with fabricated results."""
    suite = fabricate.results(folder, runs=RUNS)
    for name in ROOT_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "config" / "suites").mkdir()
    text = yaml.safe_dump({**fabricate.SUITE, "runs": RUNS}, sort_keys=False)
    (folder / "config" / "suites" / "toy.yaml").write_text(text)
    (folder / "config" / "papers").mkdir()
    arms = {"arms": {"good": {"means": "ours"}, "erm": {"means": "baseline"}}}
    (folder / "config" / "papers" / "toy.yaml").write_text(yaml.safe_dump({**PAPER, **arms}))
    results = folder / "results" / "toy"
    results.mkdir(parents=True)
    metrics = [folder / "runs" / b / m / str(s) / "metrics.csv" for b, m, s in suite.jobs()]
    collect(metrics, results / "metrics.parquet", results / "metrics.csv", results / "summary.json")
    papers = load_papers([folder / "config" / "papers" / "toy.yaml"])
    audit(suite, papers, folder, folder / "studies", results / "verdicts.csv")
    write_plots(results / "metrics.csv", results / "plots.csv")
    shown = BenchmarkResults("toy", suite, folder, folder / "examples.npz")
    draw_benchmark(shown, folder / "data", folder / "reports" / "toy")
    return folder


def record() -> str:
    suite = fabricate.suite(runs=RUNS).model_dump(mode="json", exclude={"settings"})
    return json.dumps({**suite, "name": "toy"})


def build(checkout, out, **changes) -> Path:
    return build_release(
        record(), checkout, out, **{"release": "draft", "date": "2026-01-02", "revision": "abc1234", **changes}
    )
