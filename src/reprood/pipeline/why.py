"""Answers of `reprood why`: what an edit of a file re-runs, and what would run now for which reason."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.images.registry import STYLE_NAMES, style_module
from reprood.pipeline.fingerprint import closure, import_chain, module_of
from reprood.pipeline.plan import Plan

RULES = Path("workflow/rules")
LATER = ("data", "streamed", "train", "predict", "evaluate", "audit", "report", "publish")  # the stages in order
SHOWN = 4  # names in a line

# A rule's head (or the name of a rule in a loop), and the entries of its fingerprint.
HEAD = re.compile(r'^\s*(?:rule (?P<rule>\w+):|f"(?P<loop>\w+)_\{name\}"\s*$)', re.MULTILINE)
CODE = re.compile(r"\bcode=code\((?P<entries>[^)]*)\)")


# --- what an edit re-runs


@dataclass(frozen=True)
class Job:
    """Jobs of the workflow with the same code.

    Attributes
    ----------
    stage : str
        Stage of the pipeline: data, train, predict, ...
    rule : str
        Name of the rule.
    name : str
        "benchmark/method" of a run, or the name of a benchmark or study; "" for all jobs of the rule.
    entries : tuple of str
        Modules whose import closures are fingerprinted.
    """

    stage: str
    rule: str
    name: str
    entries: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """A job that an edit re-runs, with the chain of imports from its entry to the edited module."""

    job: Job
    chain: tuple[str, ...]


def fixed_jobs(folder: Path) -> list[Job]:
    """Return the rules whose fingerprint does not depend on the method, read from the rule files."""
    jobs = []
    for path in sorted(folder.glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        heads = list(HEAD.finditer(text))
        for code in CODE.finditer(text):
            head = [head for head in heads if head.start() < code.start()][-1]
            entries = tuple(re.findall(r'"([\w.]+)"', code["entries"]))
            jobs.append(Job(path.stem, head["rule"] or head["loop"], "", entries))
    return jobs


def jobs(plan: Plan) -> list[Job]:
    """Return all kinds of jobs of a suite with the entries of their fingerprints, in the order of the stages."""
    tables = tuple(plan.table_modules())  # modules that the rules name in addition
    styles = tuple(map(style_module, STYLE_NAMES))
    of_pages = (*tables, *plan.detector_modules(), *plan.concluding_modules())
    further = {"pages": of_pages, "publish": tables, "notebook": styles}
    found = [replace(job, entries=(*job.entries, *further.get(job.rule, ()))) for job in fixed_jobs(plan.root / RULES)]
    for benchmark in plan.benchmarks:
        for split in plan.benchmark(benchmark).splits():
            found.append(Job("data", "split", f"{benchmark}/{split}", plan.split_entries(benchmark, split)))
        if plan.made_splits(benchmark):
            found.append(Job("data", "corrupted", benchmark, plan.corrupted_entries(benchmark)))
        found.append(Job("evaluate", "evaluate", benchmark, plan.evaluate_entries(benchmark)))
    for benchmark, method in plan.pairs:
        name = f"{benchmark}/{method}"
        if plan.is_external(method):
            found.append(Job("predict", "adopt", name, plan.external_entries(method)))
            if plan.has_weights(method):
                found.append(Job("predict", "predict", name, plan.entries_of(benchmark, method, "reprood.predict.run")))
            continue
        found.append(Job("train", "train", name, plan.entries_of(benchmark, method, plan.train_entry(benchmark))))
        found.append(Job("predict", "predict", name, plan.entries_of(benchmark, method, "reprood.predict.run")))
    found += [Job("report", "draw", place, plan.drawing_entries_of(place)) for place in plan.places]
    augmented = [name for name in plan.places if "examples" in plan.figures(name)]
    found += [Job("predict", "examples", benchmark, plan.example_entries(benchmark)) for benchmark in augmented]
    for study in plan.suite.studies:
        found.append(Job("predict", "study", study, plan.study_entries(study)))
        found.append(Job("report", "study_figure", study, plan.drawing_entries(study)))
    return sorted(found, key=lambda job: LATER.index(job.stage))


def effects(module: str, jobs: Iterable[Job]) -> list[Effect]:
    """Return the jobs whose fingerprint an edit of a module's code changes, each with the shortest import chain."""
    affected = []
    for job in jobs:
        entries = [entry for entry in job.entries if module in closure(entry)]
        if entries:
            chains = (import_chain(entry, module) for entry in entries)
            affected.append(Effect(job, min(chains, key=len)))
    return affected


