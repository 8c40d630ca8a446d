"""Commands under their names before version 0.3. Remove this module in version 0.4."""

from pathlib import Path
from typing import Annotated

import typer

from reprood.cli import check, release


def intact(remove: Annotated[bool, typer.Option("--remove")] = False) -> None:
    """Run `reprood results check`, under its old name."""
    typer.echo("note: `reprood intact` is now `reprood results check`.", err=True)
    check.check_results(remove)


def publish(
    name: Annotated[str, typer.Option("--release")] = "draft",
    suite: str = "",
    out: Path | None = None,
    date: str = "",
    revision: str = "",
    sign: Path | None = None,
) -> None:
    """Run `reprood release build`, under its old name."""
    typer.echo("note: `reprood publish` is now `reprood release build`.", err=True)
    release.build(name, suite, out, date, revision, sign)


def verify(
    path: Path,
    signers: Annotated[Path | None, typer.Option()] = None,
    spot: Annotated[int, typer.Option(min=0)] = 0,
    spot_seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Run `reprood release verify` and, with --spot, `reprood release rerun`, under their old name."""
    new = "`reprood release verify` and `reprood release rerun`" if spot else "`reprood release verify`"
    typer.echo(f"note: `reprood verify` is now {new}.", err=True)
    release.check_release(path, signers, spot, spot_seed)


def compare(
    first: Path,
    second: Path,
    most: Annotated[int, typer.Option(min=0)] = 10,
    table: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Run `reprood release compare`, under its old name."""
    typer.echo("note: `reprood compare` is now `reprood release compare`.", err=True)
    release.compare(first, second, most, table)
