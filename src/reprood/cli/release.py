"""Commands for published releases: `reprood release build|verify|compare|rerun`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.cli.options import Config, ConfigFile, SuiteName, configuration, parse
from reprood.core.errors import ReproodError
from reprood.core.process import pin_threads

if TYPE_CHECKING:
    from reprood.publish.checks import Check

OTHER_CODE = 3  # exit status of `verify` if a release was made with other code

release_app = typer.Typer(no_args_is_help=True, help="Build, verify, compare and re-run published releases.")

Release = Annotated[Path, typer.Argument(help="A release: folder or zip archive.")]
Signers = Annotated[Path | None, typer.Option("--signers", help="allowed_signers file with the trusted keys.")]
Compared = Annotated[Path, typer.Argument(help="A release (folder or zip archive), or a suite's folder results/SUITE.")]


@release_app.command("build")
def build(
    release: Annotated[str, typer.Option(help="Name of the release.")] = "draft",
    suite: SuiteName = "",
    out: Annotated[Path | None, typer.Option(help="Folder; default: published/RELEASE.")] = None,
    date: Annotated[str, typer.Option(help="YYYY-MM-DD; default: that of CITATION.cff.")] = "",
    revision: Annotated[str, typer.Option(help="Code revision to record; default: that of git.")] = "",
    sign: Annotated[Path | None, typer.Option(help="SSH private key to sign the checksums with.")] = None,
    checkpoints_url: Annotated[
        str,
        typer.Option(help="Write the weights to published/RELEASE-checkpoints.zip, to be put there."),
    ] = "",
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Write what verdicts need, for git, and the full release as an archive."),
    ] = False,
    archive: Annotated[
        Path | None, typer.Option(help="With --compact: the archive; default: published/RELEASE-full.zip.")
    ] = None,
    archive_url: Annotated[str, typer.Option(help="With --compact: where the archive will be.")] = "",
    datasets: Annotated[
        str, typer.Option(help="Your own data sets as JSON; default: those of config/config.yaml.")
    ] = "",
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Build a release of the results in this checkout: a Workflow Run RO-Crate with checksums.

    Of a selection (`--config paper=cutmix`) it holds the selected part of the suite, and says so.

    `snakemake --cores all publish` runs this after all results are up to date.

    With --compact the folder holds the scores, metrics and verdicts, and names the archive, which holds everything.

    Example: reprood release build --release quick-0.3 --sign ~/.ssh/id_ed25519 --compact
    """
    pin_threads(1)
    import tempfile

    import yaml

    from reprood.config.load import suite_path
    from reprood.core.checksums import verify_results
    from reprood.evidence.identity import identities
    from reprood.pipeline.plan import Plan
    from reprood.publish.build import build_compact, build_release, code_revision
    from reprood.publish.part import part_record

    if not compact and (archive or archive_url):
        raise ReproodError("--archive and --archive-url are of --compact; give it as well.")
    root = Path.cwd()
    settings, _ = configuration(suite, config, configfile)
    plan = Plan({**settings, **({"datasets": parse(datasets, "--datasets")} if datasets else {})}, root)
    chosen = plan.settings.selection
    part = part_record(chosen, plan.planned) if chosen.selects else None
    verify_results(Path(), plan.file_folders(), quick=False)
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    checkpoints = None
    if checkpoints_url:
        from reprood.publish.checkpoints import pack

        weights = root / "published" / f"{release}-checkpoints.zip"
        checkpoints = pack(plan.name, plan.suite, root, weights, url=checkpoints_url, release=release)
        print(f"{weights}: weights of {checkpoints.runs} runs; upload it to {checkpoints_url}", file=sys.stderr)
    place = out or root / "published" / release
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=place.parent) as temporary:
        full = Path(temporary) / release if compact else place
        build_release(
            plan.suite_parameters(),
            root,
            full,
            release=release,
            date=date or str(cited.get("date-released") or datetime.now(UTC).date()),
            revision=revision or code_revision(root),
            jobs=identities(plan, root).model_dump(),
            checkpoints=checkpoints,
            part=part,
            source=suite_path(plan.settings.suite, root),
            key=sign,
            log=_say,
        )
        if compact:
            zipped = archive or place.with_name(f"{release}-full.zip")
            build_compact(full, place, zipped, url=archive_url, key=sign, log=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@release_app.command("verify")
def verify(
    path: Release,
    signers: Signers = None,
    own_detectors: Annotated[
        bool, typer.Option("--own-detectors", help="Run detectors that the release holds: code of its author.")
    ] = False,
    archive: Annotated[
        Path | None, typer.Option(help="The archive that a compact release names: checks it and what it holds.")
    ] = None,
) -> None:
    """Check a release: checksums, signature, and every metric, verdict, table and page recomputed.

    It needs neither torch nor a GPU nor the data. Of a compact release it checks what follows from its files, and
    names what only the archive can show.

    Exit status: 0 if all checks hold; 1 if one does not;
    3 if checksums and signature hold but the rest was not recomputed, because other code made the release, or if
    scores were not, because they need detectors of its author and --own-detectors is not given.

    Example: reprood release verify published/evidence-0.3 --signers published/allowed_signers
    """
    check_release(path, signers, own_detectors=own_detectors, archive=archive)


def fetch(
    path: Release,
    into: Annotated[Path | None, typer.Option(help="Folder; default: weights/RELEASE.")] = None,
    downloads: Annotated[Path, typer.Option(help="Folder that keeps downloaded files.")] = Path("state/downloads"),
) -> None:
    """Download the weights of a release and check each against the SHA-256 that the release states.

    Example: reprood fetch published/quick-0.3
    """
    pin_threads(1)
    from reprood.cli.data import show_progress
    from reprood.publish.checkpoints import fetch as fetch_weights
    from reprood.publish.unpack import opened

    require(path)
    target = into or Path("weights") / path.name.removesuffix(".zip")
    with opened(path) as folder:
        count = fetch_weights(folder, target, downloads, progress=show_progress("weights"), say=print)
    print(f"{target}: weights of {count} runs")


def board(
    releases: Annotated[list[Path], typer.Argument(help="Releases: folders or zip archives.")],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("board.html"),
    signers: Signers = None,
) -> None:
    """Write one static page over several releases: signatures, leaderboards, and the verdicts of each.

    Example: reprood board published/* --signers published/allowed_signers
    """
    pin_threads(1)
    from reprood.publish.board import write_board

    for path in releases:
        require(path)
    for entry in write_board(releases, out, signers):
        print(f"{entry.name}: {'intact' if entry.intact else 'files were changed'}, {entry.signature}")
    print(out)


@release_app.command("rerun")
def rerun(
    path: Release,
    runs: Annotated[int, typer.Option(min=1, help="Number of random runs.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed that selects the runs.")] = 0,
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Train and predict random runs of a release again and compare the results.

    It needs torch and the release's data in this checkout.
    Exit status: 1 if a run comes out differently on the kind of machine that made it.

    Example: reprood release rerun published/evidence-0.3 --runs 3
    """
    pin_threads(1)
    require(path)
    result = rerun_check(path, runs, seed, config, configfile)
    print(result)
    if result.holds is False:
        raise ReproodError(f"{path}: some of the {runs} runs do not come out as published.")


@release_app.command("compare")
def compare(
    first: Compared,
    second: Compared,
    most: Annotated[int, typer.Option(min=0, help="Number of metrics beyond noise to print.")] = 10,
    table: Annotated[Path | None, typer.Option(help="CSV file for every metric that differs.")] = None,
) -> None:
    """Compare two releases: which verdicts and numbers changed, and whether beyond noise.

    Example: reprood release compare published/evidence-0.3 published/draft
    """
    from reprood.core.files import atomic_path
    from reprood.publish.compare import compare as compare_results

    for path in (first, second):
        if not path.exists():
            raise ReproodError(f"{path} does not exist; give two published releases (or suites' folders of results).")
    comparison = compare_results(first, second)
    for change in comparison.changed:
        print(change)
    for name, alone in ((first, comparison.only_first), (second, comparison.only_second)):
        for claim in alone:
            print(f"{claim}: only in {name}")
    print(f"{comparison.same} claims are equal, {len(comparison.changed)} differ.")
    metrics = comparison.metrics
    for row in metrics.beyond.head(most).itertuples():
        print(
            f"{row.benchmark}/{row.method}: {row.metric} of {row.score} on {row.split}: {row.first:.4g} -> "
            f"{row.second:.4g} (beyond noise, p = {row.p_holm:.2g} after Holm's correction)"
        )
    print(
        f"{metrics.same} metrics are equal, {len(metrics.table)} differ, {len(metrics.beyond)} beyond noise; "
        f"{metrics.only_first} are only in {first}, {metrics.only_second} only in {second}."
    )
    if table is not None:
        with atomic_path(table) as temporary:
            metrics.table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")


def require(path: Path) -> None:
    """Raise an error if a release does not exist."""
    if not path.exists():
        raise ReproodError(f"{path} does not exist; give the folder or the zip archive of a release.")


def check_release(
    path: Path,
    signers: Path | None,
    runs: int = 0,
    seed: int = 0,
    *,
    own_detectors: bool = False,
    archive: Path | None = None,
) -> None:
    """Verify a release and print every check; with `runs`, also train and predict that many random runs again."""
    pin_threads(1)
    import pyarrow as pa

    from reprood.publish.verify import verify as run_checks

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own allocator keeps what a thousand tables have freed

    for one in (path, *([archive] if archive else [])):
        require(one)
    verification = run_checks(path, signers, print, run_own=own_detectors, archive=archive)
    checks, failed = list(verification.checks), list(verification.failed)
    if runs:
        checks.append(rerun_check(path, runs, seed))
        print(checks[-1])
        failed += [checks[-1].name] if checks[-1].holds is False else []
    if failed:
        raise ReproodError(f"{path}: {len(failed)} of {len(checks)} checks do not hold: {'; '.join(failed)}.")
    held = sum(one.holds is True for one in checks)
    if verification.skipped:
        revision = verification.revision or "REVISION"
        stated = f"revision {verification.revision}" if verification.revision else "which it does not name"
        print(
            f"{held} checks hold; {verification.skipped} were not made, because the release was made with other code "
            f"({stated}). To recompute its results: git worktree add ../recompute {revision} && "
            f"make -C ../recompute verifier && ../recompute/.venv-verify/bin/reprood release verify {path} "
            "(before version 0.3 the command is `reprood verify`)."
        )
        raise typer.Exit(OTHER_CODE)
    if verification.own_code:
        print(
            f"{held} checks hold; the scores of detectors were not recomputed, because some are files of the "
            "release's author; read these, then give --own-detectors."
        )
        raise typer.Exit(OTHER_CODE)
    rest = f" {verification.archived} more need the archive." if verification.archived else ""
    print(f"All {held} checks hold.{rest}")


def rerun_check(
    path: Path, count: int, seed: int, config: list[str] | None = None, files: list[Path] | None = None
) -> "Check":
    """Train and predict random runs again, as one check."""
    import numpy as np

    from reprood.publish.checks import Check
    from reprood.publish.rerun import rerun as rerun_jobs
    from reprood.publish.rerun import sample_runs
    from reprood.publish.unpack import opened

    with opened(path) as folder:
        jobs = sample_runs(folder, count, np.random.default_rng(seed))
        names = ", ".join("/".join(map(str, job)) for job in jobs)
        print(f"{'':>15}training and predicting again: {names}", flush=True)
        own = configuration("", config, files)[0].get("datasets")
        reruns = rerun_jobs(folder, Path.cwd(), jobs, datasets=own)
    states = [one.holds for one in reruns]
    holds = False if False in states else None if None in states else True
    return Check(f"{len(reruns)} random runs come out as published", holds, tuple(map(str, reruns)))