def explain_edit(path: Path, plan: Plan) -> list[str]:
    """Describe what an edit of a file re-runs.

    Parameters
    ----------
    path : Path
        A file of the package.
    plan : Plan
        The suite.

    Returns
    -------
    list of str
        The module; one line for each rule and import chain; the later stages, which read the results.

    Raises
    ------
    ReproodError
        When there is no such file.
    """
    if not path.is_file():
        raise ReproodError(f"There is no file {path}; give the path of a file in this checkout.")
    module = module_of(path)
    if module is None:
        return [
            f"{path}: not a module of the package, so no job's code depends on it. If it is a setting or an input, "
            "Snakemake compares its content: edit it, then run `reprood why` without arguments."
        ]
    all_jobs = jobs(plan)
    affected = effects(module, all_jobs)
    if not affected:
        return [f"{path} ({module}): no job depends on its code; an edit re-runs nothing."]
    lines = [f"{path} ({module}): an edit of its code re-runs"]
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for effect in affected:
        grouped.setdefault((effect.job.rule, effect.chain), []).append(effect.job.name)
    for (rule, chain), names in grouped.items():
        whole = all(not name for name in names)
        what = "all jobs" if whole else _some(names)
        lines.append(f"  {rule:<16} {what}; {' > '.join(part.removeprefix('reprood.') for part in chain)}")
    first = min(LATER.index(effect.job.stage) for effect in affected)
    later = [stage for stage in LATER[first + 1 :] if stage != "publish"]
    if later:
        lines.append(f"  and then what reads their results ({', '.join(later)}).")
    lines.append("  Comments, docstrings, messages and log lines re-run nothing.")
    return lines


# --- what would run now


@dataclass(frozen=True)
class Pending:
    """A job that would run now.

    Attributes
    ----------
    rule : str
        Name of the rule.
    name : str
        Values of its wildcards, joined by "/"; "" without wildcards.
    reasons : tuple of str
        Why it would run, in Snakemake's order, translated.
    """

    rule: str
    name: str
    reasons: tuple[str, ...]


BLOCK = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", re.MULTILINE)
PARAMETERS = re.compile(r"Params have changed since last execution: .*?before: (?P<old>.*) now: (?P<new>.*?)\s*$")
FINGERPRINT = re.compile(r"'[0-9a-f]{16}'")
VERSIONS = re.compile(r"'[\w-]+ \d[\w.]*(?:; [\w-]+ \d[\w.]*)*'")


def pending(text: str) -> list[Pending]:
    """Read the jobs and their reasons from what `snakemake -n` prints; `all` is left out."""
    found = []
    for rule, body in BLOCK.findall(text):
        fields = dict(re.findall(r"^    (\w+): (.*)$", body, re.MULTILINE))
        wildcards = re.findall(r"\w+=([^,]+)", fields.get("wildcards", ""))
        if rule != "all":
            found.append(Pending(rule, "/".join(wildcards), tuple(translate(fields.get("reason", "")))))
    return found


