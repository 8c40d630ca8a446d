"""`reprood evidence`: spend a number of hours on the claims that are open."""

import os
from pathlib import Path
from typing import Annotated

import typer

from reprood.cli.options import Config, ConfigFile, checkout, configuration
from reprood.core.process import pin_threads


def evidence(
    hours: Annotated[float, typer.Option(min=0, help="Wall-clock hours; 0 shows the plan and runs nothing.")],
    suite: Annotated[str, typer.Option(help="Name or path of a suite with `evidence:`.")] = "evidence",
    release: Annotated[
        Path | None, typer.Option("--from", help="A release (folder or zip archive) whose runs are taken over first.")
    ] = None,
    cores: Annotated[
        int, typer.Option(min=1, help="Jobs at a time; with a cluster's profile, jobs in the queue.")
    ] = len(os.sched_getaffinity(0)),
    profile: Annotated[str, typer.Option(help="Snakemake's profile of a cluster.")] = "",
    report: Annotated[bool, typer.Option(help="Write the pages at the end; their time is not counted.")] = True,
    config: Config = None,
    configfile: ConfigFile = None,
    options: Annotated[list[str] | None, typer.Argument(help="Further options of Snakemake, after `--`.")] = None,
) -> None:
    """Run replicates where a verdict is open, until the hours are used or nothing is open.

    It judges what has run, estimates for every open claim what its next look costs and how likely it decides the claim,
    runs the best of these, and repeats. What has run is kept: the same command goes on after an interruption.

    With `--from`, runs of a release are taken over first and not trained again; with `--profile`, a cluster trains.

    Example: reprood evidence --suite evidence --hours 6 --from published/quick-0.3
    """
    pin_threads(1)
    from reprood.evidence.loop import Budget, spend

    settings, chosen = configuration(suite, config, configfile)
    root = checkout()
    where = ["--profile", profile, "--jobs", str(cores)] if profile else ["--cores", str(cores)]
    every = [*where, *(options or ()), *chosen]
    if release is not None:
        from reprood.evidence.restore import restore

        restore(settings, root, release, every, chosen, say=_say)
    spend(settings, root, every, Budget(hours, cores), report=report, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)
