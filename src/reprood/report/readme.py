"""The result of a release on the README, a figure and a table: `python -m reprood.report.readme published/RELEASE`."""

import io
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reprood.audit.cases import CONTRADICTED, GATED, NOT_JUDGED, NOT_RUN, OPEN, REPRODUCED, SMALLER, SUPPORTED, VERDICTS
from reprood.audit.claims import Claim
from reprood.audit.papers import Paper
from reprood.audit.published import Published
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file
from reprood.core.yaml import read_yaml
from reprood.report.claims import overall, read_verdicts
from reprood.report.style import new_figure
from reprood.report.summary import forest_rows, main_claims, result_of

README, FIGURE = Path("README.md"), Path("docs/forest.png")
BEGIN, END = "<!-- result: written by python -m reprood.report.readme published/{name} -->", "<!-- end of result -->"
BLOCK = re.compile(
    re.escape(BEGIN).replace(r"\{name\}", r"(?P<name>\S+)") + r"\n(?P<text>.*?)" + re.escape(END), re.DOTALL
)
EARLIER = {"not judged": NOT_JUDGED, "contradicted at reduced scale": CONTRADICTED}  # words of releases before 0.3
COLOURS = {REPRODUCED: "#14532d", SUPPORTED: "#1b7f4b", CONTRADICTED: "#b3123b", SMALLER: "#6a4c93",
           OPEN: "#8a6d00", GATED: "#7a7a7a", NOT_JUDGED: "#7a7a7a"}  # fmt: skip
PALE = 0.45  # opacity of published effects in another setting
PUBLISHED_COLOUR = "#0b5cad"
COLUMNS = {
    "supported": (REPRODUCED, SUPPORTED),
    "contradicted": (CONTRADICTED,),
    "smaller than relevant": (SMALLER,),
    "open": (OPEN,),
    "baseline not representative": (GATED,),
    "not judged": (NOT_JUDGED,),
    "not run": (NOT_RUN,),
}
SOURCE = "Source"  # key of the text in the figure
ROW = 0.175  # inches
LETTERS = 74  # of a statement in the figure


