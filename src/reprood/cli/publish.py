"""Commands for published releases: publish, verify, compare."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.core.errors import ReproodError
from reprood.core.process import pin_threads

if TYPE_CHECKING:
    from reprood.publish.verify import Check

OTHER_CODE = 3  # exit status of `verify` when a release was made with other code


def publish(
    release: Annotated[str, typer.Option(help="Name of the release.")] = "draft",
    suite: Annotated[str, typer.Option(help="The suite; by default that of config/config.yaml.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder; by default published/RELEASE.")] = None,
    date: Annotated[str, typer.Option(help="YYYY-MM-DD; by default that of CITATION.cff.")] = "",
    revision: Annotated[str, typer.Option(help="Code revision to record; by default that of git.")] = "",
    sign: Annotated[Path | None, typer.Option(help="SSH private key to sign the checksums with.")] = None,
) -> None:
    """Build a release of the results in this checkout: a Workflow Run RO-Crate with checksums."""
    pin_threads(1)
    import yaml

    from reprood.config.load import suite_path
    from reprood.core.checksums import verify_results
    from reprood.core.yaml import read_yaml
    from reprood.pipeline.plan import Plan
    from reprood.publish.build import build_release, code_revision

    root = Path.cwd()
    config = read_yaml(root / "config" / "config.yaml") or {}
    plan = Plan({**config, **({"suite": suite} if suite else {})}, root)
    verify_results(Path(), plan.file_folders(), quick=False)
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
        log=lambda line: print(line, file=sys.stderr),
    )


def verify(
    path: Annotated[Path, typer.Argument(help="A release: folder or zip archive.")],
    signers: Annotated[Path | None, typer.Option(help="allowed_signers file of those who are trusted.")] = None,
    spot: Annotated[int, typer.Option(min=0, help="Also train and predict N random runs again.")] = 0,
    spot_seed: Annotated[int, typer.Option(help="Seed that draws the runs of --spot.")] = 0,
) -> None:
    """Check a published release: checksums, signature, and every metric, verdict, table and page recomputed.

    With --spot, random runs are trained and predicted again; this needs torch, and the release's data in this checkout.

    Exit status: 0 when every check holds; 1 when one does not; 3 when checksums and signature hold but the rest was
    not recomputed, because the release was made with other code than this.
    """
    pin_threads(1)
    from reprood.publish.verify import verify as check

    if not path.exists():
        raise ReproodError(f"{path} does not exist; give the folder or the zip archive of a release.")
    verification = check(path, signers, print)
    checks, failed = list(verification.checks), list(verification.failed)
    if spot:
        checks.append(_rerun(path, spot, spot_seed))
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
            f"make -C ../recompute verifier && ../recompute/.venv-verify/bin/reprood verify {path}"
        )
        raise typer.Exit(OTHER_CODE)
    print(f"All {held} checks hold.")


def _rerun(path: Path, count: int, seed: int) -> "Check":
    """Train and predict random runs again, as one check."""
    import numpy as np

    from reprood.publish.rerun import rerun, sample_runs
    from reprood.publish.unpack import opened
    from reprood.publish.verify import Check

    with opened(path) as folder:
        jobs = sample_runs(folder, count, np.random.default_rng(seed))
        names = ", ".join("/".join(map(str, job)) for job in jobs)
        print(f"{'':>15}training and predicting again: {names}", flush=True)
        reruns = rerun(folder, Path.cwd(), jobs)
    states = [one.holds for one in reruns]
    holds = False if False in states else None if None in states else True
    return Check(f"{len(reruns)} random runs come out as published", holds, tuple(map(str, reruns)))


def compare(
    first: Annotated[
        Path, typer.Argument(help="A release (folder or zip archive), or a suite's folder results/SUITE.")
    ],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    most: Annotated[int, typer.Option(min=0, help="Number of metrics beyond noise to print.")] = 10,
    table: Annotated[Path | None, typer.Option(help="CSV file for every metric that differs.")] = None,
) -> None:
    """Compare two releases: which verdicts and numbers changed, and whether beyond noise."""
    from reprood.core.files import atomic_path
    from reprood.publish.compare import compare as against

    for path in (first, second):
        if not path.exists():
            raise ReproodError(f"{path} does not exist; give two published releases (or suites' folders of results).")
    comparison = against(first, second)
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
