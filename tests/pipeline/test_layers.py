"""The packages are layers: imports only go downwards, and only packages are at the top level."""

from itertools import combinations

import grimp
import pytest

from reprood.pipeline.fingerprint import PACKAGE

# From low to high; packages in one set do not import each other.
LAYERS = (
    {"core"},
    {"attacks", "detectors", "images", "nets"},
    {"config"},
    {"data"},
    {"engine", "evaluate"},
    {"methods"},
    {"audit"},
    {"train"},
    {"predict"},
    {"api"},
    {"report"},
    {"studies"},
    {"pipeline"},
    {"publish"},
    {"offload"},
    {"evidence"},
    {"cli"},
)
RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("reprood", cache_dir=None, exclude_type_checking_imports=True)


def imports(graph) -> list[tuple[str, str, str]]:
    """(importer, imported, file:line: statement) of all imports between two packages."""
    pairs = [
        (importer, imported)
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
    ]
    lines = []
    for importer, imported in pairs:
        if importer.count(".") and imported.count(".") and importer.split(".")[1] != imported.split(".")[1]:
            detail = graph.get_import_details(importer=importer, imported=imported)[0]
            where = f"{importer}:{detail['line_number']}: {detail['line_contents']}"
            lines.append((importer.split(".")[1], imported.split(".")[1], where))
    return lines


def test_only_packages_at_the_top_level():
    modules = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py"}
    assert modules == {"__init__.py", "__main__.py"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(RANK), "add a new package to LAYERS"


def test_no_import_goes_upwards(graph):
    upwards = [
        where for importer, imported, where in imports(graph) if importer in RANK and RANK[imported] >= RANK[importer]
    ]
    assert not upwards, "\n".join(upwards)


def test_no_cycles_between_packages(graph):
    """Follows from the layers, and is checked on its own so that a cycle is reported as one."""
    below: dict[str, set[str]] = {package: set() for package in RANK}
    for importer, imported, _ in imports(graph):
        if importer in RANK:
            below[importer].add(imported)
    changed = True
    while changed:
        before = sum(map(len, below.values()))
        for package in RANK:
            below[package] |= {deeper for name in below[package] for deeper in below[name]}
        changed = sum(map(len, below.values())) != before
    cycles = [(a, b) for a, b in combinations(sorted(RANK), 2) if b in below[a] and a in below[b]]
    assert not cycles


def test_no_cycles_between_modules(graph):
    cycles = []
    for module in sorted(graph.modules):
        if module in graph.find_upstream_modules(module):
            cycles.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if graph.chain_exists(importer=imported, imported=module):
                cycles.append(f"{module} <-> {imported}")
    assert not cycles