def current_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return verdicts with the words of this version; releases before 0.3 called open and not run "inconclusive"."""
    measured = verdicts["effect"].notna()
    names = verdicts["verdict"].replace(EARLIER)
    inconclusive = names == "inconclusive"
    names = names.mask(inconclusive & measured, OPEN).mask(inconclusive & ~measured, NOT_RUN)
    unknown = sorted(set(names) - set(VERDICTS))
    if unknown:
        raise ReproodError(f"'{unknown[0]}' is no verdict; expected one of {', '.join(VERDICTS)}.")
    return verdicts.assign(verdict=names)


def papers_of(folder: Path) -> list[Paper]:
    """Return what a release's files say of its papers, as far as the figure needs it.

    The files are not validated: those of an earlier release have the keys of its own version.
    """
    found = []
    for path in sorted(folder.glob("*.yaml")):
        record = read_yaml(path)
        claims = tuple(Claim.model_construct(**claim) for claim in record["claims"])
        numbers = tuple(Published.model_construct(**number) for number in record.get("published", ()))
        found.append(Paper.model_construct(**(record | {"claims": claims, "published": numbers})))
    return found


def read_release(folder: Path) -> tuple[list[Paper], pd.DataFrame]:
    """Return the papers and the verdicts of a release.

    Raises
    ------
    ReproodError
        When it is no release.
    """
    if not (folder / "results" / "verdicts.csv").is_file():
        raise ReproodError(f"{folder} has no results/verdicts.csv; give the folder of a release, published/RELEASE.")
    return papers_of(folder / "config" / "papers"), current_verdicts(read_verdicts(folder / "results" / "verdicts.csv"))


def table(papers: Sequence[Paper], verdicts: pd.DataFrame) -> str:
    """Return the Markdown table of main claims by paper and verdict; papers with most decisions first."""
    rows: list[tuple[Paper, int, list[int]]] = []
    for paper in papers:
        counts = overall(main_claims(verdicts[verdicts["paper"] == paper.id]))
        numbers = [sum(counts.get(name, 0) for name in names) for names in COLUMNS.values()]
        rows.append((paper, sum(counts.values()), numbers))
    rows.sort(key=lambda row: (-sum(row[2][:3]), row[0].short))
    head = ["paper", "main claims", *COLUMNS]
    sums = [sum(column) for column in zip(*(row[2] for row in rows), strict=True)]
    lines: list[list[Any]] = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[_linked(paper), count, *numbers] for paper, count, numbers in rows]
    lines.append(["**all**", sum(row[1] for row in rows), *sums])
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _linked(paper: Paper) -> str:
    return f"[{paper.short}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.short


def draw_forest(papers: Sequence[Paper], verdicts: pd.DataFrame) -> Figure:
    """Draw all measured main claims in points: to the right is what the paper claims.

    Dots with intervals are measured effects, diamonds published ones: hollow if they are
    cited from memory, pale if in another setting.
    """
    rows, end = forest_rows(papers, verdicts)
    figure = new_figure(9.6, ROW * len(rows) + 1.0)
    axes = figure.subplots()
    axes.axvspan(0, end, color="#eaf4ee", lw=0)
    axes.axvline(0, color="black", lw=0.8)
    for place, row in enumerate(rows):
        if place and row["paper"] != rows[place - 1]["paper"]:
            axes.axhline(place - 0.5, color="#c8c8c8", lw=0.6)
        _marks(axes, place, row, end)
    whose = [f"{row['paper']}{' (control, ours)' if row['ours'] else ''}" for row in rows]
    texts = [f"{who}: {row['statement']}" for who, row in zip(whose, rows, strict=True)]
    names = [textwrap.shorten(text, LETTERS, placeholder=" ...") for text in texts]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set(xlim=(-end, end), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel("effect in percentage points; to the right: as the paper claims")
    axes.grid(axis="y", visible=False)
    known = [name for name in VERDICTS if name in {row["verdict"] for row in rows}]
    handles = [Line2D([], [], color=COLOURS[name], marker="o", ms=4) for name in known]
    handles += [
        Line2D([], [], color=PUBLISHED_COLOUR, marker="D", ms=5, ls="", mfc=fill, alpha=alpha)
        for fill, alpha in ((PUBLISHED_COLOUR, 1.0), ("white", 1.0), (PUBLISHED_COLOUR, PALE))
    ]
    figure.legend(
        handles, [*known, "published", "cited from memory", "in another setting"], loc="outside lower center", ncols=4
    )
    return figure


def _marks(axes: Any, place: int, row: Mapping[str, Any], end: float) -> None:
    colour = COLOURS[row["verdict"]]
    low, high = max(row["low"], -end), min(row["high"], end)
    axes.plot([low, high], [place, place], color=colour, lw=1.4)
    for beyond, at, marker in ((row["low"] < -end, -end, "<"), (row["high"] > end, end, ">")):
        if beyond:
            axes.plot(at, place, marker, color=colour, ms=4, clip_on=False)
    axes.plot(min(max(row["effect"], -end), end), place, "o", color=colour, ms=4)
    if row["published"] is not None:
        fill = "white" if row["hollow"] else PUBLISHED_COLOUR
        at = min(max(row["published"], -end), end)
        alpha = PALE if row["elsewhere"] else 1.0
        axes.plot(at, place, "D", color=PUBLISHED_COLOUR, mfc=fill, ms=4.5, alpha=alpha, clip_on=False)


def block(folder: Path) -> str:
    """Return the part of the README that shows a release: a sentence, the figure, the table."""
    papers, verdicts = read_release(folder)
    about = read_json(folder / "deposit.json")["metadata"]
    alt = f"Measured and published effects of the main claims. {result_of(verdicts, papers)}"
    return (
        f"{result_of(verdicts, papers)} ([{folder.name}](published/{folder.name}), {about['publication_date']})\n\n"
        f"![{alt}]({FIGURE})\n\n{table(papers, verdicts)}"
    )


def source_of(folder: Path) -> str:
    """Return what the figure carries inside: the release, and the checksum of the verdicts that it shows."""
    return f"{folder.name} {sha256_file(folder / 'results' / 'verdicts.csv')}"


def renewed(readme: str, folder: Path) -> str:
    """Return the README's text with the result of a release.

    Raises
    ------
    ReproodError
        If the README has no place for it.
    """
    if not BLOCK.search(readme):
        raise ReproodError(
            f"README.md has no lines '{BEGIN.format(name='...')}' and '{END}'; put them around the result."
        )
    return BLOCK.sub(lambda _: f"{BEGIN.format(name=folder.name)}\n{block(folder)}{END}", readme)


def renew(folder: Path, root: Path = Path()) -> None:
    """Write the figure and the README's result from a release."""
    text = renewed((root / README).read_text(encoding="utf-8"), folder)
    drawn, picture, inside = io.BytesIO(), io.BytesIO(), PngInfo()
    draw_forest(*read_release(folder)).savefig(drawn, format="png", dpi=110)
    inside.add_text(SOURCE, source_of(folder))
    Image.open(drawn).convert("RGB").quantize(64).save(picture, format="png", optimize=True, pnginfo=inside)
    for path, content in ((root / FIGURE, picture.getvalue()), (root / README, text.encode())):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m reprood.report.readme published/RELEASE")
    try:
        renew(Path(sys.argv[1]))
    except ReproodError as error:
        sys.exit(f"error: {error}")