def translate(reason: str) -> list[str]:
    """Translate Snakemake's reason for a job into what changed: code, settings, environment, inputs.

    Examples
    --------
    >>> translate("Missing output files: results/plots.csv")
    ['not computed yet']
    >>> translate("Params have changed since last execution: before: '0123456789abcdef' now: 'fedcba9876543210' ")
    ['its code changed']
    """
    before, _, parameters = reason.partition("Params have changed since last execution")
    reasons = []
    for words, meaning in (
        ("Missing output files", "not computed yet"),
        ("Incomplete output files", "interrupted before it was finished"),
        ("Updated input files", "the content of its inputs changed"),
        ("Input files updated by another job", "its inputs are computed again"),
        ("Set of input files has changed", "it reads other files"),
        ("Code has changed", "the command in its rule changed"),
    ):
        if words in before:
            reasons.append(meaning)
    match = PARAMETERS.search(f"Params have changed since last execution{parameters}") if parameters else None
    if match:
        reasons += _changed_parameters(match["old"], match["new"])
    return reasons or [reason.rstrip(".; ") or "requested"]


def _changed_parameters(old: str, new: str) -> list[str]:
    """Return which of a job's parameters differ: its code's fingerprint, package versions, settings."""
    changes = []
    if FINGERPRINT.search(old) or FINGERPRINT.search(new):
        changes.append("its code changed")
    if VERSIONS.search(old) or VERSIONS.search(new):
        versions = [match[0].strip("'") if (match := VERSIONS.search(text)) else "none" for text in (old, new)]
        changes.append(f"package versions changed ({' -> '.join(versions)})")
    nothing = "<nothing exclusive>"  # Snakemake's words for no parameter
    rest = [VERSIONS.sub("", FINGERPRINT.sub("", text)).replace(nothing, "").strip(", ") for text in (old, new)]
    if rest[0] != rest[1]:
        keys = _different_keys(*rest)
        changes.append(f"its settings changed{f' ({_some(keys)})' if keys else ''}")
    return changes or ["its parameters changed"]


def _different_keys(old: str, new: str) -> list[str]:
    """Return the keys that differ between two texts of JSON settings, with their values; [] if they are not such."""
    records = []
    for text in (old, new):
        try:
            record, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
        except ValueError:
            return []
        records.append(_flat(record))
    keys = sorted({key for key in records[0] | records[1] if records[0].get(key) != records[1].get(key)})
    return [f"{key}: {_short(records[0].get(key))} -> {_short(records[1].get(key))}" for key in keys]


def _flat(record: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(record, Mapping):
        return {prefix: record}
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def explain_plan(options: Sequence[str], root: Path) -> list[str]:
    """Describe what `snakemake` would run now, and why.

    Parameters
    ----------
    options : sequence of str
        Snakemake's options for the configuration (`--configfile`, `--config`).
    root : Path
        The checkout.

    Returns
    -------
    list of str
        One line for each rule and reason, with the number of jobs and the first of their names.

    Raises
    ------
    ReproodError
        When Snakemake cannot plan; quotes its last words.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor"]
    command += options
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if run.returncode:
        words = " ".join((run.stderr or run.stdout).split())
        raise ReproodError(f"`snakemake --dry-run` failed: {words[-600:]}")
    waiting = pending(run.stdout + run.stderr)
    if not waiting:
        return ["Nothing to do: all results exist and are up to date."]
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for job in waiting:
        grouped.setdefault((job.rule, job.reasons), []).append(job.name)
    causes = {reason for job in waiting for reason in job.reasons} - {"its inputs are computed again"}
    lines = [f"{len(waiting)} job{'s' * (len(waiting) > 1)} would run:"]
    for (rule, reasons), names in grouped.items():
        what = f" ({_some([name for name in names if name])})" if any(names) else ""
        lines.append(f"  {rule:<16} {len(names):>4}{what}: {' and '.join(reasons)}")
    if "its code changed" in causes:
        lines.append("`reprood why FILE` lists what an edit of one file re-runs.")
    return lines


def _some(names: list[str]) -> str:
    """Return the first names of a list, and how many follow."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
