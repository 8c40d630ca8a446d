"""Describe a release as a Workflow Run RO-Crate (https://w3id.org/ro/wfrun/workflow/0.5).

Nothing in the description depends on when or where it is written, so the same results give the same bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reprood.audit.papers import Paper
from reprood.config.suite import Suite
from reprood.publish.archive import Archive

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
APACHE = "https://spdx.org/licenses/Apache-2.0"
FORMATS = {
    ".parquet": "application/vnd.apache.parquet", ".csv": "text/csv", ".json": "application/json",
    ".yaml": "application/yaml", ".html": "text/html", ".svg": "image/svg+xml", ".md": "text/markdown",
    ".zip": "application/zip", ".tex": "application/x-tex", ".css": "text/css", ".js": "text/javascript",
}  # fmt: skip
NAMES = {
    "results/verdicts.csv": "Verdict on every claim",
    "results/metrics.csv": "Every metric of every run",
    "reports/index.html": "The report",
    "bill-of-materials.json": "Software bill of materials (CycloneDX)",
    "requirements.lock": "Locked dependencies with hashes",
    "config/suite.json": "The suite as it was run",
    "checkpoints.json": "Where the weights are",
    "croissant.json": "Description of the tables (Croissant)",
    "archive.json": "Where the archive of the full release is",
    "results/metrics.parquet": "Every metric of every run (Parquet)",
    "code.json": "Revision and fingerprints of the code that wrote this",
    "deposit.json": "Metadata for a deposit",
    "CITATION.cff": "How to cite the software",
    "LICENSE": "Licence",
    "Snakefile": "The workflow",
}


def _id(path: str) -> dict[str, str]:
    return {"@id": path}


def _entity(path: str, digest: str, size: int) -> dict[str, Any]:
    ending = "." + path.rsplit(".", 1)[-1]
    return {
        "@id": path,
        "@type": "File",
        "name": NAMES.get(path, path),
        "contentSize": str(size),
        "encodingFormat": FORMATS.get(ending, "text/plain"),
        "sha256": digest,
    }


def describe(
    release: str,
    suite_name: str,
    suite: Suite,
    papers: Sequence[Paper],
    files: Mapping[str, tuple[str, int]],
    runs: Mapping[str, Mapping[str, Any]],
    *,
    version: str,
    date: str,
    revision: str,
    archive: Archive | None = None,
) -> dict[str, Any]:
    """Return the JSON-LD document.

    Parameters
    ----------
    release, suite_name : str
        Names of the release and of its suite.
    suite : Suite
        The record of the suite.
    papers : sequence of Paper
        Papers to cite.
    files : mapping
        Path -> (SHA-256, bytes) of every file except the metadata itself and the checksums.
    runs : mapping
        `<benchmark>/<method>/<seed>` -> its run.json.
    version, date, revision : str
        Version of the software, date of the release (YYYY-MM-DD), code revision ("" when it is unknown).
    archive : Archive, optional
        The archive of the full release, for the compact form.
    """
    actions = [_action(name, record, files) for name, record in runs.items()]
    results = [path for path in files if path.startswith(("results/", "reports/"))]
    held = "Predictions, metrics, verdicts and report" if archive is None else "Scores, metrics and verdicts"
    rest = (
        ""
        if archive is None
        else f" Logits, further runs, tables and pages are in the archive {archive.name} (SHA-256 {archive.sha256})."
    )
    complete_run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run of the suite {suite_name}",
        "instrument": _id("Snakefile"),
        "object": [_id(path) for path in files if path.startswith("config/")],
        "result": [_id(path) for path in results],
        "agent": _id("#authors"),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"reprood: {suite.title} ({release})",
        "description": f"{held} of the suite {suite_name}. {suite.note}".strip() + rest,
        "datePublished": date,
        "license": _id(APACHE),
        "author": _id("#authors"),
        "conformsTo": [_id(profile) for profile in PROFILES],
        "mainEntity": _id("Snakefile"),
        "hasPart": [_id(path) for path in files],
        "mentions": [_id("#run"), *(_id(action["@id"]) for action in actions)],
        "citation": [_id(f"#paper-{paper.id}") for paper in papers],
        **({"version": revision} if revision else {}),
    }
    workflow = {
        **_entity("Snakefile", *files["Snakefile"]),
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": f"reprood {version}",
        "programmingLanguage": _id(SNAKEMAKE),
        "license": _id(APACHE),
        "hasPart": [_id("#train"), _id("#predict")],
    }
    return {
        "@context": CONTEXT,
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "about": _id("./"),
                "conformsTo": [_id("https://w3id.org/ro/crate/1.1"), _id("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
            },
            root,
            workflow,
            complete_run,
            *actions,
            *_context(papers, version),
            *(_entity(path, *facts) for path, facts in files.items() if path != "Snakefile"),
        ],
    }  # fmt: skip


def _action(name: str, record: Mapping[str, Any], files: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """Return the action of one training with its predictions: inputs, outputs, machine and time."""
    benchmark = name.split("/")[0]
    inputs = [path for path in files if path.startswith(f"data/benchmarks/{benchmark}/") and path.endswith("meta.json")]
    seconds = sum(phase["seconds"] for phase in record["phases"])
    where = ", ".join(f"{key} {value}" for key, value in sorted(record["versions"].items()))
    machine = record["machine"]
    trained = record.get("trained_here", True)
    weights = record.get("weights", {})
    kind = "weights" if weights else "outputs"
    files_given = {weights["file"]: weights["sha256"]} if weights else record.get("outputs", {}).get("files", {})
    listed = ", ".join(f"{file} {digest}" for file, digest in files_given.items())
    given = "" if trained else f"not trained here; {kind} given as {listed} (SHA-256); code {record['code']}"
    return {
        "@id": f"#run-{name.replace('/', '-')}",
        "@type": "CreateAction",
        "name": f"Training and prediction of {name}" if trained else f"Evaluation of given {kind} of {name}",
        "instrument": _id("Snakefile"),
        "object": [_id("config/suite.json"), *(_id(path) for path in inputs)],
        "result": [_id(path) for path in files if path.startswith((f"runs/{name}/", f"runs/{name}.zip"))],
        "endTime": record["finished"],
        "description": (
            given
            or f"{seconds:.1f} s of training on {record['device']} ({machine['processor']}, {machine['cores']} cores, "
            f"{machine['system']}), {record['precision']}; {where}; code {record['code']}; model {record['model']}"
        ),
        "agent": _id("#authors"),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }


def _context(papers: Sequence[Paper], version: str) -> list[dict[str, Any]]:
    """Return everything else that the description refers to."""
    profiles = [
        {"@id": profile, "@type": "CreativeWork", "name": name, "version": profile.rsplit("/", 1)[-1]}
        for profile, name in PROFILES.items()
    ]
    cited = [
        {
            "@id": f"#paper-{paper.id}",
            "@type": "ScholarlyArticle",
            "name": paper.title,
            "author": paper.authors,
            "isPartOf": f"{paper.venue} {paper.year}",
            **({"url": f"https://arxiv.org/abs/{paper.arxiv}"} if paper.arxiv else {}),
        }
        for paper in papers
    ]
    return [
        *profiles,
        {"@id": "#authors", "@type": "Organization", "name": "The reprood authors"},
        {
            "@id": SNAKEMAKE,
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": _id("https://snakemake.readthedocs.io"),
            "url": _id("https://snakemake.readthedocs.io"),
        },
        {"@id": APACHE, "@type": "CreativeWork", "name": "Apache License 2.0", "identifier": "Apache-2.0"},
        {"@id": "#train", "@type": "SoftwareApplication", "name": "reprood train", "softwareVersion": version},
        {"@id": "#predict", "@type": "SoftwareApplication", "name": "reprood predict", "softwareVersion": version},
        *cited,
    ]
