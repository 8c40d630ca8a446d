"""Apply a selection (`paper=`, `only=`, `seeds=`, `set=`) to a suite.

What is selected and unchanged has the folders of the whole suite, so that it is trained once. Results and reports are
in folders of their own, and a paper's main claims are corrected together as in the whole suite: those that the
selection cannot test count as not run.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.external import EXTERNAL
from reprood.config.selection import Selection, flat
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.mappings import merged
from reprood.core.messages import closest, explain_validation
from reprood.engine.settings import read_settings
from reprood.methods import registry
from reprood.pipeline.definitions import layered, run_settings
from reprood.report.palette import palette_of

Run = tuple[str, str, int]
NAMED = ("benchmarks", "methods", "studies")  # keys of a suite's file whose values have names
FILE_KEYS = (*NAMED, "settings", "precision", "suite_seed", "evidence", "judge")


def with_file_changes(record: Any, selection: Selection) -> Any:
    """Return the record of a suite's file with the changes of `set` that are below one of its keys.

    Raises
    ------
    ReproodError
        For a benchmark, method or study that the file does not have.
    """
    changes = {key: value for key, value in selection.set.items() if key in FILE_KEYS}
    if not isinstance(record, Mapping):
        return record
    for key in NAMED:
        known = record.get(key) or {}
        for name in changes.get(key) or {}:
            if name not in known:
                raise ReproodError(f"--config set: {key}.{name}: the suite has no such name; {closest(name, known)}.")
    return merged(record, changes)


def with_settings(suite: Suite, selection: Selection) -> Suite:
    """Return the suite in which `set` changes the settings of every method that runs.

    Raises
    ------
    ReproodError
        For a setting that one of these methods does not have, or a value that it does not accept.
    """
    changes = {key: value for key, value in selection.set.items() if key not in FILE_KEYS}
    if not changes:
        return suite
    running = dict.fromkeys(method for _, method, _ in suite.replicated())
    for name in running:
        if suite.methods[name].use == EXTERNAL:
            raise ReproodError(f"--config set: the outputs of {name} are given; leave it out with only=.")
        _check_names(suite.methods[name].use, name, changes)
    arms = {
        name: arm.model_copy(update={"set": layered(arm.set, changes)}) if name in running else arm
        for name, arm in suite.methods.items()
    }
    changed = suite.model_copy(update={"methods": arms})
    places = changed.places()
    for place, method in dict.fromkeys((place, method) for place, method, _ in changed.replicated()):
        settings = run_settings(changed, places[place][0], method)["settings"]
        read_settings(registry.method(arms[method].use).config, settings, f"--config set: {place}/{method}")
    return changed


def _check_names(use: str, name: str, changes: Mapping[str, Any]) -> None:
    """Check that a method has the changed settings; its module is imported for this."""
    defaults = registry.method(use).config().model_dump()
    for key in flat({key: value for key, value in changes.items() if key != "backbone"}):
        values: Any = defaults
        for part in key.split("."):
            if not isinstance(values, Mapping) or not values:
                break  # a list, or a mapping with free keys: validated with the values
            if part not in values:
                known = ["backbone", *values] if values is defaults else values
                raise ReproodError(
                    f"--config set: {key}: {name} has no setting '{part}'; {closest(part, known)} (a setting of one "
                    f"method is set='methods.NAME.set.{key}=VALUE')."
                )
            values = values[part]


def select(suite: Suite, selection: Selection, papers: Sequence[Path]) -> Suite:
    """Return the selected part of a suite.

    Parameters
    ----------
    suite : Suite
        The whole suite.
    selection : Selection
    papers : sequence of Path
        The papers' files.

    Raises
    ------
    ReproodError
        For a name that is not known, and when nothing is selected.
    """
    if not (selection.paper or selection.claims or selection.only or selection.seeds is not None):
        return suite if not selection.set else suite.model_copy(update={"selection": selection.words})
    runs = _with_seeds(suite.replicated(), selection.seeds)
    named = _named(selection.only, runs, suite)
    studies, judge = set(suite.studies), dict(suite.judge)
    if selection.paper or selection.claims or selection.only:
        from reprood.audit.needs import counting, needed, needed_by_main_claims
        from reprood.audit.papers import load_papers

        chosen = load_papers(_of_papers(papers, selection.paper))
        if selection.paper:
            arms, studies = needed(chosen, suite)
            runs = [run for run in runs if run[:2] in arms]
        if selection.claims:
            arms, main = needed_by_main_claims(chosen, suite)
            runs, studies = [run for run in runs if run[:2] in arms], studies & main
        if selection.claims or selection.only:
            judge = counting(chosen, suite, judge) | judge
    if selection.only:
        runs = [run for run in runs if run in named]
        studies = {name for name in studies if _reads_only(name, suite, selection, set(runs))}
    if not runs:
        raise ReproodError(f"--config {selection.words}: the suite has no run for this; `snakemake -n` shows its runs.")
    record = {
        "runs": _grouped(runs),
        "studies": {name: _study(name, suite, selection) for name in suite.studies if name in studies},
        "seeds": suite.seeds if selection.seeds is None else selection.seeds,
        "judge": judge,
        "replicates": {},
        "palette": palette_of(suite),  # the colours of the whole suite
        "papers": selection.paper,
        "selection": selection.words,
    }
    return _without_baselines(suite, record, runs)


def _with_seeds(runs: Iterable[Run], seeds: Sequence[int] | None) -> list[Run]:
    """Return the runs, or those of the same methods with other seeds."""
    if seeds is None:
        return list(runs)
    pairs = dict.fromkeys((place, method) for place, method, _ in runs)
    return [(*pair, seed) for pair in pairs for seed in sorted(set(seeds))]


def _of_papers(papers: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """Return the files of some papers; of all without names."""
    known = {path.stem: path for path in papers}
    for name in names:
        if name not in known:
            raise ReproodError(f"--config paper: there is no paper '{name[:100]}'; {closest(name, known)}.")
    return [known[name] for name in known if not names or name in names]


def _named(patterns: Sequence[str], runs: Sequence[Run], suite: Suite) -> set[Run]:
    """Return the runs that patterns name: benchmark or family, method, seed, of which the last may be left out."""
    found: set[Run] = set()
    members = [(run, (run[0], suite.place(run[0], run[2]))) for run in runs]
    for pattern in patterns:
        parts = pattern.split("/")
        if len(parts) > 3:
            raise ReproodError(f"--config only: '{pattern[:100]}': expected benchmark/method/seed or a part of it.")
        here = [run for run, known in members if parts[0] in known]
        if not here:
            ran = {name for _, known in members for name in known}
            raise ReproodError(f"--config only: nothing runs on '{parts[0][:100]}'; {closest(parts[0], ran)}.")
        for place, part in enumerate(parts[1:], start=1):
            values = dict.fromkeys(str(run[place]) for run in here)
            if part not in values:
                what = "method" if place == 1 else "seed"
                raise ReproodError(
                    f"--config only: {'/'.join(parts[:place])} has no {what} '{part[:100]}'; {closest(part, values)}"
                    f"{' (seeds= chooses others)' if place > 1 else ''}."
                )
            here = [run for run in here if str(run[place]) == part]
        found.update(here)
    return found


def _reads_only(name: str, suite: Suite, selection: Selection, runs: set[Run]) -> bool:
    """Return whether a study reads a selected benchmark, and only models of selected runs."""
    study = suite.studies[name]
    record = suite.benchmarks.get(study.benchmark)
    place = (record and record.family) or study.benchmark
    seeds = suite.study_seeds(name) if selection.seeds is None else selection.seeds
    needs = {(place, method, seed) for method in study.methods for seed in seeds}
    return place in {run[0] for run in runs} and needs <= runs


def _study(name: str, suite: Suite, selection: Selection) -> dict[str, Any]:
    record = suite.studies[name].model_dump()
    return record if selection.seeds is None else {**record, "seeds": selection.seeds}


def _grouped(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return run groups: one for the methods of a benchmark that have the same seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for place, method, seed in runs:
        seeds.setdefault((place, method), []).append(seed)
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (place, method), found in seeds.items():
        groups.setdefault((place, tuple(found)), []).append(method)
    return [{"benchmark": place, "methods": methods, "seeds": found} for (place, found), methods in groups.items()]


def _without_baselines(suite: Suite, changes: Mapping[str, Any], runs: Sequence[Run]) -> Suite:
    """Return the changed suite, without the relative corruption errors whose baseline does not run."""
    record = {**suite.model_dump(), **changes}
    left_out = []
    for place in dict.fromkeys(run[0] for run in runs):
        corruption = suite.record(place).corruption
        if corruption is None or not corruption.baseline or (place, corruption.baseline) in {run[:2] for run in runs}:
            continue
        left_out.append(place)
        for key in ("benchmarks", "drawn"):
            if place in record[key]:
                none = {"corruption": {"baseline": ""}}
                record[key] = {**record[key], place: merged(record[key][place], none)}
    note = f"Selection of the suite: {changes['selection']}. {len(runs)} of {len(list(suite.replicated()))} trainings."
    if left_out:
        note += f" Without relative corruption errors, whose baseline does not run: {', '.join(left_out)}."
    record["note"] = f"{note} {suite.note}".strip()
    try:
        return Suite.model_validate(record)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, f"--config {changes['selection']}")) from error
