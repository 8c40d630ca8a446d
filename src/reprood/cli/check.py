"""Commands that check a suite's configuration and stored results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from reprood.cli.options import Config, ConfigFile, Device, SuiteName, Threads, configuration
from reprood.core.errors import ReproodError
from reprood.core.process import pin_threads

results_app = typer.Typer(no_args_is_help=True, help="Check stored results against their checksums.")


def check(
    suite: SuiteName = "",
    trial: Annotated[
        bool,
        typer.Option(
            "--trial", help="Also train each method for two steps on random images; resumes where it stopped."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="List the differences of every claim; always done at the papers' scale.")
    ] = False,
    threads: Threads = 1,
    device: Device = "auto",
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Validate a suite's configuration, build its networks and compare the sides of its claims, without training.

    For suites at the papers' scale, and others with --verbose, it lists by paper and claim what differs between the
    sides and from the published setting.

    Example: reprood check --suite cifar10 --trial
    """
    pin_threads(threads)
    settings, _ = configuration(suite, config, configfile)
    for line in check_suite(settings, Path.cwd(), verbose=verbose):
        print(line)
    if trial:
        from reprood.cli.trial import trial as try_suite

        for line in try_suite(settings, Path.cwd(), device):
            print(line, flush=True)


def check_suite(given: Mapping[str, Any], root: Path, *, verbose: bool = False) -> list[str]:
    """Validate every run's settings against its method, build every network once and compare the sides of claims.

    Parameters
    ----------
    given : mapping
        The run configuration: `suite`, `datasets`, a selection.
    root : Path
        The checkout.
    verbose : bool
        List the differences of every claim.

    Returns
    -------
    list of str
        One line per benchmark and method: the network and its number of parameters. Then what differs between the
        sides of each claim, and from the published setting; at reduced scale one line about all, unless `verbose`.

    Raises
    ------
    ReproodError
        For the first wrong setting; names the run and the key. For claims whose sides differ in shared settings that
        the claims do not declare; lists them.
    """
    import json

    from reprood.cli.comparisons import compare_claims, listing
    from reprood.engine.settings import read_settings
    from reprood.pipeline.plan import Plan
    from reprood.studies.registry import study as find_study
    from reprood.train.run import network, parse_config

    # as in the file, without the replicates that an audit has added
    plan = Plan(given, root, {})
    lines, resolved = [], {}
    pairs = [(plan.first_member(place), method) for place in plan.places for method in plan.methods_of(place)]
    for benchmark, method in pairs:
        if plan.is_external(method):
            kind = "weights" if plan.has_weights(method) else "outputs"
            lines.append(f"{benchmark}/{method}: {kind} are given, nothing is trained")
            continue
        settings = json.loads(plan.train_parameters(benchmark, method, 0))
        config = parse_config(settings)
        resolved[benchmark, method] = config.model_dump()
        built = network(settings, plan.benchmark(benchmark).preparation.channels)
        count = sum(parameter.numel() for parameter in built.parameters())
        epochs = config.training.epochs
        lines.append(f"{benchmark}/{method}: {settings['backbone']['name']}, {count:,} parameters, {epochs} epochs")
    for name, study in plan.suite.studies.items():
        read_settings(find_study(study.use).config, study.set, f"study {name}")
    comparisons = compare_claims(plan, resolved)
    wrong = [one for one in comparisons if one.undeclared]
    if wrong:
        listed = "; ".join(f"{one.claim} on {one.benchmark}: {next(one.clauses())}" for one in wrong)
        raise ReproodError(
            f"{len(wrong)} claims compare methods whose recipes differ in more than the claim is about ({listed}); "
            "make the settings equal, or declare them under 'differs' in the paper's file and say why in its note."
        )
    return lines + listing(comparisons, verbose=verbose or plan.suite.scale == "paper")


@results_app.command("check")
def check_results(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the damaged files; the next run creates them again.")
    ] = False,
) -> None:
    """Compare every result in this checkout with its checksum (SHA256SUMS next to it) and list damaged files.

    Example: reprood results check --remove
    """
    from reprood.core.checksums import damaged, recorded

    count = recorded(Path())
    names = damaged(Path())
    for name in names:
        print(name)
        if remove:
            Path(name).unlink()
    if names and not remove:
        raise ReproodError(
            f"{len(names)} files are damaged or were edited; remove them with `reprood results check --remove` and run "
            "the workflow again to recreate them."
        )
    if not count:
        raise ReproodError(f"There are no results to check in {Path.cwd()}; run `snakemake --cores all` first.")
    print(
        f"{len(names)} files removed; run the workflow again."
        if names
        else f"All {count:,} results match their checksums."
    )
