"""What a published release holds, and where; a release is of one suite, whose name its paths leave out."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.folders import Folders
from reprood.config.selection import MARK
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.messages import explain_validation
from reprood.detectors import registry as detectors
from reprood.pipeline.fingerprint import PACKAGE, code_hash
from reprood.report.contents import TABLE_FORMS, TABLES, drawings_of, modules_of, tables_of

METADATA = "ro-crate-metadata.json"
SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"
SUITE = "config/suite.json"
PART = "config/selection.json"  # which part of the suite, if not the whole
BILL = "bill-of-materials.json"
DEPOSIT = "deposit.json"
CODE = "code.json"
JOBS = "jobs.json"  # what the runs were made with
RUN_FILES = ("predictions.parquet", "scores.parquet", "metrics.csv", "history.csv", "run.json", "model.json")
RESULTS = ("metrics.csv", "metrics.parquet", "summary.json", "verdicts.csv", "plots.csv")
ROOT_FILES = (
    "Snakefile",
    "workflow/Snakefile",
    "LICENSE",
    "CITATION.cff",
    "requirements.lock",
    "config/config.yaml",
    "config/datasets.yaml",
    "config/defects.yaml",
)


@dataclass(frozen=True)
class Paths:
    """Folders and files of a release, or of a checkout with results; `root` is the folder itself."""

    root: Path

    @property
    def results(self) -> Path:
        """Metrics and verdicts over all runs."""
        return self.root / "results"

    @property
    def reports(self) -> Path:
        """Pages, figures and tables."""
        return self.root / "reports"

    @property
    def studies(self) -> Path:
        """Values of the studies."""
        return self.results / "studies"

    @property
    def verdicts(self) -> Path:
        """The table of verdicts."""
        return self.results / "verdicts.csv"

    @property
    def runs(self) -> Path:
        """All runs."""
        return self.root / "runs"

    @property
    def defects(self) -> Path:
        """Known defects of data and papers."""
        return self.root / "config" / "defects.yaml"

    @property
    def datasets(self) -> Path | None:
        """Catalogue of data sets; None in a release without one."""
        path = self.root / "config" / "datasets.yaml"
        return path if path.is_file() else None

    def run(self, benchmark: str, method: str, seed: int | str) -> Path:
        """Return the folder of a run."""
        return self.runs / benchmark / method / str(seed)

    def packed_run(self, benchmark: str, method: str, seed: int | str) -> Path:
        """Return the file of a run of a compact release."""
        return self.runs / benchmark / method / f"{seed}.zip"

    def benchmark(self, name: str) -> Path:
        """Return the folder of a benchmark's splits."""
        return self.root / "data" / "benchmarks" / name

    def suite_file(self, name: str) -> Path:
        """Return the suite's file; a part of a suite (`quick~cutmix`) has that of the whole suite."""
        own = self.root / "config" / "suites" / f"{name}.yaml"
        return own if own.is_file() else own.with_name(f"{name.partition(MARK)[0]}.yaml")

    def papers(self) -> list[Path]:
        """Return the papers' files, sorted."""
        return sorted((self.root / "config" / "papers").glob("*.yaml"))

    def suite(self) -> tuple[str, Suite]:
        """Return the name and the record of a release's suite."""
        return suite_record(read_json(self.root / SUITE))

    def all_runs(self, suite: Suite) -> Iterator[tuple[str, str, int, Path]]:
        """Yield benchmark, method, seed and folder of every run of a suite."""
        for benchmark, method, seed in suite.jobs():
            yield benchmark, method, seed, self.run(benchmark, method, seed)

    def name_of(self, path: Path) -> str:
        """Return a path relative to the folder."""
        return path.relative_to(self.root).as_posix()


