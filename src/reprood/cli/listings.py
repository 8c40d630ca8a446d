"""What `reprood list` prints: a function per list."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reprood.cli.tables import Row
from reprood.config.load import load_suite
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError

Listing = tuple[Row, list[Row]]  # titles of the columns, rows


def _config(root: Path, name: str) -> Path:
    """Return a file or folder of the configuration.

    Raises
    ------
    ReproodError
        Outside of a checkout.
    """
    path = root / "config" / name
    if not path.exists():
        raise ReproodError(f"There is no config/{name} in {root.resolve()}; run this command in a checkout of reprood.")
    return path


def datasets(root: Path, own: Mapping[str, Any] | None = None) -> Listing:
    """List the entries of the catalogue, and the user's own ones: name, title, splits, licence."""
    from reprood.data.catalogue import load_catalogue

    catalogue = load_catalogue([_config(root, "datasets.yaml")], own or {})
    rows: list[Row] = [
        (name, entry.title, ", ".join(entry.splits), entry.licence) for name, entry in sorted(catalogue.items())
    ]
    return ("data set", "title", "splits", "licence"), rows


def _suites(root: Path) -> dict[str, Suite]:
    names = sorted(path.stem for path in _config(root, "suites").glob("*.yaml"))
    return {name: load_suite(name, root) for name in names}


def suites(root: Path) -> Listing:
    """List the suites: name, title, scale, number of runs."""
    rows: list[Row] = [
        (name, suite.title, suite.scale, str(len(list(suite.jobs())))) for name, suite in _suites(root).items()
    ]
    return ("suite", "title", "scale", "runs"), rows


def benchmarks(root: Path) -> Listing:
    """List the benchmarks and families of all suites: name, suite, title, OOD sets."""
    rows: list[Row] = [
        (place, name, suite.record(place).title, ", ".join(suite.record(place).ood))
        for name, suite in _suites(root).items()
        for place in suite.places()
    ]
    return ("benchmark", "suite", "title", "OOD sets"), rows


def methods(root: Path) -> Listing:
    """List the methods: name, first line of the module, and the names under which suites use it."""
    import ast

    from reprood.core.registry import module_name
    from reprood.methods import registry
    from reprood.pipeline.fingerprint import source

    known = _suites(root).values()
    rows: list[Row] = []
    for name in registry.methods():
        tree = ast.parse(Path(str(source(module_name("methods", name)))).read_text(encoding="utf-8"))
        title = (ast.get_docstring(tree) or "").split("\n")[0]
        arms = sorted({key for suite in known for key, arm in suite.methods.items() if arm.use == name})
        rows.append((name, title, ", ".join(arms)))
    return ("method", "description", "names in the suites"), rows


def detectors(_: Path) -> Listing:
    """List the detectors: name, label, inputs, formula, paper."""
    from reprood.detectors import registry

    records = [registry.detector(name) for name in registry.names()]
    rows: list[Row] = [
        (d.name, d.label, ", ".join(d.inputs), d.formula, f"{d.paper.venue} {d.paper.year}, {d.paper.url}")
        for d in records
    ]
    return ("detector", "label", "inputs", "score", "paper"), rows


def claims(root: Path) -> Listing:
    """List the claims of all papers: paper:claim, kind, statement."""
    from reprood.audit.papers import load_papers

    rows: list[Row] = []
    for paper in load_papers(sorted(_config(root, "papers").glob("*.yaml"))):
        rows.extend((f"{paper.id}:{claim.id}", claim.kind, claim.statement) for claim in paper.claims)
    return ("claim", "kind", "statement"), rows


def experiments(root: Path) -> Listing:
    """List the experiment families of all papers: where each is run, its claims, how many published numbers."""
    from reprood.audit.papers import load_papers

    rows: list[Row] = []
    for paper in load_papers(sorted(_config(root, "papers").glob("*.yaml"))):
        for one in paper.experiments:
            numbers = paper.numbers_of(one)
            linked = sum(bool(number.measured_by) for number in numbers)
            places = ", ".join((*one.benchmarks, *one.studies)) or f"omitted: {one.omitted}"
            values = f"{linked} of {len(numbers)}" if numbers else "none available"
            rows.append((paper.id, one.title, one.where, places, ", ".join(one.claims), values))
    titles = ("paper", "experiment", "reported in", "benchmarks and studies", "claims", "published values linked")
    return titles, rows


LISTS: dict[str, Callable[[Path], Listing]] = {
    "datasets": datasets,
    "benchmarks": benchmarks,
    "methods": methods,
    "detectors": detectors,
    "suites": suites,
    "claims": claims,
    "experiments": experiments,
}
