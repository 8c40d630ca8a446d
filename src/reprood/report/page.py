"""The report's page: one self-contained HTML file, no network, no framework."""

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reprood.audit.papers import SOURCE_WORDS, Claim, Paper
from reprood.audit.verdicts import NOT_JUDGED
from reprood.config import Suite
from reprood.evaluate.metrics import METRICS
from reprood.files import atomic_path, read_json
from reprood.report import words
from reprood.report.figures import KINDS as FIGURES
from reprood.report.results import BenchmarkResults
from reprood.report.tables import KINDS as TABLES

CAPTIONS = {
    "examples": ("What training sees", "The same training images as each method changes them."),
    "curves": (
        "Training curves",
        "Mean over seeds; the band reaches from the lowest to the highest seed. Where labels are mixed, the training "
        "loss is that of the mixed labels and not comparable.",
    ),
    "auroc": ("AUROC by score and method", "Mean of OOD sets without noise; a dot a seed, a bar at their mean."),
    "roc": ("ROC", "A panel an OOD set; each method with its own score, or MSP; mean over seeds."),
    "histograms": ("Scores", "Higher means more in-distribution. First seed; each group has the same area."),
}
KIND_WORDS = {
    "difference": "is {better}",
    "non_inferior": "is not {worse} by more than the margin",
    "equivalent": "differs by less than the margin",
    "ordering": "each {better} than the next",
    "equals": "equals the published value within the margin",
}


def _figure(kind: str, results: BenchmarkResults, folder: Path) -> dict[str, str]:
    path = folder / results.name / f"{kind}.svg"
    title, text = CAPTIONS[kind]
    data = base64.b64encode(path.read_bytes()).decode()
    alt = f"{title}: {results.benchmark.title}. {text}"
    return {
        "title": title,
        "text": text,
        "alt": alt,
        "source": f"data:image/svg+xml;base64,{data}",
        "svg": f"figures/{results.name}/{kind}.svg",
        "png": f"figures/{results.name}/{kind}.png",
    }


def _claim(row: Mapping[Any, Any], claim: Claim, suite: Suite) -> dict[str, Any]:
    """One verdict as the page shows it, numbers in percent or points."""
    scale = 100 if row["metric"] in METRICS else 1

    def label(side: str) -> str:
        method, _, rest = side.partition(" (")
        name = suite.methods[method].label if method in suite.methods else method
        return f"{name} ({words.score(rest.rstrip(')'))})" if rest else name

    published = row["published_effect"]
    worse = "higher" if row["better"] == "lower" else "lower"
    shown = words.number(published, 2) if row["kind"] == "equals" else words.signed(published, 2)
    return {
        "id": row["claim"],
        "statement": row["statement"],
        "note": claim.note,
        "comparison": f"{label(row['first'])} against {label(row['second'])}",
        "asked": KIND_WORDS[row["kind"]].format(better=row["better"], worse=worse)
        + (f" ({scale * row['margin']:g})" if row["margin"] else ""),
        "metric": words.METRICS[row["metric"]] + ("" if row["split"] == "test" else f", {words.split(row['split'])}"),
        "benchmark": row["benchmark"] if isinstance(row["benchmark"], str) else "",
        "first": words.number(scale * row["value_first"]),
        "second": words.number(scale * row["value_second"]),
        "effect": words.signed(scale * row["effect"], 2),
        "interval": words.interval(scale * row["low"], scale * row["high"], 2),
        "n": ""
        if math.isnan(row["n"])
        else f"{int(row['n']):,} ID" + (f" and {int(row['n_ood']):,} OOD" if row["n_ood"] else ""),
        "seeds": int(row["n_seeds"]),
        "verdict": row["verdict"],
        "tone": row["verdict"].split()[0],
        "reason": row["reason"],
        "published": "" if math.isnan(published) else shown,
        "source": row["published_source"] if isinstance(row["published_source"], str) else "",
    }


def _paper(paper: Paper, verdicts: pd.DataFrame, suite: Suite, results: Sequence[BenchmarkResults]) -> dict[str, Any]:
    claims = {claim.id: claim for claim in paper.claims}
    rows = verdicts[verdicts["paper"] == paper.id].to_dict("records")
    published = []
    for number in paper.published:
        measured = ""
        for one in results:
            if number.measured_by in one.methods and number.metric in ("top1_error", "top5_error"):
                values = one.values(number.measured_by, number.metric)
                measured = words.number(float(values.mean()), 2) if len(values) else ""
        published.append(
            {**number.model_dump(), "words": SOURCE_WORDS[number.source], "shown": words.number(number.value, 2),
             "measured": measured, "label": words.METRICS.get(number.metric, number.metric.replace("_", " ") + ", %")}
        )  # fmt: skip
    return {
        "paper": paper,
        "claims": [_claim(row, claims[row["claim"]], suite) for row in rows],
        "published": published,
        "counts": Counter(row["verdict"] for row in rows),
    }


