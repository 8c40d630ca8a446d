"""Load what a run configuration names: a suite or a selection of one, the name of its results, and its folders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from reprood.config.folders import Folders
from reprood.config.load import load_suite, make_suite, read_suite, suite_path
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.core.messages import explain_validation
from reprood.data.catalogue import load_catalogue
from reprood.data.entries import DatasetEntry
from reprood.detectors import registry as detectors
from reprood.pipeline.definitions import experiment_folders
from reprood.pipeline.selection import select, with_file_changes, with_settings

REPLICATES = "replicates.json"  # in a suite's results: benchmark or family -> method -> number of replicates
OWN = "~own"  # marks the results of a suite that shares the name of a committed one
SUITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Replicates = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Loaded:
    """A suite or a selection of one, the name of its results and reports, its folders, the whole suite's replicates."""

    suite: Suite
    name: str
    folders: Folders
    replicates: Replicates


def committed_suites(root: Path) -> list[Path]:
    """Return the files of the suites that are reproductions."""
    return sorted((root / "config" / "suites").glob("*.yaml"))


def paper_files(root: Path) -> list[Path]:
    """Return the papers' files."""
    return sorted((root / "config" / "papers").glob("*.yaml"))


@cache
def _reproduction(path: Path, modified: int) -> Suite:
    """Read a committed suite, once per process while its file is unchanged."""
    return load_suite(str(path), path.parents[2])


def load(settings: Settings, root: Path, replicates: Replicates | None = None, work: Path | None = None) -> Loaded:
    """Load the suite that a run configuration names, or the selected part of it.

    Parameters
    ----------
    settings : Settings
    root : Path
        The checkout.
    replicates : mapping, optional
        Benchmark or family -> method -> number of replicates, where more than the suite's file says run; default:
        those that a sequential audit has planned in the results of the suite and of the selection.
    work : Path, optional
        Where the results are; default: `root`.

    Raises
    ------
    ReproodError
        For a wrong suite or selection.
    """
    path, selection = suite_path(settings.suite, root), settings.selection
    whole_name, committed = _name(path, root)
    name = whole_name + selection.folder
    record = read_suite(path, root)
    whole = make_suite(record, path)
    suite = make_suite(with_file_changes(record, selection), path) if selection.set else whole
    suite = _with_replicates(suite, replicates, work or root, [name] if selection.set else sorted({whole_name, name}))
    planned = suite.replicates
    suite = with_settings(select(suite, selection, paper_files(root)), selection)
    _check_detectors(suite, settings.suite)
    evaluated = f"results/{name}/runs"
    if committed and not selection.set:
        return Loaded(suite, name, Folders(evaluated=evaluated), planned)
    others = [_reproduction(other, other.stat().st_mtime_ns) for other in committed_suites(root)]
    others += [whole] if selection.selects else []
    return Loaded(suite, name, experiment_folders(suite, others, evaluated=evaluated), planned)


def _check_detectors(suite: Suite, name: str) -> None:
    """Check the options of the detectors of every benchmark; they are needed to find its folder."""
    for benchmark, record in suite.benchmarks.items():
        try:
            detectors.parse_options(record.detectors)
        except ReproodError as error:
            raise ReproodError(f"Suite '{name}': benchmark {benchmark}: {error}") from error


def _name(path: Path, root: Path) -> tuple[str, bool]:
    """Return the name of a suite's results, and whether the suite is a committed one."""
    if not SUITE_NAME.fullmatch(path.stem):
        raise ReproodError(
            f"{path}: a suite's file name must consist of letters, digits, '.', '_' and '-', because its results "
            "are in a folder of that name; rename it."
        )
    committed = committed_suites(root)
    if path.resolve() in [other.resolve() for other in committed]:
        return path.stem, True
    return path.stem + (OWN if any(other.stem == path.stem for other in committed) else ""), False


def _with_replicates(suite: Suite, replicates: Replicates | None, root: Path, names: list[str]) -> Suite:
    """Return the suite with the given replicates, or with the most that were planned in the results of these names."""
    if replicates is not None:
        return _at_least(suite, replicates, "replicates")
    for name in names if suite.evidence is not None else ():
        path = root / "results" / name / REPLICATES
        if path.is_file():
            suite = _at_least(suite, read_json(path), str(path))
    return suite


def _at_least(suite: Suite, numbers: Replicates, where: str) -> Suite:
    """Return the suite with minimum numbers of replicates, unless it has more."""
    try:
        known, suite = suite.replicates, suite.with_replicates(numbers)
        if not known:
            return suite
        most = {
            place: {
                method: max(known.get(place, {}).get(method, 0), suite.replicates.get(place, {}).get(method, 0))
                for method in {**known.get(place, {}), **suite.replicates.get(place, {})}
            }
            for place in {**known, **suite.replicates}
        }
        return suite.with_replicates(most)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, where)) from error


def with_substitutes(suite: Suite, settings: Settings, catalogue: Mapping[str, DatasetEntry], root: Path) -> Suite:
    """Return a suite that names its data sets for which the user's configuration has other data than the shipped."""
    if not settings.datasets:
        return suite
    used = {source.dataset for one in suite.benchmarks.values() for source in one.splits().values()}
    shipped = load_catalogue([root / "config" / "datasets.yaml"], {})
    replaced = sorted(used & {*settings.datasets} & {*shipped})
    return suite.model_copy(update={"substitutes": {name: catalogue[name].title for name in replaced}})
