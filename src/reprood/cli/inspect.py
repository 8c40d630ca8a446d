"""Commands that show something: list, why, watch, times."""

from pathlib import Path
from typing import Annotated

import typer

from reprood.cli.options import Config, ConfigFile, SuiteName, configuration, unknown_name


def list_names(
    what: Annotated[str, typer.Argument(help="datasets, benchmarks, methods, detectors, suites, claims, experiments.")],
    tsv: Annotated[bool, typer.Option("--tsv", help="Print tab-separated columns, for other programs.")] = False,
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """List data sets, benchmarks, methods, detectors, suites, claims or experiments.

    Example: reprood list suites
    """
    from reprood.cli.listings import LISTS, datasets
    from reprood.cli.tables import print_table

    if what not in LISTS:
        raise unknown_name("list", what, list(LISTS))
    if what == "datasets":
        head, rows = datasets(Path(), configuration("", config, configfile)[0].get("datasets") or {})
    else:
        head, rows = LISTS[what](Path())
    print_table(head, rows, [len(head) - 1] if what == "suites" else [], tsv=tsv)


def why(
    files: Annotated[list[Path] | None, typer.Argument(help="Source files that you edited, or want to.")] = None,
    suite: SuiteName = "",
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """List which jobs an edit of FILES re-runs and through which imports; without files, what would run now.

    Example: reprood why src/reprood/methods/godin.py
    """
    from reprood.pipeline.plan import Plan
    from reprood.pipeline.why import explain_edit, explain_plan

    root = Path()
    settings, options = configuration(suite, config, configfile)
    if not files:
        print("\n".join(explain_plan(options, root)))
        return
    plan = Plan(settings, root)
    for path in files:
        print("\n".join(explain_edit(path, plan)))


def watch(
    once: Annotated[bool, typer.Option("--once", help="Print the table once and exit.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the heartbeats.")] = Path("logs/heartbeat"),
) -> None:
    """Show the running trainings: epoch, loss, speed, time left.

    Example: reprood watch --once
    """
    from reprood.cli.watch import watch as show

    show(folder, once=once)


def times(folder: Annotated[Path, typer.Option(help="Folder of the jobs' logs.")] = Path("logs")) -> None:
    """Show how long the finished jobs took, by stage and method: wall-clock seconds and CPU-seconds.

    Example: reprood times
    """
    from reprood.pipeline.times import table

    for line in table(folder):
        print(line)