def copied(name: str, suite: Suite, root: Path) -> list[str]:
    """Return every file that is copied from a checkout unchanged, relative to it, in a fixed order."""
    paths = Paths(root)
    files = [root / file for file in ROOT_FILES]
    files += [*paths.papers(), paths.suite_file(name), *sorted((root / "workflow").rglob("*.smk"))]
    files += [paths.results / file for file in RESULTS]
    files += [paths.studies / study / "values.csv" for study in suite.studies]
    files += [run / file for *_, run in paths.all_runs(suite) for file in RUN_FILES]
    for benchmark in benchmarks_of(suite):
        record, folder = suite.benchmarks[benchmark], paths.benchmark(benchmark)
        files += [folder / "lint.json", *(folder / split / "meta.json" for split in record.splits())]
    for place in places_of(suite):
        tables = paths.reports / "tables" / place
        files += [tables / f"{kind}{form}" for kind in tables_of(suite.record(place)) for form in TABLE_FORMS]
    return list(dict.fromkeys(paths.name_of(file) for file in files))


def in_checkout(path: str, name: str, folders: Folders) -> str:
    """Return where a checkout has a file of a release of the suite `name`.

    Examples
    --------
    >>> in_checkout("results/metrics.csv", "quick", Folders())
    'results/quick/metrics.csv'
    """
    top, *parts = path.split("/")
    if top in ("results", "reports"):
        return "/".join((top, name, *parts))
    if top == "runs":
        benchmark, method, seed, file = parts
        return folders.file(benchmark, method, seed, file)
    if top == "data":
        _, benchmark, *rest = parts
        return "/".join(("data/benchmarks", folders.benchmark(benchmark), *rest))
    return path


def figures(name: str, suite: Suite, root: Path) -> list[str]:
    """Return the drawn figures as SVG, except those that show images, which may be of others' data sets."""
    names = [
        f"reports/figures/{place}/{kind}.svg" for place in places_of(suite) for kind in drawings_of(suite.record(place))
    ]
    names += [f"reports/figures/studies/{study}.svg" for study in suite.studies]
    drawn = {path: root / in_checkout(path, name, suite.folders) for path in names}
    return [path for path, file in drawn.items() if file.is_file() and "<image" not in file.read_text(encoding="utf-8")]


def benchmarks_of(suite: Suite) -> list[str]:
    """Return the benchmarks on which a suite runs anything, in its order."""
    return list(dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()))


def places_of(suite: Suite) -> list[str]:
    """Return the benchmarks and families on which a suite runs anything, in its order."""
    return list(dict.fromkeys(place for place, _, _ in suite.replicated()))


def fingerprints() -> dict[str, str]:
    """Return fingerprints of the code that reads the suite and computes the parts of a release."""
    templates = sorted((PACKAGE / "report" / "templates").iterdir())
    makers = modules_of(one.make for one in TABLES)
    return {
        "suite": code_hash("reprood.config.suite"),
        "scores": code_hash("reprood.evaluate.scores", *map(detectors.module_name, detectors.names())),
        "metrics": code_hash("reprood.evaluate.table", "reprood.evaluate.collect"),
        "verdicts": code_hash("reprood.audit.verdicts"),
        "compact": " ".join((code_hash("reprood.publish.compact"), *_compressors())),
        "tables": code_hash("reprood.report.tables", *makers),
        "pages": code_hash("reprood.report.pages", *makers),
        "templates": hashlib.sha256("".join(sha256_file(path) for path in templates).encode()).hexdigest()[:16],
    }


def _compressors() -> tuple[str, str]:
    """Return the versions of the libraries on which the bytes of compact files depend."""
    return f"pyarrow {version('pyarrow')}", f"zlib {zlib.ZLIB_RUNTIME_VERSION}"


def suite_record(text: Mapping[str, Any]) -> tuple[str, Suite]:
    """Return the name and the suite of the record `config/suite.json`.

    Raises
    ------
    ReproodError
        When it is no such record, or its name is not a plain file name.
    """
    if not isinstance(text, Mapping) or not isinstance(text.get("name"), str):
        raise ReproodError(f"{SUITE} is not a record of a suite with its name; publish the results again.")
    name = text["name"]
    if not name.isprintable() or not name or "/" in name or name.startswith(".") or len(name) > 200:
        raise ReproodError(f"{SUITE}: the name of the suite is {name[:40]!r}; expected a plain name.")
    try:
        return name, Suite.model_validate(text)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, SUITE)) from error
