"""Build a release: copy what is published, write the pages anew without pictures, describe, list and seal it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reprood.audit.papers import load_papers
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file, write_json
from reprood.publish.bill import bill_of
from reprood.publish.contents import (
    BILL,
    CODE,
    DEPOSIT,
    METADATA,
    SIGNATURE,
    SUITE,
    SUMS,
    copied,
    figures,
    suite_record,
    written_by,
)
from reprood.publish.crate import describe
from reprood.publish.seal import sign, sums_of, write_sums
from reprood.report.pages import write_report


def build_release(
    suite: str,
    root: Path,
    out: Path,
    *,
    release: str,
    date: str,
    revision: str = "",
    source: Path | None = None,
    key: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a release; the same results give the same bytes (but for a signature).

    Parameters
    ----------
    suite : str
        The suite's record as JSON (`Plan.suite_parameters`).
    root : Path
        The checkout with its results.
    out : Path
        The release's folder; it is replaced as a whole.
    release : str
        Its name.
    date : str
        YYYY-MM-DD.
    revision : str
        Code revision.
    source : Path, optional
        The suite's file, when it is not under `config/suites`.
    key : Path, optional
        An SSH private key to sign with.
    say : callable
        Told what is done.

    Raises
    ------
    ReproodError
        When a file is missing (run the workflow first), or the key cannot sign.
    """
    name, record = suite_record(json.loads(suite))
    stored = f"config/suites/{name}.yaml"
    origin = {stored: source} if source is not None else {}
    files = copied(name, record, root)
    missing = [path for path in files if not origin.get(path, root / path).is_file()]
    if missing:
        raise ReproodError(
            f"{len(missing)} of {len(files)} files to publish do not exist, the first is {missing[0]}; "
            "run `snakemake --cores all` first."
        )
    files += figures(record, root)
    made = out.with_name(f".{out.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    for path in files:
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin.get(path, root / path), made / path)
    say(f"{len(files)} files copied")
    (made / SUITE).write_text(suite + "\n", encoding="utf-8")
    papers = load_papers(sorted((made / "config" / "papers").glob("*.yaml")))
    write_report(
        record,
        papers,
        made / "results" / "verdicts.csv",
        runs=made / "runs",
        studies=made / "results" / "studies",
        data=made / "data",
        figures=made / "reports" / "figures",
        defects=made / "config" / "defects.yaml",
        out=made / "reports",
    )
    software = version("reprood")
    write_json(made / BILL, bill_of(made / "requirements.lock", software))
    write_json(made / CODE, {"revision": revision, **written_by()})
    write_json(made / DEPOSIT, deposit(release, name, record.title, record.note, software, date))
    runs = {f"{b}/{m}/{s}": read_json(made / "runs" / b / m / str(s) / "run.json") for b, m, s in record.jobs()}
    told = {path: (digest, (made / path).stat().st_size) for path, digest in sums_of(made).items() if path != METADATA}
    crate = describe(release, name, record, papers, told, runs, version=software, date=date, revision=revision)
    write_json(made / METADATA, crate)
    write_sums(made)
    if key is not None:
        sign(made, key)
        say(f"{SUMS} signed: {SIGNATURE}")
    if out.exists():
        shutil.rmtree(out)
    made.rename(out)
    say(f"{out}: {len(told) + 2} files, {sum(size for _, size in told.values()) / 1e6:.1f} MB, SHA-256 of {SUMS}: "
        f"{sha256_file(out / SUMS)}")  # fmt: skip
    return out


def code_revision(root: Path) -> str:
    """The commit that is checked out, with "-dirty" when files differ from it; "" outside of git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def deposit(release: str, name: str, title: str, note: str, software: str, date: str) -> dict[str, Any]:
    """Metadata for a deposit in the form that Zenodo's API takes; nothing is uploaded."""
    return {
        "metadata": {
            "title": f"reprood: {title} ({release})",
            "upload_type": "dataset",
            "publication_date": date,
            "description": f"Audited results of the suite {name}: predictions, metrics, verdicts and report. {note}",
            "creators": [{"name": "The reprood authors"}],
            "license": "apache-2.0",
            "version": f"{software}, {release}",
            "keywords": ["out-of-distribution detection", "novelty detection", "robustness", "reproducibility"],
        }
    }
