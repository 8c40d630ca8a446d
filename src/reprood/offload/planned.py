"""What Snakemake would run here: the jobs of a suite, read from its own dry run."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.offload.jobs import Job
from reprood.pipeline.plan import Plan

COMMAND = re.compile(r"^(?:Shell command:)?\s*reprood (train|predict) (.*)$", re.MULTILINE)
RULE = re.compile(r"^(?:local)?rule (\w+):$", re.MULTILINE)
DATA_RULES = ("dataset", "split", "corrupted", "lint_benchmark")
TOLD = 300  # characters of Snakemake's last words


@dataclass(frozen=True)
class DryRun:
    """Rules of every job that would run, and the arguments of trainings and predictions by (kind, run)."""

    rules: tuple[str, ...]
    commands: Mapping[tuple[str, str], tuple[str, ...]]


def snakemake(root: Path, arguments: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a checkout, with this interpreter."""
    environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed Snakemake said last, on one line."""
    return " ".join((done.stdout + done.stderr).split())[-TOLD:]


def dry_run(root: Path, options: Sequence[str], targets: Sequence[str] = ()) -> DryRun:
    """What Snakemake would do for `targets` (default: everything).

    Raises
    ------
    ReproodError
        When Snakemake refuses; with its last words.
    """
    done = snakemake(root, ["-n", "-p", "--nolock", *targets, *options])
    if done.returncode:
        raise ReproodError(f"`snakemake -n {' '.join(options)}` fails: {last_words(done)}")
    text = done.stdout + done.stderr
    commands = {}
    for kind, rest in COMMAND.findall(text):
        arguments = shlex.split(rest)
        arguments = arguments[: arguments.index(">")]
        out = arguments[arguments.index("--out") + 1]
        commands[kind, "/".join(out.split("/")[1:4])] = (kind, *arguments)
    return DryRun(tuple(RULE.findall(text)), commands)


def known_job(plan: Plan, root: Path, kind: str, run: str, arguments: Sequence[str] = ()) -> Job | None:
    """A job as the checkout's plan has it; None when the plan has no such run.

    Raises
    ------
    ReproodError
        When the data that it reads are not there.
    """
    benchmark, method, seed = run.split("/")
    if (benchmark, method, int(seed)) not in plan.jobs:
        return None
    if kind == "train":
        settings = plan.train_parameters(benchmark, method, int(seed))
        splits = ["train", "validation", "test", *plan.benchmark(benchmark).auxiliary]
        code = plan.code_of(benchmark, method, "reprood.train.run")
    else:
        settings = plan.predict_parameters(benchmark, method)
        splits = json.loads(settings)["splits"]
        code = plan.code_of(benchmark, method, "reprood.predict.run")
    folder = root / "data" / "benchmarks" / benchmark
    data = {split: str(read_json(folder / split / "meta.json").get("content")) for split in splits}
    return Job(kind, benchmark, method, int(seed), tuple(arguments), settings, code, data)
