"""Build a release: copy what is published, write the pages without pictures, describe, list and sign it."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from reprood.config.folders import Folders
from reprood.config.load import read_suite
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file, write_json
from reprood.core.yaml import read_yaml
from reprood.publish.archive import pack_release, read_archive
from reprood.publish.bill import bill_of
from reprood.publish.checkpoints import CHECKPOINTS, Checkpoints
from reprood.publish.compact import write_compact
from reprood.publish.compact_runs import read_record
from reprood.publish.contents import (
    BILL,
    CODE,
    DEPOSIT,
    JOBS,
    METADATA,
    PART,
    SIGNATURE,
    SUITE,
    SUMS,
    Paths,
    copied,
    figures,
    fingerprints,
    in_checkout,
    suite_record,
)
from reprood.publish.crate import describe
from reprood.publish.croissant import CROISSANT, describe_release
from reprood.publish.own import own_detectors
from reprood.publish.part import judged_papers
from reprood.publish.seal import sign, sums_of, write_sums
from reprood.report.pages import Identity, write_report


def build_release(
    suite: str,
    root: Path,
    out: Path,
    *,
    release: str,
    date: str,
    revision: str = "",
    jobs: Mapping[str, Any] | None = None,
    checkpoints: Checkpoints | None = None,
    part: Mapping[str, Any] | None = None,
    source: Path | None = None,
    key: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a release; the same results give the same bytes, except for a signature.

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
    jobs : mapping, optional
        What the runs were made with (`reprood.evidence.identity.identities`), so that others can continue from here.
    checkpoints : Checkpoints, optional
        The archive of the weights.
    part : mapping, optional
        The selection, if only a part of the suite is released (`reprood.publish.part.part_record`).
    source : Path, optional
        The suite's file, when it is not in `config/suites`.
    key : Path, optional
        An SSH private key to sign with.
    log : callable
        Called with a line after each step.

    Raises
    ------
    ReproodError
        When a file is missing (the workflow was not run to its end), or the key cannot sign.
    """
    name, record = suite_record(json.loads(suite))
    stored = Paths(root).name_of(Paths(root).suite_file(name))
    folders = record.folders
    own = {place: root / file for file, place in own_detectors(record).items()}
    files = [*copied(name, record, root), *own]

    def origin(path: str) -> Path:
        if path in own:
            return own[path]
        return source if source is not None and path == stored else root / in_checkout(path, name, folders)

    missing = [path for path in files if not origin(path).is_file()]
    if missing:
        raise ReproodError(
            f"{len(missing)} of {len(files)} files to publish do not exist, the first is "
            f"{in_checkout(missing[0], name, folders)}; run `snakemake --cores all` first."
        )
    files += figures(name, record, root)
    built = out.with_name(f".{out.name}.part")
    shutil.rmtree(built, ignore_errors=True)
    for path in files:
        (built / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin(path), built / path)
    if "extends" in read_yaml(origin(stored)):  # a release holds one suite
        whole = yaml.safe_dump(read_suite(origin(stored), root), sort_keys=False, allow_unicode=True)
        (built / stored).write_text(whole, encoding="utf-8")
    log(f"{len(files)} files copied")
    if record.folders != Folders():  # a release holds one suite: plain names
        record = record.model_copy(update={"folders": Folders()})
        suite = json.dumps({**json.loads(suite), "folders": {}}, separators=(",", ":"), ensure_ascii=False)
    (built / SUITE).write_text(suite + "\n", encoding="utf-8")
    if part is not None:
        write_json(built / PART, part)
    paths = Paths(built)
    papers = judged_papers(paths, record)
    write_report(
        record,
        papers,
        paths.verdicts,
        root=paths.root,
        studies=paths.studies,
        data=built / "data",
        figures=paths.reports / "figures",
        defects=paths.defects,
        datasets=paths.datasets,
        out=paths.reports,
        identity=Identity(release, date, revision),
    )
    software = version("reprood")
    write_json(built / BILL, bill_of(built / "requirements.lock", software))
    write_json(built / CODE, {"release": release, "date": date, "revision": revision, **fingerprints()})
    if jobs is not None:
        write_json(built / JOBS, jobs)
    if checkpoints is not None:
        write_json(built / CHECKPOINTS, checkpoints.model_dump())
    write_json(built / DEPOSIT, deposit(release, name, _titled(record), record.note, software, date))
    _seal(built, out, key, log)
    return out


def build_compact(
    full: Path,
    out: Path,
    archive: Path,
    *,
    url: str = "",
    key: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the compact form of a release and the archive of the full one, which it names.

    Parameters
    ----------
    full : Path
        The folder of the full release, as `build_release` wrote it.
    out : Path
        The folder of the compact form; it is replaced as a whole.
    archive : Path
        The zip archive to write.
    url : str
        Where the archive will be.
    key : Path, optional
        An SSH private key to sign with.
    log : callable
        Called with a line after each step.

    Raises
    ------
    ReproodError
        When a file of the full release is missing or damaged, or the key cannot sign.
    """
    packed = pack_release(full, archive, url)
    log(f"{archive}: {packed.size / 1e6:.1f} MB, SHA-256 {packed.sha256}; deposit it")
    built = out.with_name(f".{out.name}.part")
    log(str(write_compact(full, built, packed)))
    _seal(built, out, key, log)
    return out


def describe_built(built: Path) -> None:
    """Write the descriptions of the tables and of all files of a release whose other files are complete."""
    paths, code = Paths(built), read_json(built / CODE)
    name, record = paths.suite()
    release, date = str(code["release"]), str(code["date"])
    deposited = read_json(built / DEPOSIT)["metadata"]
    software = str(deposited["version"]).partition(",")[0]
    croissant = describe_release(
        built, name=f"reprood {release}", description=deposited["description"], version=software, date=date
    )
    write_json(built / CROISSANT, croissant)
    runs = {"/".join(map(str, job)): found for job in record.jobs() if (found := read_record(paths, *job)) is not None}
    listed = {
        path: (digest, (built / path).stat().st_size) for path, digest in sums_of(built).items() if path != METADATA
    }
    crate = describe(
        release, name, record, judged_papers(paths, record), listed, runs,
        version=software, date=date, revision=str(code["revision"]), archive=read_archive(built),
    )  # fmt: skip
    write_json(built / METADATA, crate)


def _seal(built: Path, out: Path, key: Path | None, log: Callable[[str], None]) -> None:
    """Describe, list and sign the files of a release, and move it to its place."""
    describe_built(built)
    write_sums(built)
    if key is not None:
        sign(built, key)
        log(f"{SUMS} signed: {SIGNATURE}")
    if out.exists():
        shutil.rmtree(out)
    built.rename(out)
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    log(f"{out}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, SHA-256 of {SUMS}: {sha256_file(out / SUMS)}")


def code_revision(root: Path) -> str:
    """Return the commit that is checked out, with "-dirty" when files differ from it; "" outside of git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _titled(suite: Suite) -> str:
    """Return the title, and which part of the suite it is."""
    return f"{suite.title}, only {suite.selection}" if suite.selection else suite.title


def deposit(release: str, name: str, title: str, note: str, software: str, date: str) -> dict[str, Any]:
    """Return metadata for a deposit in the form of Zenodo's API; nothing is uploaded."""
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
