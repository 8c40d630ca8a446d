"""The verbs of published releases: publish, verify, compare."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.cli.options import pin_threads
from reprood.core.errors import ReproodError

if TYPE_CHECKING:
    from reprood.publish.verify import Check


def publish(
    release: Annotated[str, typer.Option(help="Name of the release.")] = "draft",
    suite: Annotated[str, typer.Option(help="The suite; by default that of config/config.yaml.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder; by default published/RELEASE.")] = None,
    date: Annotated[str, typer.Option(help="YYYY-MM-DD; by default that of CITATION.cff.")] = "",
    revision: Annotated[str, typer.Option(help="Code revision to be recorded; by default what git says.")] = "",
    sign: Annotated[Path | None, typer.Option(help="SSH private key to sign the checksums with.")] = None,
) -> None:
    """Build a release of the results in this checkout: a Workflow Run RO-Crate with checksums."""
    pin_threads(1)
    import yaml

    from reprood.config.suite import suite_path
    from reprood.publish.build import build_release, code_revision
    from reprood.core.yaml import read_yaml
    from reprood.core.checksums import require_all_whole
    from reprood.pipeline.plan import Plan

    root = Path.cwd()
    config = read_yaml(root / "config" / "config.yaml") or {}
    plan = Plan({**config, **({"suite": suite} if suite else {})}, root)
    require_all_whole(Path(), plan.folders(), quick=False)
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    build_release(
        plan.suite_parameters(),
        root,
        out or root / "published" / release,
        release=release,
        date=date or str(cited["date-released"]),
        revision=revision or code_revision(root),
        source=suite_path(plan.settings.suite, root),
        key=sign,
        say=lambda line: print(line, file=sys.stderr),
    )


def verify(
    path: Annotated[Path, typer.Argument(help="A release: folder or zip archive.")],
    signers: Annotated[Path | None, typer.Option(help="allowed_signers file of those who are trusted.")] = None,
    spot: Annotated[int, typer.Option(min=0, help="Also train and predict so many random runs again.")] = 0,
    spot_seed: Annotated[int, typer.Option(help="Draws the runs of --spot.")] = 0,
) -> None:
    """Check a published release: hashes, signature, and every metric, verdict, table and page computed anew.

    With --spot, random runs are trained and predicted again; this needs torch, and the release's data in this checkout.
    """
    pin_threads(1)
    from reprood.publish.verify import verify as check

    if not path.exists():
        raise ReproodError(f"{path} does not exist; give the folder or the zip archive of a release.")
    checks = check(path, signers, print)
    if spot:
        checks.append(_spot(path, spot, spot_seed))
        print(checks[-1])
    failed = [one.name for one in checks if one.holds is False]
    if failed:
        raise ReproodError(f"{path}: {len(failed)} of {len(checks)} checks do not hold: {'; '.join(failed)}.")
    print(f"All {sum(one.holds is True for one in checks)} checks hold.")


def _spot(path: Path, count: int, seed: int) -> "Check":
    """Random runs made again, as a check."""
    import numpy as np

    from reprood.publish.unpack import opened
    from reprood.publish.rerun import choose, spot_check
    from reprood.publish.verify import Check

    with opened(path) as folder:
        jobs = choose(folder, count, np.random.default_rng(seed))
        names = ", ".join("/".join(map(str, job)) for job in jobs)
        print(f"{'':>15}training and predicting again: {names}", flush=True)
        found = spot_check(folder, Path.cwd(), jobs)
    states = [one.holds for one in found]
    holds = False if False in states else None if None in states else True
    return Check(f"{len(found)} random runs come out as stated", holds, tuple(map(str, found)))


def compare(
    first: Annotated[Path, typer.Argument(help="A release (folder or zip archive), or a checkout with results.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    most: Annotated[int, typer.Option(min=0, help="How many metrics beyond noise are printed.")] = 10,
    table: Annotated[Path | None, typer.Option(help="CSV file for every metric that differs.")] = None,
) -> None:
    """Compare two releases: which verdicts and numbers changed, and whether beyond noise."""
    from reprood.publish.compare import compare as against
    from reprood.core.files import atomic_path

    for path in (first, second):
        if not path.exists():
            raise ReproodError(f"{path} does not exist; give two published releases (or checkouts with results).")
    found = against(first, second)
    for change in found.changed:
        print(change)
    for name, alone in ((first, found.only_first), (second, found.only_second)):
        for claim in alone:
            print(f"{claim}: only in {name}")
    print(f"{found.same} claims are the same, {len(found.changed)} differ.")
    numbers = found.numbers
    for row in numbers.beyond.head(most).itertuples():
        print(
            f"{row.benchmark}/{row.method}: {row.metric} of {row.score} on {row.split}: {row.first:.4g} -> "
            f"{row.second:.4g} (beyond noise, p = {row.p_holm:.2g} after Holm's correction)"
        )
    print(
        f"{numbers.same} metrics are the same, {len(numbers.table)} differ, {len(numbers.beyond)} beyond noise; "
        f"{numbers.only_first} are only in {first}, {numbers.only_second} only in {second}."
    )
    if table is not None:
        with atomic_path(table) as temporary:
            numbers.table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")


def supply(
    lock: Annotated[Path, typer.Option(help="The lock.")] = Path("requirements.lock"),
    advisories: Annotated[Path | None, typer.Option(help="OSV advisories: JSON file, folder or zip archive.")] = None,
    licences: Annotated[Path | None, typer.Option(help="Write the list of licences here (Markdown).")] = None,
) -> None:
    """Check what the project stands on: hashes and versions of the lock, licences, known vulnerabilities.

    Example: reprood supply --advisories osv-pypi.zip
    """
    from reprood.core.files import atomic_path
    from reprood.core.printable import printable
    from reprood.publish.supply import KINDS, check_environment, check_lock, page, read_advisories, vulnerable
    from reprood.publish.supply import licences as licences_of

    if not lock.is_file():
        raise ReproodError(f"{lock} does not exist; give the lock with --lock.")
    try:
        text = lock.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReproodError(f"{lock} is no text in UTF-8 ({error.reason}); make the lock anew (make lock).") from error
    wrong = {"the lock": check_lock(text), "the environment": check_environment(text)}
    packages = licences_of(text)
    counts = {kind: sum(package.kind == kind for package in packages) for kind in KINDS}
    print(f"{len(packages)} packages: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if licences is not None:
        with atomic_path(licences) as temporary:
            temporary.write_text(page(packages), encoding="utf-8")
    if advisories is None:
        print("vulnerabilities: not checked, because no advisories were given (--advisories)")
    else:
        known = read_advisories(advisories)
        wrong["known vulnerabilities"] = vulnerable(text, known)
        print(f"vulnerabilities: looked up in {len(known)} advisories of {advisories}; others are not known here")
    for what, found in wrong.items():
        print(f"{what}: {'nothing found' if not found else ''}")
        for line in found:
            print(f"  {printable(line)}")
    failed = [f"{len(found)} in {what}" for what, found in wrong.items() if found]
    if failed:
        raise ReproodError(f"{lock}: findings: {', '.join(failed)}; they are listed above.")
