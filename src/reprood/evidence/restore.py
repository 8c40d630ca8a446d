"""Take over the runs of a release, so that a checkout without runs continues where the release ends."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.benchmark import Benchmark
from reprood.config.suite import Suite
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file, write_json
from reprood.core.messages import explain_validation
from reprood.evaluate.run import Code, adopt
from reprood.evidence import snakemake
from reprood.evidence.choose import Arm
from reprood.evidence.claims import planned, replicates
from reprood.evidence.identity import KINDS, Identities, difference, libraries, run_identity, study_identity
from reprood.evidence.loop import State
from reprood.offload.workflow import outdated, record
from reprood.pipeline.plan import Plan
from reprood.publish.archive import ARCHIVE
from reprood.publish.compact_runs import NOT_STORED
from reprood.publish.contents import CODE, JOBS, Paths, fingerprints
from reprood.publish.expand import expanded
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.unpack import opened
from reprood.report.studies.registry import drawings

FILES = ("model.json", "history.csv", "run.json", "predictions.parquet")
SIGNERS = Path("published/allowed_signers")
Job = tuple[str, str, int]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """An opened release.

    Attributes
    ----------
    paths : Paths
        Its folder; of a compact release, one with the runs restored.
    made : Identities
        Of its runs and studies.
    compact : bool
        It holds no logits, and neither all runs nor all scores.
    same_metrics : bool
        The code of the metrics is the one of here.
    suite : Suite
    """

    paths: Paths
    made: Identities
    compact: bool
    same_metrics: bool
    suite: Suite

    def run(self, job: Job) -> Path:
        """Return the folder of a run."""
        return self.paths.run(*job)


def restore(
    config: Mapping[str, Any], root: Path, path: Path, options: Sequence[str], settings: Sequence[str], *, say: Say
) -> None:
    """Put runs and studies of a release in place, and let Snakemake record them as its own.

    A run is taken over when training and prediction would be the same here: equal code, settings, data and versions of
    the libraries. Others are named with the reason and run again.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration.
    root : Path
        The checkout.
    path : Path
        The release: a folder or a zip archive.
    options, settings : sequence of str
        Snakemake's options for running jobs; those among them for this configuration (`--config`).
    say : callable
        Called with each line of progress.

    Raises
    ------
    ReproodError
        When the suite has no looks, or the release is damaged, too old, or not signed by a key of
        `published/allowed_signers`.
    """
    before = State.read(config, root).plan
    with opened(path) as folder:
        made = _verified(folder, root, say)
        if (folder / ARCHIVE).is_file():
            say("The release is compact: scores that no main claim uses are not there; its archive has them.")
        with expanded(folder) as whole:
            _restore(_read(whole, made), config, root, settings, options, before, say)


def _restore(
    release: Release,
    config: Mapping[str, Any],
    root: Path,
    settings: Sequence[str],
    options: Sequence[str],
    before: Plan,
    say: Say,
) -> None:
    """Find the runs of a release that are the same here, and take them over."""
    released = {arm: n for arm, n in replicates(release.suite).items() if arm in replicates(before.suite)}
    numbers = root / before.results / "replicates.json"
    write_json(numbers, planned(released, before.planned))
    plan = Plan(config, root)
    say("Preparing the data, to compare them with those of the release.")
    _prepare_data(plan, root, options)
    reasons = {job: _reason(release, plan, root, job) for job in plan.jobs if _name(job) in release.made.runs}
    same = [job for job, reason in reasons.items() if not reason]
    say(f"{len(same)} of {len(reasons)} runs of the release that this suite plans are the same here.")
    _say_reasons({_name(job): reason for job, reason in reasons.items() if reason}, say)
    write_json(numbers, planned(_kept(plan, same, released), before.planned))
    _take_over(release, plan, root, same, settings, say)


def _prepare_data(plan: Plan, root: Path, options: Sequence[str]) -> None:
    """Run the data stage."""
    files = [path for name in plan.benchmarks for path in plan.split_files(name, plan.benchmark(name).splits())]
    files += [path for name in plan.benchmarks for path in plan.split_files(name, plan.made_splits(name))]
    files += [f"{plan.data_folder(name)}/lint.json" for name in plan.benchmarks]
    snakemake.run(root, list(dict.fromkeys(files)), options, root / "logs" / plan.results / "evidence.log")


def _reason(release: Release, plan: Plan, root: Path, job: Job) -> str:
    """Return why a run of the release is not the run that would be made here; "" when it is.

    Scores that the evaluation could not compute again are kept for it: of detectors that read features, and of all
    detectors of a compact release, with the metrics.
    """
    if not (release.run(job) / "predictions.parquet").is_file():
        return NOT_STORED
    made, here = release.made.runs[_name(job)], run_identity(plan, root, *job)
    for kind in KINDS:
        if text := difference(made.get(kind, {}), here[kind]):
            return f"{kind}: {text}"
    if _adopts(release, plan, job):
        folder, code = release.run(job), json.loads(plan.evaluate_code(job[0]))
        state = root / "state" / "evaluate" / Path(plan.run_file(*job, "scores.parquet")).parent
        benchmark, there = plan.benchmark(job[0]), release.suite.benchmarks[job[0]]
        metrics = release.same_metrics and _evaluated(there) == _evaluated(benchmark)
        lost = adopt(folder, benchmark, job, Code(code["metrics"], code["detectors"]), state, metrics=metrics)
        if lost:
            read = "logits, which a compact release" if release.compact else "features, which a release"
            return f"evaluate: {', '.join(lost)} changed and read {read} does not hold"
    return ""


def _adopts(release: Release, plan: Plan, job: Job) -> bool:
    """Return whether the evaluation of a run needs scores of the release."""
    return release.compact or plan.stores_features(job[0])


def _evaluated(benchmark: Benchmark) -> dict[str, Any]:
    """Return what metrics depend on of a benchmark."""
    return benchmark.model_dump(mode="json", exclude={"settings", "detectors"})


def _say_reasons(reasons: Mapping[str, str], say: Say) -> None:
    """Say how many runs are run again for which reason, with an example of each."""
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        say(f"  {len(names)} are run again: {reason} (for example {names[0]})")


def _kept(plan: Plan, same: Sequence[Job], released: Mapping[Arm, int]) -> dict[Arm, int]:
    """Return arm -> the first replicates of the release that are the same here; the others are not planned."""
    found = set()
    for benchmark, method, seed in same:
        found.add((plan.benchmark(benchmark).family or benchmark, method, seed))
    return {arm: next(n for n in range(count + 1) if (*arm, n) not in found) for arm, count in released.items()}


def _take_over(
    release: Release, plan: Plan, root: Path, same: Sequence[Job], settings: Sequence[str], say: Say
) -> None:
    """Put runs and studies in place, as far as they are not up to date here, and let Snakemake record them."""
    predictions = {job: plan.run_file(*job, "predictions.parquet") for job in same}
    old = outdated(root, settings, list(predictions.values())) if same else set()
    copied = [job for job in same if predictions[job] in old]
    for job in copied:
        _copy(release.run(job), root, [plan.run_file(*job, name) for name in FILES])
    ours = [job for job in same if job in copied or _same_file(release.run(job), root / predictions[job])]
    features = {_name(job): plan.scored_key(job[0]) for job in ours if _adopts(release, plan, job)}
    write_json(root / plan.results / "restored.json", features)
    studies = [name for name in plan.suite.studies if _study_holds(release, plan, root, name, same)]
    for name in studies:
        _copy(release.paths.studies / name, root, [f"{plan.results}/studies/{name}/values.csv"])
    targets = [plan.run_file(*job, name) for job in ours for name in ("model.json", "predictions.parquet")]
    record(root, settings, (*KINDS, "study"), [*targets, *(f"{plan.results}/studies/{n}/values.csv" for n in studies)])
    say(f"{len(copied)} runs and {len(studies)} studies were taken over.")
    _say_studies(release, plan, studies, set(ours), say)


def _copy(source: Path, root: Path, paths: Sequence[str]) -> None:
    """Copy files of one folder of the release to where jobs write them, with their checksums."""
    with checked_job([], [root / path for path in paths]):
        for path in paths:
            with atomic_path(root / path) as temporary:
                shutil.copyfile(source / Path(path).name, temporary)


def _same_file(source: Path, path: Path) -> bool:
    return path.is_file() and sha256_file(path) == sha256_file(source / path.name)


def _study_holds(release: Release, plan: Plan, root: Path, name: str, same: Sequence[Job]) -> bool:
    """Return whether the values of a study are those that it would give here, and are not here yet."""
    made = release.made.studies.get(name)
    if made is None or difference(made, study_identity(plan, name)) or not set(_read_by(plan, name)) <= set(same):
        return False
    return not (root / plan.results / "studies" / name / "values.csv").is_file()


def _read_by(plan: Plan, name: str) -> list[Job]:
    """Return the runs whose weights a study reads."""
    weights = set(plan.study_inputs(name))
    return [job for job in plan.jobs if plan.run_file(*job, "model.safetensors") in weights]


def _say_studies(release: Release, plan: Plan, taken: Sequence[str], ours: set[Job], say: Say) -> None:
    """Say which studies train restored runs again, because they read weights, which a release does not hold."""
    for name, study in plan.suite.studies.items():
        runs = ours.intersection(_read_by(plan, name))
        drawn = study.use in drawings()
        if runs and (name not in taken or drawn):
            when = (
                "its figure, and so the pages, need"
                if name in taken
                else "its values are not those of the release: it needs"
            )
            say(f"Study {name}: {when} weights, which a release lacks; {len(runs)} runs are then trained again.")


def _name(job: Job) -> str:
    return "/".join(map(str, job))


def _read(folder: Path, made: Identities) -> Release:
    """Read a release whose runs are restored."""
    paths = Paths(folder)
    stated = read_json(folder / CODE).get("metrics")
    return Release(paths, made, (folder / ARCHIVE).is_file(), stated == fingerprints()["metrics"], paths.suite()[1])


def _verified(folder: Path, root: Path, say: Say) -> Identities:
    """Check checksums and signature of a release, and return what its runs were made with."""
    wrong = differences(read_sums(folder), sums_of(folder))
    if wrong:
        raise ReproodError(f"{folder}: {wrong[0]} ({len(wrong)} files differ); download the release again.")
    signers = root / SIGNERS
    holds, text = check_signature(folder, signers if signers.is_file() else None)
    if holds is False:
        raise ReproodError(f"{folder}: signature: {text}; take over only releases whose signature holds.")
    say(f"Checksums hold; signature: {text}.")
    if not (folder / JOBS).is_file():
        raise ReproodError(
            f"{folder} holds no {JOBS}: it was made before version 0.3, and what its runs were made with is not known; "
            "give a newer release."
        )
    try:
        made = Identities.model_validate(read_json(folder / JOBS))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(folder / JOBS))) from error
    if made.libraries != libraries():
        raise ReproodError(
            f"The release was made with {made.libraries}, here is {libraries()}: all its runs would be run again. "
            "Install these versions, or leave out --from."
        )
    return made
