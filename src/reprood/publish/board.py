"""One static page over several releases: who signed them, their leaderboards, and the verdicts in each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reprood.audit.cases import VERDICTS
from reprood.config.benchmark import Benchmark
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json
from reprood.core.registry import is_path
from reprood.pipeline.definitions import prediction_definition
from reprood.publish.contents import CODE, Paths
from reprood.publish.expand import collected_metrics
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.unpack import opened
from reprood.report import labels
from reprood.report.claims import read_verdicts
from reprood.report.pages import TEMPLATES

RANKED = ("auroc", "mean_natural")  # metric and split of the leaderboards


@dataclass(frozen=True)
class Entry:
    """What the page says of a release.

    Attributes
    ----------
    name : str
        Name of its folder or archive.
    suite : str
    revision : str
    intact : bool
        All files have their checksums.
    signature : str
        A sentence.
    trusted : bool
        Signed with one of the given keys.
    verdicts, ranking : DataFrame
        Main claims; benchmark, definition, method, score, mean, spread and number of replicates.
    """

    name: str
    suite: str
    revision: str
    intact: bool
    signature: str
    trusted: bool
    verdicts: pd.DataFrame
    ranking: pd.DataFrame

    def count(self, verdict: str) -> int:
        """Return how many main claims have a verdict."""
        return int((self.verdicts["verdict"] == verdict).sum())


def read_entry(path: Path, signers: Path | None) -> Entry:
    """Read a release.

    Raises
    ------
    ReproodError
        When it is no release, or one of its tables cannot be read.
    """
    with opened(path) as folder:
        paths = Paths(folder)
        name, suite = paths.suite()
        signed, sentence = check_signature(folder, signers)
        table = read_verdicts(paths.verdicts)
        return Entry(
            name=path.name.removesuffix(".zip"),
            suite=name,
            revision=str(read_json(folder / CODE).get("revision", "")) if (folder / CODE).is_file() else "",
            intact=not differences(read_sums(folder), sums_of(folder)),
            signature=sentence,
            trusted=bool(signed) and signers is not None,
            verdicts=table[~table["exploratory"].astype(bool)],
            ranking=_ranking(suite, collected_metrics(paths.results)),
        )


def _known(record: Benchmark) -> Benchmark:
    """Return a benchmark without detectors from files of a release's author, which are not run for a definition."""
    return record.model_copy(update={"detectors": {k: v for k, v in record.detectors.items() if not is_path(k)}})


def _ranking(suite: Suite, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over replicates of every training with every score, on every benchmark or family."""
    places = {name: place for place, names in suite.places().items() for name in names}
    metric, split = RANKED
    rows = metrics[(metrics["metric"] == metric) & (metrics["split"] == split)].copy()
    rows["benchmark"] = rows["benchmark"].map(lambda name: places.get(name, name))
    columns = ["benchmark", "method", "score"]
    table = rows.groupby(columns)["value"].agg(["mean", "std", "count"]).reset_index()
    table["label"] = [suite.methods[name].label for name in table["method"]]
    table["definition"] = [_digest(prediction_definition(_known(suite.record(name)))) for name in table["benchmark"]]
    return table


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_board(releases: Sequence[Path], out: Path, signers: Path | None = None) -> list[Entry]:
    """Write the page.

    Benchmarks of one name are ranked together only where data, splits and evaluations are the same.

    Parameters
    ----------
    releases : sequence of Path
        Folders or zip archives.
    out : Path
        The HTML file.
    signers : Path, optional
        An `allowed_signers` file with the keys that are trusted.

    Raises
    ------
    ReproodError
        When a release cannot be read, or two have one name.
    """
    entries = [read_entry(path, signers) for path in releases]
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ReproodError(f"Two releases have the name {twice}; rename one of the folders or archives.")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("board.html.j2").render(
        entries=entries,
        verdicts=VERDICTS,
        boards=_boards(entries),
        claims=_claims(entries),
        css=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
    )
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return entries


def _boards(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the leaderboards, best mean first."""
    rows = pd.concat([entry.ranking.assign(release=entry.name) for entry in entries], ignore_index=True)
    boards = []
    for (name, definition), group in rows.groupby(["benchmark", "definition"], sort=False):
        several = rows.loc[rows["benchmark"] == name, "definition"].nunique() > 1
        ordered = group.sort_values("mean", ascending=False, kind="stable")
        shown = [{**row, "score": labels.score(row["score"])} for row in ordered.to_dict("records")]
        boards.append({"title": f"{name} (definition {definition})" if several else name, "rows": shown})
    return boards


def _claims(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return every main claim with its verdict in each release ("" where it has none)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        for row in entry.verdicts.to_dict("records"):
            key = str(row["paper"]), str(row["claim"])
            claim = found.setdefault(key, {"paper": key[0], "claim": key[1], "statement": row["statement"], "in": {}})
            claim["in"][entry.name] = row["verdict"]
    return [found[key] for key in sorted(found)]
