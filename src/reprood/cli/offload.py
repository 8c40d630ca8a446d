"""Commands `reprood offload pack` and `reprood offload merge`; see docs/how-to/offload.md."""

from pathlib import Path
from typing import Annotated

import typer

from reprood.cli.options import Config, ConfigFile, SuiteName, checkout, configuration

offload_app = typer.Typer(
    no_args_is_help=True,
    help="Train and predict on another machine that has torch but no network and no Snakemake.\n\n"
    "[bold]pack[/bold] here, [bold]python bundle/run.py[/bold] there, [bold]merge[/bold] here.",
)


def _options(suite: str, config: list[str] | None, files: list[Path] | None) -> list[str]:
    """Return the options of these commands for a configuration."""
    named = {"--suite": [suite] if suite else [], "--config": config or [], "--configfile": map(str, files or [])}
    return [word for option, values in named.items() for value in values for word in (option, value)]


@offload_app.command()
def pack(
    suite: SuiteName = "",
    out: Annotated[Path, typer.Option("--out", help="The archive, NAME.tar or NAME.tar.gz.")] = Path("bundle.tar"),
    only: Annotated[
        list[str] | None, typer.Option(help="Runs: a pattern of BENCHMARK/METHOD/SEED, a benchmark or a method.")
    ] = None,
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Pack the trainings and predictions that Snakemake would run now, with their data and the source.

    Example: reprood offload pack --suite cifar10 --only erm --only 'cifar10_godin/*/0' --out bundle.tar
    """
    from reprood.offload.bundle import MIB
    from reprood.offload.pack import pack as write

    settings, options = configuration(suite, config, configfile)
    jobs, sizes = write(settings, checkout(), out, options=options, patterns=only or ())
    kinds = [job.kind for job in jobs]
    print(f"{kinds.count('train')} trainings and {kinds.count('predict')} predictions of suite '{settings['suite']}'")
    for kind, size in sizes.items():
        print(f"  {kind}: {size / MIB:.1f} MiB")
    print(f"{out}: {out.stat().st_size / MIB:.1f} MiB")
    print(f"There: tar xf {out.name}; python {out.name.split('.')[0]}/run.py --budget SECONDS --out FOLDER")
    print(f"Then here: reprood offload merge FOLDER {' '.join(_options(suite, config, configfile))}")


@offload_app.command()
def merge(
    results: Annotated[list[Path], typer.Argument(help="Output folders of run.py.")],
    suite: SuiteName = "",
    skip_rejected: Annotated[
        bool, typer.Option("--skip-rejected", help="Leave out results that cannot be merged, and merge the others.")
    ] = False,
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Verify results of another machine and put them in place; Snakemake then continues with the evaluation.

    Example: reprood offload merge visit1 visit2 --suite cifar10
    """
    from reprood.offload.merge import merge as put_in_place

    settings, options = configuration(suite, config, configfile)
    merged = put_in_place(settings, checkout(), results, options=options, skip=skip_rejected)
    kinds = [one.job.kind for one in merged.new]
    print(f"{kinds.count('train')} trainings and {kinds.count('predict')} predictions were put in place")
    if merged.present:
        print(f"{len(merged.present)} results exist here already and are left as they are")
    for note in [*merged.notes, *merged.rejected]:
        print(f"note: {note}")
    print(f"Next: snakemake --cores all {' '.join(options)}")
