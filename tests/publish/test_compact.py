"""The compact form of a release: small, the same bytes for the same runs, checked as far as its files go."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
import yaml
from release_checks import replace, rewrite, wrong
from toy_release import build, toy_suite, write_results
from typer.testing import CliRunner

from reprood.audit.needs import Use
from reprood.cli.main import app
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, write_json
from reprood.evaluate.predictions import load_predictions
from reprood.evaluate.run import evaluate_outputs
from reprood.evaluate.table import read_metrics
from reprood.publish.archive import read_archive, write_zip
from reprood.publish.build import build_compact
from reprood.publish.compact_runs import NOT_STORED, compare_metrics, restore_run, stored_metrics, write_run
from reprood.publish.contents import Paths
from reprood.publish.expand import collected_metrics, expanded
from reprood.publish.ranks import decode, encode
from reprood.publish.recompute_compact import ARCHIVED, MAIN
from reprood.publish.seal import sums_of, write_sums
from reprood.publish.unpack import unpack
from reprood.publish.verify import verify
from reprood.report.claims import read_verdicts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(release, tmp_path_factory):
    """The compact form and the archive."""
    folder = tmp_path_factory.mktemp("compact")
    return build_compact(release, folder / "draft", folder / "draft-full.zip"), folder / "draft-full.zip"


@pytest.fixture
def slim(made, tmp_path):
    """A copy of the compact form to be tampered with."""
    shutil.copytree(made[0], tmp_path / "slim")
    return tmp_path / "slim"


def test_it_holds_what_verdicts_need_and_names_the_archive(release, made):
    folder, archive = made
    with zipfile.ZipFile(folder / "runs/toy/erm/0.zip") as run:
        assert set(run.namelist()) == {
            "model.json", "run.json", "history.csv", "predictions.parquet", "scores.parquet"
        }  # fmt: skip
        assert not run.testzip()
    assert not [name for name in ("reports", "data", "results/metrics.csv") if (folder / name).exists()]
    assert read_json(folder / "archive.json")["size"] == archive.stat().st_size
    sizes = [sum(path.stat().st_size for path in one.rglob("*") if path.is_file()) for one in (folder, release)]
    assert sizes[0] < sizes[1]
    pd.testing.assert_frame_equal(read_verdicts(Paths(folder).verdicts), read_verdicts(Paths(release).verdicts))
    pd.testing.assert_frame_equal(collected_metrics(folder / "results"), collected_metrics(release / "results"))


def test_restored_scores_have_the_order_and_nearly_the_values(release, made):
    with expanded(made[0]) as whole:
        found, full = (load_predictions(one / "runs/toy/good/1") for one in (whole, release))
        assert (whole / "runs/toy/good/1/metrics.csv").read_bytes() == (
            release / "runs/toy/good/1/metrics.csv"
        ).read_bytes()
    assert found.scores == ("msp",)  # of the scores, the one that a claim uses
    a, b = (one.table["score_msp"].to_numpy() for one in (found, full))
    assert (np.argsort(a, kind="stable") == np.argsort(b, kind="stable")).all()
    np.testing.assert_allclose(a, b, atol=0.035)
    assert set(found.facts["skipped"].values()) <= {NOT_STORED, *full.facts["skipped"].values()}


def test_the_same_runs_give_the_same_bytes(checkout, made, tmp_path):
    """Also of a release of another day, and once they were restored from the compact form."""
    later = build(checkout, tmp_path / "later", date="2026-05-06")
    again = build_compact(later, tmp_path / "again", tmp_path / "again-full.zip")
    of_runs = [{k: v for k, v in sums_of(one).items() if k.startswith("runs/")} for one in (made[0], again)]
    assert of_runs[0] == of_runs[1]
    with expanded(made[0]) as whole:
        for run in Paths(whole).runs.glob("*/*/*"):
            shutil.copytree(run, later / run.relative_to(whole), dirs_exist_ok=True)
    restored = build_compact(later, tmp_path / "restored", tmp_path / "restored-full.zip")
    assert {k: v for k, v in sums_of(restored).items() if k.startswith("runs/")} == of_runs[0]


def test_a_full_release_of_restored_runs_says_what_it_cannot_show(release, made, tmp_path):
    shutil.copytree(release, tmp_path / "part")
    with expanded(made[0]) as whole:
        shutil.copytree(whole / "runs/toy/good", tmp_path / "part/runs/toy/good", dirs_exist_ok=True)
    found = {one.name: one for one in verify(tmp_path / "part").checks if one.holds is None}
    assert "3 store no logits" in found[ARCHIVED[0]].details[0]
    assert "3 runs hold, and of 3 that were taken over" in found["metrics follow from the predictions"].details[0]
    replace(tmp_path / "part/runs/toy/good/1/metrics.csv", "top1_error,", "top1_error,9")
    assert "runs/toy/good/1: top1_error of" in wrong(tmp_path / "part")["metrics follow from the predictions"][0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 2.0, 1e9])
def test_ranks_keep_what_a_threshold_accepts(threshold):
    values = np.random.default_rng(3).gamma(0.1, size=2000)
    values[5] = 0.3
    codes, record = encode(values, 4, [threshold])
    assert len(record["places"]) <= 6
    assert ((decode(codes, record) > threshold) == (values > threshold)).all()


@pytest.mark.parametrize("key", [1, 7])
def test_ranks_keep_the_order_and_are_stable(key):
    values = np.random.default_rng(key).gamma(0.1, size=2000)
    values[::9] = np.nan
    codes, record = encode(values, 16)
    back = decode(codes, record)
    assert (np.argsort(back, kind="stable") == np.argsort(values, kind="stable")).all()
    again = encode(back, 16)
    assert (again[0] == codes).all()
    assert again[1] == record
    assert encode(np.array([0.0, 5e-324, 1e-323, 1.5e-323]), 2) is not None
    assert encode(np.array([1.0, 1.0 + 2e-16, 1.0 + 4e-16]).astype(np.float32), 2)[1]["different"] == 1
    with pytest.raises(ReproodError, match="rank outside 0 to"):
        decode(np.array([record["different"]]), record)


def test_it_is_verified_as_far_as_its_files_go(made):
    done = CliRunner().invoke(app, ["release", "verify", str(made[0])])
    assert done.exit_code == 0
    assert f"All 7 checks hold. {len(ARCHIVED)} more need the archive." in done.stdout
    for name in ARCHIVED:
        assert f"not checked  {name}" in done.stdout


def test_with_the_archive_all_is_verified(made):
    verification = verify(made[0], archive=made[1])
    assert (verification.failed, verification.archived) == ([], 0)
    names = [check.name for check in verification.checks if check.holds]
    assert "the compact form follows from the archive" in names
    assert "archive: scores of detectors follow from the logits" in names
    with pytest.raises(ReproodError, match="names no archive"):
        verify(made[1], archive=made[1])


def test_verdicts_on_exploratory_claims_are_in_the_archive(checkout, tmp_path):
    """The compact form does not hold the scores of which they follow."""
    shutil.copytree(checkout, tmp_path / "checkout")
    paper = tmp_path / "checkout/config/papers/toy.yaml"
    stated = yaml.safe_load(paper.read_text())
    sides = [{**side, "score": "own"} for side in stated["claims"][1]["sides"]]
    stated["claims"].append({**stated["claims"][1], "id": "more", "sides": sides, "exploratory": True})
    paper.write_text(yaml.safe_dump(stated))
    for name in ("results", "reports"):
        shutil.rmtree(tmp_path / "checkout" / name)
    write_results(tmp_path / "checkout", "toy", Suite.model_validate(toy_suite({})))
    full = build(tmp_path / "checkout", tmp_path / "full")
    small = build_compact(full, tmp_path / "small", tmp_path / "small-full.zip")
    assert "own" in load_predictions(full / "runs/toy/good/1").scores
    with expanded(small) as whole:
        assert load_predictions(whole / "runs/toy/good/1").scores == ("msp",)
    verdicts = read_verdicts(Paths(small).verdicts)
    assert verdicts.query("claim == 'more'")["verdict"].tolist() == ["supported at reduced scale"]
    assert wrong(small) == {}
    changed = verdicts.assign(verdict=verdicts["verdict"].mask(verdicts["claim"] == "more", "contradicted"))
    changed.to_csv(Paths(small).verdicts, index=False)
    write_sums(small)
    assert set(wrong(small)) == {"description lists the files"}
    found = wrong(small, archive=tmp_path / "small-full.zip")
    assert "results/verdicts.csv is not what the archive gives" in found["the compact form follows from the archive"]


def test_another_archive_is_found(made, tmp_path):
    (tmp_path / "other.zip").write_bytes(made[1].read_bytes()[:-1] + b"x")
    found = wrong(made[0], archive=tmp_path / "other.zip")
    assert "has the SHA-256" in found["the archive is the one that the release names"][0]


def rewrite_member(folder, name, change):
    """Change a table of one run."""
    packed = folder / "runs/toy/good/1.zip"
    with tempfile.TemporaryDirectory() as temporary:
        unpack(packed, Path(temporary))
        rewrite(Path(temporary) / name, change)
        write_zip(packed, Path(temporary))


def one_label_rank(folder):
    def change(columns, facts):
        row = columns["split"].index("test")
        columns["label_rank"][row] = 1 - min(columns["label_rank"][row], 1)

    rewrite_member(folder, "predictions.parquet", change)


def one_rank(folder):
    def change(columns, facts):
        row = columns["split"].index("near_set")
        columns["score_msp"][row] = facts["ranked"]["score_msp"]["different"] - 1

    rewrite_member(folder, "scores.parquet", change)


def a_rank_outside(folder):
    def change(columns, facts):
        columns["score_msp"][0] = 10**6

    rewrite_member(folder, "scores.parquet", change)


def one_metric(folder):
    path = folder / "results/metrics.parquet"
    table = pd.read_parquet(path)
    table.loc[table["metric"] == "top1_error", "value"] += 0.5
    table.to_parquet(path)


def one_metric_of_all(folder):
    table = collected_metrics(folder / "results")
    table.loc[table["metric"] == "top1_error", "value"] += 0.5
    table.to_csv(folder / "results/metrics.csv", index=False)


def the_same_metric_twice(folder):
    path = folder / "results/metrics.parquet"
    table = pd.read_parquet(path)
    pd.concat([table, table.iloc[-1:]]).to_parquet(path)


def one_number_of_the_summary(folder):
    path = folder / "results/summary.json"
    summary = read_json(path)
    summary["toy"]["good"]["top1_error"] += 0.5
    write_json(path, summary)


def one_verdict(folder):
    replace(folder / "results/verdicts.csv", "supported at reduced scale", "reproduced")


def drop_a_run(folder):
    (folder / "runs/toy/good/2.zip").unlink()


def a_file_more(folder):
    with zipfile.ZipFile(folder / "runs/toy/good/2.zip", "a") as run:
        run.writestr("more.txt", "x")


def half_a_run(folder):
    packed = folder / "runs/toy/good/2.zip"
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])


METRICS = "metrics of stored scores follow from the predictions"
SUMMARY = "the summary follows from the table of all metrics"
RUNS = "every run that a main claim compares is there, and is what it says"


@pytest.mark.parametrize(
    ("tamper", "failing", "words"),
    [
        (one_label_rank, METRICS, "runs/toy/good/1: top1_error"),
        (one_rank, METRICS, "runs/toy/good/1: "),
        (a_rank_outside, METRICS, "rank outside"),
        (one_metric, METRICS, "top1_error of - on test is stated as"),
        (the_same_metric_twice, SUMMARY, "is stated twice"),
        (one_number_of_the_summary, SUMMARY, "results/summary.json differs"),
        (one_verdict, MAIN, "verdict is stated as reproduced"),
        (drop_a_run, RUNS, "the run toy/good/2 is missing"),
        (a_file_more, RUNS, "runs/toy/good/2.zip holds more.txt, which is no file of a run"),
        (half_a_run, RUNS, "runs/toy/good/2.zip is damaged"),
    ],
)
def test_tampering_is_found_and_named(slim, tamper, failing, words):
    tamper(slim)
    write_sums(slim)  # a careful tamperer rewrites the checksums
    found = wrong(slim)
    assert any(words in text for text in found[failing]), found


def test_metrics_that_do_not_follow_are_refused_when_it_is_built(copy, tmp_path):
    one_metric_of_all(copy)
    with pytest.raises(ReproodError, match=r"toy/\w+/0: top1_error of - on test is stated as .* again"):
        build_compact(copy, tmp_path / "small", tmp_path / "small-full.zip")
    assert not (tmp_path / "small").exists()


def test_paths_of_a_hostile_table_are_not_followed(slim, tmp_path):
    path = slim / "results/metrics.parquet"
    table = pd.read_parquet(path)
    table["method"] = "a/../../../../../../escaped"
    table.to_parquet(path)
    with expanded(slim) as whole:
        assert not list(whole.parent.glob("escaped*"))
    write_sums(slim)
    assert METRICS in wrong(slim)


def test_releases_of_both_forms_are_compared(release, made):
    done = CliRunner().invoke(app, ["release", "compare", str(release), str(made[0])])
    assert f"{len(read_verdicts(Paths(release).verdicts))} claims are equal, 0 differ." in done.stdout
    assert read_archive(release) is None


@pytest.mark.parametrize("metric", ["auroc", "rms_calibration_error"])
def test_a_benchmark_that_evaluates_calibration(tmp_path, metric):
    """Its metrics need logits, which are stored where a claim is about calibration, and are not missed elsewhere."""
    record = fabricate.SUITE["benchmarks"]["toy"]
    evaluations = ["classification", "detection", "calibration"]
    suite = fabricate.results(tmp_path, benchmarks={"toy": {**record, "evaluations": evaluations}})
    run, benchmark = tmp_path / "runs/toy/erm/0", suite.benchmarks["toy"]
    evaluate_outputs(run, benchmark, "toy", "erm", 0)
    stated = read_metrics(run / "metrics.csv")
    assert {"msp", "msp_scaled"} <= set(stated.query("metric == 'rms_calibration_error'")["score"])
    use = Use(scores={"msp"}, metrics={metric})
    write_run(run, tmp_path / "compact.zip", use, benchmark)
    restore_run(tmp_path / "compact.zip", tmp_path / "restored")
    found = stored_metrics(tmp_path / "restored", benchmark)
    assert ("rms_calibration_error" in set(found["metric"])) == (metric != "auroc")
    assert compare_metrics(found, stated, tmp_path / "restored") == []
    changed = stated.assign(value=stated["value"].where(stated["metric"] != metric, stated["value"] + 0.01))
    assert compare_metrics(found, changed, tmp_path / "restored")


def test_the_macro_f_follows_from_ranks(tmp_path):
    """The acceptance threshold lies between two stored values."""
    record = fabricate.SUITE["benchmarks"]["toy"]
    evaluations = ["classification", "detection", "open_set"]
    suite = fabricate.results(tmp_path, benchmarks={"toy": {**record, "evaluations": evaluations}})
    run, benchmark = tmp_path / "runs/toy/erm/0", suite.benchmarks["toy"]
    evaluate_outputs(run, benchmark, "toy", "erm", 0)
    stated = read_metrics(run / "metrics.csv")
    write_run(run, tmp_path / "compact.zip", Use(scores={"msp"}, metrics={"macro_f"}), benchmark)
    restore_run(tmp_path / "compact.zip", tmp_path / "restored")
    found = stored_metrics(tmp_path / "restored", benchmark)
    assert "macro_f" in set(found["metric"])
    assert compare_metrics(found, stated, tmp_path / "restored") == []
    scores = [load_predictions(one).table["score_msp"] for one in (run, tmp_path / "restored")]
    assert not np.array_equal(*scores)


def test_scores_of_ensembles_are_stored_unchanged(tmp_path):
    suite = fabricate.results(tmp_path)
    run = tmp_path / "runs/toy/erm/0"
    evaluate_outputs(run, suite.benchmarks["toy"], "toy", "erm", 0)
    for exact in (set(), {"msp"}):
        out = tmp_path / f"compact{len(exact)}.zip"
        write_run(run, out, Use(scores={"msp"}, exact=exact, metrics={"auroc"}), suite.benchmarks["toy"])
        restore_run(out, tmp_path / "restored")
        same = np.array_equal(
            load_predictions(tmp_path / "restored").table["score_msp"], load_predictions(run).table["score_msp"]
        )
        assert same == bool(exact)
