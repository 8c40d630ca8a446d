"""What there is to choose from, and whether a suite's settings are valid: `reprood list`, `reprood check`."""

from collections.abc import Callable
from pathlib import Path

from reprood.config.load import load_suite
from reprood.core.registry import module_name
from reprood.methods import registry
from reprood.pipeline.fingerprint import source
from reprood.pipeline.plan import Plan
from reprood.studies.registry import study as find_study

Row = tuple[str, ...]
Listing = tuple[Row, list[Row]]


def datasets(root: Path) -> Listing:
    """Every catalogue entry: name, title, splits, licence."""
    from reprood.data.catalogue import load_catalogue

    catalogue = load_catalogue([root / "config" / "datasets.yaml"], {})
    rows: list[Row] = [
        (name, entry.title, ", ".join(entry.splits), entry.licence) for name, entry in sorted(catalogue.items())
    ]
    return ("data set", "title", "splits", "licence"), rows


def _suites(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "config" / "suites").glob("*.yaml"))


def suites(root: Path) -> Listing:
    """Every suite: name, title, scale, number of runs."""
    rows: list[Row] = []
    for name in _suites(root):
        suite = load_suite(name, root)
        rows.append((name, suite.title, suite.scale, str(len(list(suite.jobs())))))
    return ("suite", "title", "scale", "runs"), rows


def benchmarks(root: Path) -> Listing:
    """Every benchmark of every suite."""
    rows: list[Row] = []
    for name in _suites(root):
        for key, benchmark in load_suite(name, root).benchmarks.items():
            rows.append((key, name, benchmark.title, ", ".join(benchmark.ood)))
    return ("benchmark", "suite", "title", "OOD sets"), rows


def methods(root: Path) -> Listing:
    """Every method: the first line of its module, and the table rows the suites make of it."""
    import ast

    rows: list[Row] = []
    for name in registry.methods():
        tree = ast.parse(Path(str(source(module_name("methods", name)))).read_text(encoding="utf-8"))
        title = (ast.get_docstring(tree) or "").split("\n")[0]
        arms = sorted(
            {key for s in _suites(root) for key, arm in load_suite(s, root).methods.items() if arm.use == name}
        )
        rows.append((name, title, ", ".join(arms)))
    return ("method", "what", "rows in the suites"), rows


def detectors(_: Path) -> Listing:
    """List every detector: name, label, inputs, formula, paper."""
    from reprood.detectors import registry as detectors

    records = [detectors.detector(name) for name in detectors.names()]
    rows: list[Row] = [
        (d.name, d.label, ", ".join(d.inputs), d.formula, f"{d.paper.venue} {d.paper.year}, {d.paper.url}")
        for d in records
    ]
    return ("detector", "label", "inputs", "score", "paper"), rows


def claims(root: Path) -> Listing:
    """Every claim of every paper."""
    from reprood.audit.papers import load_papers

    rows: list[Row] = []
    for paper in load_papers(sorted((root / "config" / "papers").glob("*.yaml"))):
        rows.extend((f"{paper.id}:{claim.id}", claim.kind, claim.statement) for claim in paper.claims)
    return ("claim", "kind", "statement"), rows


LISTS: dict[str, Callable[[Path], Listing]] = {
    "datasets": datasets,
    "benchmarks": benchmarks,
    "methods": methods,
    "detectors": detectors,
    "suites": suites,
    "claims": claims,
}


def check(suite: str, root: Path) -> list[str]:
    """Validate every run's settings against its method and build every network once.

    Returns
    -------
    list of str
        One line a (benchmark, method): the network and its number of parameters.

    Raises
    ------
    ReproodError
        One sentence that names the run and the key.
    """
    import json

    from reprood.engine.settings import read_settings
    from reprood.train.run import network, parse_config

    plan = Plan({"suite": suite}, root)
    lines = []
    for benchmark, method in dict.fromkeys((b, m) for b, m, _ in plan.jobs):
        settings = json.loads(plan.train_parameters(benchmark, method, 0))
        config = parse_config(settings)
        built = network(settings, plan.benchmark(benchmark).preparation.channels)
        count = sum(parameter.numel() for parameter in built.parameters())
        epochs = config.training.epochs
        lines.append(f"{benchmark}/{method}: {settings['backbone']['name']}, {count:,} parameters, {epochs} epochs")
    for name, study in plan.suite.studies.items():
        read_settings(find_study(study.use).config, study.set, f"study {name}")
    return lines
