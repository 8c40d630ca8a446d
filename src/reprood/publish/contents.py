"""What a published release holds, and where: the paths of a checkout, so that its commands work there too."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.core.yaml import explain
from reprood.pipeline.fingerprint import PACKAGE, code_hash
from reprood.report.contents import TABLE_FORMS, figures_of, tables_of

METADATA = "ro-crate-metadata.json"
SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"
SUITE = "config/suite.json"
BILL = "bill-of-materials.json"
DEPOSIT = "deposit.json"
CODE = "code.json"
RUN_FILES = ("predictions.parquet", "metrics.csv", "history.csv", "run.json", "model.json")
RESULTS = ("metrics.csv", "metrics.parquet", "summary.json", "verdicts.csv", "plots.csv")
ROOT_FILES = (
    "Snakefile",
    "LICENSE",
    "CITATION.cff",
    "requirements.lock",
    "config/config.yaml",
    "config/datasets.yaml",
    "config/defects.yaml",
)


def copied(name: str, suite: Suite, root: Path) -> list[str]:
    """Every file that is taken over from a checkout as it is, relative to it; in a fixed order."""
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()))
    files = [*ROOT_FILES]
    files += sorted(f"config/papers/{path.name}" for path in (root / "config" / "papers").glob("*.yaml"))
    files.append(f"config/suites/{name}.yaml")
    files += sorted(str(path.relative_to(root)) for path in (root / "workflow").rglob("*.smk"))
    files += [f"results/{name}" for name in RESULTS]
    files += [f"results/studies/{name}/values.csv" for name in suite.studies]
    files += [f"runs/{b}/{m}/{s}/{name}" for b, m, s in suite.jobs() for name in RUN_FILES]
    for benchmark in benchmarks:
        record = suite.benchmarks[benchmark]
        files.append(f"data/benchmarks/{benchmark}/lint.json")
        files += [f"data/benchmarks/{benchmark}/{split}/meta.json" for split in record.splits()]
        files += [f"reports/tables/{benchmark}/{kind}{form}" for kind in tables_of(record) for form in TABLE_FORMS]
    return list(dict.fromkeys(files))


def figures(suite: Suite, root: Path) -> list[str]:
    """The drawn figures as vector files, but for those that show images, which may be of others' data sets."""
    names = [
        f"reports/figures/{benchmark}/{kind}.svg"
        for benchmark in dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs())
        for kind in figures_of(suite.benchmarks[benchmark])
    ]
    names += [f"reports/figures/studies/{name}.svg" for name in suite.studies]
    drawn = [name for name in names if (root / name).is_file()]
    return [name for name in drawn if "<image" not in (root / name).read_text(encoding="utf-8")]


def written_by() -> dict[str, str]:
    """Fingerprints of the code that writes the tables and pages of a release, and of the pages' templates."""
    templates = sorted((PACKAGE / "report" / "templates").iterdir())
    return {
        "tables": code_hash("reprood.report.tables"),
        "pages": code_hash("reprood.report.pages"),
        "templates": hashlib.sha256("".join(sha256_file(path) for path in templates).encode()).hexdigest()[:16],
    }


def suite_record(text: Mapping[str, Any]) -> tuple[str, Suite]:
    """The name and the suite of `config/suite.json`.

    Raises
    ------
    ReproodError
        When it is no such record, or its name is not one of a file.
    """
    if not isinstance(text, Mapping) or not isinstance(text.get("name"), str):
        raise ReproodError(f"{SUITE} is no record of a suite with its name; publish the results again.")
    record = dict(text)
    name = record.pop("name")
    if not name.isprintable() or not name or "/" in name or name.startswith(".") or len(name) > 200:
        raise ReproodError(f"{SUITE}: the name of the suite is {name[:40]!r}; expected a plain name.")
    try:
        return name, Suite.model_validate(record)
    except ValidationError as error:
        raise explain(error, SUITE) from error
