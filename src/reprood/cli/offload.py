"""The verbs of work done on another machine; see `reprood.cli.main` and `docs/offload.md`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from reprood.core.errors import ReproodError

offload_app = typer.Typer(
    no_args_is_help=True,
    help="Train and predict on another machine, which has torch and neither a network nor Snakemake.\n\n"
    "[bold]pack[/bold] here, [bold]python bundle/run.py[/bold] there, [bold]merge[/bold] here.",
)

Suite = Annotated[str, typer.Option(help="Name or path of the suite.")]
Config = Annotated[list[str] | None, typer.Option("--config", help="KEY=VALUE as for `snakemake --config`.")]


def _configuration(suite: str, more: list[str] | None) -> tuple[dict[str, Any], list[str]]:
    """Snakemake's configuration, and what it has to be told for it."""
    import yaml

    from reprood.config.suite import read_yaml

    pairs = {"suite": suite}
    for pair in more or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise ReproodError(f"--config {pair}: expected KEY=VALUE, for example --config device=cuda.")
        pairs[key] = value
    found = {**read_yaml(Path("config/config.yaml")), **{key: yaml.safe_load(value) for key, value in pairs.items()}}
    return found, ["--config", *(f"{key}={value}" for key, value in pairs.items())]


def _checkout() -> Path:
    root = Path.cwd()
    if not (root / "Snakefile").is_file():
        raise ReproodError(f"There is no Snakefile in {root}; run this in the checkout.")
    return root


@offload_app.command()
def pack(
    suite: Suite = "quick",
    out: Annotated[Path, typer.Option("--out", help="The archive; a part gets .000, .001, ... behind it.")] = Path(
        "bundle.tar"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Runs: a pattern of BENCHMARK/METHOD/SEED, a benchmark or a method.")
    ] = None,
    carry: Annotated[
        list[str] | None, typer.Option(help="Packages to take along as wheels for an image without them; or none.")
    ] = None,
    python: Annotated[str, typer.Option(help="Version of the other machine's Python, for the wheels.")] = "3.12",
    platform: Annotated[list[str] | None, typer.Option(help="Platform tags of the wheels.")] = None,
    part_size: Annotated[float | None, typer.Option(min=0.1, help="MiB of a part.")] = None,
    max_size: Annotated[float | None, typer.Option(min=0.1, help="MiB; a larger bundle is refused.")] = None,
    config: Config = None,
) -> None:
    """Pack the trainings and predictions that Snakemake would run now, with data and source.

    Example: reprood offload pack --suite cifar10 --only erm --only 'cifar10_godin/*/0' --out bundle.tar
    """
    from reprood.offload.archive import MIB
    from reprood.offload.pack import pack as make
    from reprood.offload.wheels import CARRIED, PLATFORMS

    settings, options = _configuration(suite, config)
    carried = [part for name in (carry if carry is not None else CARRIED) for part in name.split(",")]
    packed = make(
        settings,
        _checkout(),
        out,
        options=options,
        patterns=only or (),
        carry=[] if carried == ["none"] else carried,
        python=python,
        platforms=platform or PLATFORMS,
        part=None if part_size is None else int(part_size * MIB),
        limit=None if max_size is None else int(max_size * MIB),
    )
    kinds = [job.kind for job in packed.jobs]
    print(f"{kinds.count('train')} trainings and {kinds.count('predict')} predictions of suite '{suite}'")
    for kind, size in packed.sizes.items():
        print(f"  {kind}: {size / MIB:.1f} MiB")
    print(f"{packed.size / MIB:.1f} MiB in {', '.join(map(str, packed.paths))}")
    join = "tar xf" if len(packed.paths) == 1 and part_size is None else "cat"
    unpack = f"tar xf {out.name}" if join == "tar xf" else f"cat {out.name}.* | tar x"
    print(f"There: {unpack}; python {out.name.split('.')[0]}/run.py --budget SECONDS --out FOLDER")
    print(f"Then here: reprood offload merge FOLDER --suite {suite}")


@offload_app.command()
def merge(
    results: Annotated[list[Path], typer.Argument(help="Output folders of visits, or what they delivered.")],
    suite: Suite = "quick",
    skip_refused: Annotated[bool, typer.Option("--skip-refused", help="Merge the others all the same.")] = False,
    config: Config = None,
) -> None:
    """Check what visits brought back and put it in place; Snakemake then goes on with evaluation.

    Example: reprood offload merge visit1 visit2 --suite cifar10
    """
    from reprood.offload.merge import merge as join

    settings, options = _configuration(suite, config)
    merged = join(settings, _checkout(), results, options=options, skip=skip_refused)
    kinds = [job.kind for job in merged.taken]
    print(f"{kinds.count('train')} trainings and {kinds.count('predict')} predictions were put in place")
    if merged.here:
        print(f"{len(merged.here)} were done here already and are left as they are")
    for job in merged.checkpoints:
        print(f"{job.run}: its checkpoint is in place; it goes on from there where device and versions are the same")
    for note in merged.notes:
        print(f"note: {note}")
    print(f"Next: snakemake --cores all {' '.join(options)}")
