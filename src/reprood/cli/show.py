"""`reprood show`: the verdicts on a paper's claims, with effects, intervals and published values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.cli.options import Config, ConfigFile, SuiteName, configuration, unknown_name
from reprood.cli.tables import print_table
from reprood.config.selection import Selection
from reprood.core.errors import ReproodError
from reprood.core.messages import printable

if TYPE_CHECKING:
    import pandas as pd

TEXTS = (
    "paper",
    "claim",
    "statement",
    "kind",
    "benchmark",
    "metric",
    "first",
    "second",
    "verdict",
    "reason",
    "published_source",
)
DIFFERENCES = "differences"  # verdicts of earlier releases do not have this column


def show(
    name: Annotated[str, typer.Argument(help="A paper, or one claim as PAPER:CLAIM; without it, all papers.")] = "",
    suite: SuiteName = "",
    release: Annotated[
        Path | None, typer.Option(help="Read a release (folder or zip archive) instead of this checkout's results.")
    ] = None,
    reasons: Annotated[
        bool, typer.Option("--reasons", help="Also print each claim and the reason of its verdict.")
    ] = False,
    tsv: Annotated[bool, typer.Option("--tsv", help="Print tab-separated columns, for other programs.")] = False,
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Show the verdicts on a paper's claims: effect, interval, published value, differences from its setting.

    Effects are in points (percent) for metrics, and plain numbers for studies.

    Example: reprood show csi --release published/evidence-0.3
    """
    from reprood.report.claims import overall, read_verdicts

    with results_folder(release, suite, config, configfile) as (folder, where):
        verdicts = complete(read_verdicts(folder / "verdicts.csv"), folder / "verdicts.csv")
    papers = list(dict.fromkeys(verdicts["paper"]))
    if not name:
        rows = [(paper, in_words(overall(verdicts[verdicts["paper"] == paper]))) for paper in papers]
        if not tsv:
            print(f"{where}: {len(verdicts)} verdicts on the claims of {len(papers)} papers.\n")
        print_table(("paper", "verdicts"), rows, tsv=tsv)
        return
    paper, _, claim = name.partition(":")
    if paper not in papers:
        raise unknown_name("paper", paper, papers)
    chosen = verdicts[verdicts["paper"] == paper]
    if claim:
        claims = list(dict.fromkeys(chosen["claim"]))
        if claim not in claims:
            raise unknown_name(f"claim of {paper}", claim, claims)
        chosen, reasons = chosen[chosen["claim"] == claim], True
    if not tsv:
        print(f"{name} in {where}: {in_words(overall(chosen))}.\n")
    print_table(*table(chosen), right=(3, 4, 5), tsv=tsv)
    if not tsv:
        print_details(chosen, reasons=reasons)


def print_details(verdicts: "pd.DataFrame", *, reasons: bool) -> None:
    """Print how the setting of each verdict differs from the published one, and optionally its reason."""
    rows = verdicts.to_dict("records")
    if not reasons and any(row[DIFFERENCES] for row in rows):
        print("\nDifferences from the published setting:")
    for row in rows:
        place = f"{row['claim']} on {row['benchmark']}" if row["benchmark"] else row["claim"]
        if reasons:
            print(f"\n{place}: {row['statement']}\n  {row['verdict']}: {row['reason']}")
            if row["published_source"]:
                print(f"  published: {row['published_source']}")
            if row[DIFFERENCES]:
                print(f"  differs from the published setting: {row[DIFFERENCES]}")
        elif row[DIFFERENCES]:
            print(f"  {place}: {row[DIFFERENCES]}")


@contextmanager
def results_folder(
    release: Path | None, suite: str = "", config: list[str] | None = None, files: list[Path] | None = None
) -> Iterator[tuple[Path, str]]:
    """Give the folder with verdicts of a suite or a release, and its name for messages.

    Raises
    ------
    ReproodError
        If there are no verdicts.
    """
    if release is not None:
        from reprood.publish.unpack import opened

        if not release.exists():
            raise ReproodError(f"{release} does not exist; give the folder or the zip archive of a release.")
        with opened(release) as folder:
            if not (folder / "results" / "verdicts.csv").is_file():
                raise ReproodError(f"{release} has no results/verdicts.csv; give a published release.")
            yield folder / "results", f"release {release}"
        return
    usual = Path("config/config.yaml")
    if not suite and not files and not usual.is_file():
        raise ReproodError(f"There is no {usual} in {Path.cwd()}; run this command in a checkout, or give --release.")
    settings, options = configuration(suite, config, files)
    name = str(settings.get("suite", "quick"))
    folder = Path("results") / name
    if name.endswith((".yaml", ".yml")) or any(settings.get(key) for key in Selection.model_fields):
        from reprood.pipeline.plan import Plan

        folder = Path(Plan(settings, Path.cwd()).results)
    if not (folder / "verdicts.csv").is_file():
        command = " ".join(["snakemake --cores all", *options])
        raise ReproodError(f"There is no {folder}/verdicts.csv; run `{command}` first, or give --suite or --release.")
    yield folder, f"suite {folder.name}"


def complete(verdicts: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """Return verdicts with printable texts; missing texts are empty.

    Raises
    ------
    ReproodError
        If a column is missing or a published effect is not a number; verdicts of a release may come from anybody.
    """
    import pandas as pd

    missing = [name for name in (*TEXTS, "published_effect") if name not in verdicts]
    if missing:
        raise ReproodError(f"{path} has no columns {', '.join(missing)}; run the audit again.")
    try:
        published = verdicts["published_effect"].astype(float)
    except (ValueError, TypeError) as error:
        raise ReproodError(f"{path}: published_effect is not a number ({error}); run the audit again.") from error
    if DIFFERENCES not in verdicts:
        verdicts = verdicts.assign(**{DIFFERENCES: ""})
    texts = {
        name: ["" if pd.isna(text) else printable(str(text)) for text in verdicts[name]]
        for name in (*TEXTS, DIFFERENCES)
    }
    return verdicts.assign(published_effect=published, **texts)


def in_words(counts: dict[str, int]) -> str:
    """Return the number of verdicts of each kind.

    Examples
    --------
    >>> in_words({"supported at reduced scale": 2, "open": 1})
    '2 supported at reduced scale, 1 open'
    """
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def table(verdicts: "pd.DataFrame") -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return titles and rows of the table of verdicts.

    Parameters
    ----------
    verdicts : DataFrame
        Rows of `verdicts.csv`.
    """
    import pandas as pd

    from reprood.audit.claims import unit
    from reprood.audit.explanations import signed

    rows: list[tuple[str, ...]] = []
    for row in verdicts.to_dict("records"):
        one = unit(row["metric"])
        effect, interval = "-", "-"
        if not pd.isna(row["effect"]):
            effect = signed(row["effect"] / one)
            interval = f"{signed(row['low'] / one)} to {signed(row['high'] / one)}"
        published = "-" if pd.isna(row["published_effect"]) else signed(row["published_effect"] / one)
        compared = row["first"] if row["kind"] == "equals" else f"{row['first']} - {row['second']}"
        measured = f"{compared}: {row['metric']}"
        rows.append((row["claim"], row["benchmark"] or "-", measured, effect, interval, published, row["verdict"]))
    return ("claim", "benchmark", "measured", "effect", "interval", "published", "verdict"), rows
