"""A finished checkout with fabricated results, and its release."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fabricate
import yaml

from reprood.audit.papers import load_papers
from reprood.audit.verdicts import audit
from reprood.config.suite import Suite
from reprood.evaluate.collect import collect
from reprood.evaluate.run import evaluate_outputs
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


def toy_suite(detectors: Mapping[str, Any]) -> dict[str, Any]:
    """The file of the suite, with some detectors."""
    toy = {**fabricate.SUITE["benchmarks"]["toy"], **({"detectors": dict(detectors)} if detectors else {})}
    return {**fabricate.SUITE, "benchmarks": {"toy": toy}, "runs": RUNS}


def make_checkout(folder: Path, detectors: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """A folder as a checkout is after a run, with fabricated results; detectors are computed from the logits."""
    suite = fabricate.results(folder, runs=RUNS)
    if detectors:
        suite = Suite.model_validate(toy_suite(detectors))
        for benchmark, method, seed in suite.jobs():
            run = folder / "runs" / benchmark / method / str(seed)
            evaluate_outputs(run, suite.benchmarks[benchmark], benchmark, method, seed)
    for name in ROOT_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "config" / "suites").mkdir()
    text = yaml.safe_dump(toy_suite(detectors), sort_keys=False)
    (folder / "config" / "suites" / "toy.yaml").write_text(text)
    (folder / "config" / "papers").mkdir()
    arms = {"arms": {"good": {"means": "ours"}, "erm": {"means": "baseline"}}}
    (folder / "config" / "papers" / "toy.yaml").write_text(yaml.safe_dump({**PAPER, **arms}))
    write_results(folder, "toy", suite)
    return folder


def write_results(folder: Path, name: str, suite: Suite) -> None:
    """Write what the evaluate, audit and report stages write of a suite, or of a part of it, on the fabricated runs."""
    results = folder / "results" / name
    results.mkdir(parents=True)
    metrics = [folder / "runs" / b / m / str(s) / "metrics.csv" for b, m, s in suite.jobs()]
    collect(metrics, results / "metrics.parquet", results / "metrics.csv", results / "summary.json")
    papers = load_papers([folder / "config" / "papers" / "toy.yaml"])
    audit(suite, papers, folder, folder / "studies", results / "verdicts.csv")
    write_plots(results / "metrics.csv", results / "plots.csv")
    shown = BenchmarkResults("toy", suite, folder, folder / "examples.npz")
    draw_benchmark(shown, folder / "data", folder / "reports" / name)


def record(detectors: Mapping[str, Any]) -> str:
    suite = Suite.model_validate(toy_suite(detectors)).model_dump(mode="json", exclude={"settings"})
    return json.dumps({**suite, "name": "toy"})


def build(checkout, out, detectors: Mapping[str, Any] = MappingProxyType({}), **changes) -> Path:
    named = {"release": "draft", "date": "2026-01-02", "revision": "abc1234", **changes}
    return build_release(record(detectors), checkout, out, **named)