def _provenance(results: BenchmarkResults) -> list[dict[str, Any]]:
    found = []
    for method in results.methods:
        for seed in results.seeds(method):
            facts = results.facts(method, seed)
            model = read_json(results.folder(method, seed) / "model.json")
            told = results.predictions(method)[results.seeds(method).index(seed)].facts
            phases = facts["phases"]
            found.append(
                {
                    "label": results.label(method),
                    "method": method,
                    "seed": seed,
                    "network": model["backbone"]["name"],
                    "parameters": model["parameters"],
                    "epochs": model["settings"]["training"]["epochs"],
                    "device": facts["device"],
                    "threads": facts["threads"],
                    "precision": facts["precision"],
                    "seconds": round(sum(phase["seconds"] for phase in phases), 1),
                    "speed": round(sum(p["images"] for p in phases) / max(sum(p["seconds"] for p in phases), 1e-9)),
                    "versions": ", ".join(f"{k} {v}" for k, v in sorted(facts["versions"].items())),
                    "data": facts["data"]["train"][:12],
                    "skipped": "; ".join(f"{k}: {v}" for k, v in told.get("skipped", {}).items()),
                    "fitted": json.dumps(
                        {k: {n: round(x, 5) for n, x in v.items() if n == "epsilon"} for k, v in told["fitted"].items()}
                    ) if any("epsilon" in v for v in told["fitted"].values()) else "",
                    "folder": f"../runs/{results.name}/{method}/{seed}",
                }
            )  # fmt: skip
    return found


def _data(results: BenchmarkResults, data: Path) -> list[dict[str, Any]]:
    found = []
    for split in results.benchmark.splits():
        meta = read_json(data / "benchmarks" / results.name / split / "meta.json")
        files = meta["source"]["files"]
        kind = "drawn here" if not files else ", ".join(sorted({f["from"] for f in files}))
        status = ", ".join(sorted({f["digest_status"] for f in files})) or "generated"
        role = results.benchmark.role(split)
        if role == "ood":
            role = f"OOD, {results.benchmark.ood[split].shift}"
        found.append({**meta, "as": split, "role": role, "where": kind, "status": status})
    return found


def overall(verdicts: pd.DataFrame) -> dict[str, int]:
    """How many verdicts of each kind, in the order in which they are shown."""
    order = (
        "reproduced", "supported at reduced scale", "contradicted", "contradicted at reduced scale", "inconclusive",
        NOT_JUDGED,
    )  # fmt: skip
    counts = Counter(verdicts["verdict"])
    return {name: counts[name] for name in order if counts[name]}


def write_page(
    suite: Suite,
    papers: Sequence[Paper],
    verdicts: Path,
    *,
    runs: Path,
    data: Path,
    figures: Path,
    out: Path,
    notebooks: Sequence[str] = (),
) -> None:
    """Write `index.html`.

    Parameters
    ----------
    suite, papers
        What ran and what is claimed.
    verdicts : Path
        verdicts.csv.
    runs, data, figures : Path
        Folders of the runs, of the data and of the drawn figures.
    out : Path
        The page; links are relative to it.
    notebooks : sequence of str
        Links to rendered notebooks.
    """
    table = pd.read_csv(verdicts, keep_default_na=True, dtype={"published_source": str})
    names = list(dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()))
    results = [BenchmarkResults(name, suite, runs) for name in names]
    benchmarks = []
    for one in results:
        drawn = [kind for kind in FIGURES if (figures / one.name / f"{kind}.svg").is_file()]
        benchmarks.append(
            {
                "name": one.name,
                "record": one.benchmark,
                "tables": [make(one) for make in TABLES.values()],
                "figures": [_figure(kind, one, figures) for kind in drawn],
                "provenance": _provenance(one),
                "data": _data(one, data),
                "lint": read_json(data / "benchmarks" / one.name / "lint.json"),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    seconds = sum(row["seconds"] for benchmark in benchmarks for row in benchmark["provenance"])
    html = environment.get_template("page.html.j2").render(
        suite=suite,
        papers=[_paper(paper, table, suite, results) for paper in papers],
        overall=overall(table),
        benchmarks=benchmarks,
        runs=len(list(suite.jobs())),
        seconds=seconds,
        notebooks=notebooks,
        plural=words.plural,
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
