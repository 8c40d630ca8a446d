"""The command line: its groups of commands, and errors as sentences.

The commands only read arguments: this package is outside every fingerprint, so that nothing here may affect a result.
They import heavy packages when they run, so that `--help` and completion stay fast.
"""

import atexit
import errno
import os
import sys
import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reprood.cli import aliases, check, inspect, jobs, release
from reprood.cli.data import data_app
from reprood.cli.evaluate import audit, evaluate_app
from reprood.cli.evidence import evidence
from reprood.cli.init import init
from reprood.cli.offload import offload_app
from reprood.cli.preload import run_preloaded
from reprood.cli.report import report_app
from reprood.cli.score import score
from reprood.cli.show import show
from reprood.core.errors import ReproodError
from reprood.core.messages import printable

# Commands of the workflow.
JOBS = ("data", "train", "predict", "adopt", "study", "evaluate", "audit", "examples", "report")
WORKFLOW = "Run by the workflow"
ORDER = (
    "init",
    "score",
    "evidence",
    "offload",
    "list",
    "show",
    "why",
    "watch",
    "times",
    "check",
    "results",
    "release",
    "fetch",
    "board",
    *JOBS,
)  # in the help


class Commands(TyperGroup):
    """The commands in the order of the help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; hidden ones are last."""
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def print_version(requested: bool) -> None:
    """Print the version and exit, if `--version` is given."""
    if requested:
        from importlib.metadata import version

        print(f"reprood {version('reprood')}")
        raise typer.Exit()


@app.callback()
def reprood(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Re-run, audit and publish results on out-of-distribution detection and robustness.

    [bold]snakemake --cores all[/bold] runs all stages, from data to report.
    Each of its jobs is one of the commands under "Run by the workflow".
    """


app.command(rich_help_panel="Run")(init)
app.command(rich_help_panel="Run")(score)
app.command(rich_help_panel="Run")(evidence)
app.add_typer(offload_app, name="offload", rich_help_panel="Run")
app.command("list", rich_help_panel="Inspect")(inspect.list_names)
app.command(rich_help_panel="Inspect")(show)
app.command(rich_help_panel="Inspect")(inspect.why)
app.command(rich_help_panel="Inspect")(inspect.watch)
app.command(rich_help_panel="Inspect")(inspect.times)
app.command(rich_help_panel="Check")(check.check)
app.add_typer(check.results_app, name="results", rich_help_panel="Check")
app.add_typer(release.release_app, name="release", rich_help_panel="Publish")
app.command(rich_help_panel="Publish")(release.fetch)
app.command(rich_help_panel="Publish")(release.board)
app.command(rich_help_panel=WORKFLOW)(jobs.train)
app.command(rich_help_panel=WORKFLOW)(jobs.predict)
app.command(rich_help_panel=WORKFLOW)(jobs.adopt)
app.command(rich_help_panel=WORKFLOW)(jobs.study)
app.command(rich_help_panel=WORKFLOW)(audit)
app.command(rich_help_panel=WORKFLOW)(jobs.examples)
app.add_typer(data_app, name="data", rich_help_panel=WORKFLOW)
app.add_typer(evaluate_app, name="evaluate", rich_help_panel=WORKFLOW)
app.add_typer(report_app, name="report", rich_help_panel=WORKFLOW)
app.command(hidden=True)(aliases.intact)
app.command(hidden=True)(aliases.publish)
app.command(hidden=True)(aliases.verify)
app.command(hidden=True)(aliases.compare)


def log_duration(start: float) -> None:
    """Write the last line of a job's log: the time since `start` and the CPU time, read by `reprood times`.

    Snakemake's own benchmarks poll every process, which costs a sixth of the machine.
    """
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    print(f"took {time.monotonic() - start:.2f} s, {cpu:.2f} CPU-s", file=sys.stderr)


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
PRIMITIVE = "could not create a primitive"  # oneDNN gives no reason; it is nearly always memory
MEMORY = ("OutOfMemoryError", "can't allocate memory", "out of memory", "Cannot allocate memory", PRIMITIVE)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory is exhausted.

    Python, numpy and pyarrow raise subclasses of MemoryError, torch a RuntimeError that differs by device.
    """
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(words in text for words in MEMORY)


def explain_system_error(error: OSError) -> str:
    """Return what the operating system refused, as a sentence."""
    name = error.filename if isinstance(error.filename, str) else "a file"
    if error.errno in DISK:
        what = f"{error.strerror} ({name})"
        return f"{what}; free some space or make it writable, then run the same command again."
    return f"{name}: {error.strerror or error}; check the path and its permissions."


def main() -> None:
    """Run the command line, as a fork of the process with preloaded libraries if the workflow has started one."""
    status = run_preloaded()
    if status is not None:
        sys.exit(status)
    run_command()


def run_command() -> None:
    """Run the command line; a user's mistake is one sentence on standard error and exit status 1."""
    if not sys.stderr.isatty() and sys.argv[1:2] and sys.argv[1] in JOBS:
        atexit.register(log_duration, time.monotonic())
    try:
        app()
    except ReproodError as mistake:
        sys.exit(f"error: {printable(str(mistake))}")
    except OSError as error:
        sys.exit(f"error: {printable(explain_system_error(error))}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        sys.exit(
            f"error: Not enough memory for `reprood {' '.join(sys.argv[1:2])}` ({reason}); nothing was written. Free "
            "some, or run fewer jobs at a time (snakemake --cores 1), then run the same command again. A smaller batch "
            "is not tried, because it would change the result; it can be set in the suite."
        )
    except KeyboardInterrupt:
        sys.exit(130)
