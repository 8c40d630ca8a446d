"""Calls of Snakemake in a checkout: which files are out of date, and how delivered files are recorded."""

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reprood.core.errors import ReproodError

QUOTED = 300  # characters of Snakemake's output in an error message


def _snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())[-QUOTED:]


def outdated(root: Path, options: Sequence[str], targets: Sequence[str]) -> set[str]:
    """Return the files that Snakemake would write to bring `targets` up to date.

    Parameters
    ----------
    root : Path
        The checkout.
    options : sequence of str
        `--config` and its values.
    targets : sequence of str
        Files, relative to the checkout.

    Raises
    ------
    ReproodError
        When Snakemake fails; quotes the end of its output.
    """
    done = _snakemake(root, "--summary", *targets, *options)
    if done.returncode:
        raise ReproodError(f"`snakemake --summary {' '.join(options)}` fails: {_end_of(done)}")
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    return {row["output_file"] for row in rows if row["plan"] == "update pending"}


def record(root: Path, options: Sequence[str], rules: Sequence[str], targets: Sequence[str]) -> None:
    """Let Snakemake record files of some rules as written by their jobs, without running these.

    The record holds the code, settings and input checksums of the current checkout, so these must be the ones that the
    files were made with. No job of another rule is touched, even when one would have to run before. A
    file that a rule also writes, and that is not there, is recorded and stays missing.

    Raises
    ------
    ReproodError
        When Snakemake fails, for example because another one is running in this checkout.
    """
    if targets:
        only = ("--allowed-rules", *rules, "--force", "--touch", "--cores", "1", "--quiet", "all")
        done = _snakemake(root, *targets, *only, *options)
        if done.returncode:
            raise ReproodError(
                f"The results are in place, but Snakemake could not record them ({_end_of(done)}); "
                "give the same command again when no other Snakemake runs here."
            )
