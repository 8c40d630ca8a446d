"""`reprood evidence` on a tiny suite: looks, kills, and a start from a release."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from checkout import Checkout

from reprood.core.files import read_json
from reprood.publish.build import build_compact

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]

VERDICTS = "results/tiny/verdicts.csv"
SUITE = {
    "title": "Tiny",
    "scale": "reduced",
    "seeds": [0, 1, 2],
    "precision": "fp32",
    "evidence": {"looks": [3, 4], "weights": [0.3, 0.7], "futility": 0.999},
    "settings": {
        "backbone": {"name": "wrn", "depth": 10, "width": 1, "stem_stride": 2},
        "training": {"epochs": 1, "batch_size": 32, "lr": 0.05, "weight_decay": 0.0005, "augment": "none"},
    },
    "benchmarks": {
        "tiny_letters": {
            "title": "Six letters against other letters",
            "preparation": {"size": 28, "channels": 1},
            "train": {"dataset": "letters", "split": "train", "classes": [0, 1, 2, 3, 4, 5], "limit": 120},
            "validation": {
                "dataset": "letters", "split": "train", "classes": [0, 1, 2, 3, 4, 5], "skip": 240, "limit": 40
            },
            "test": {"dataset": "letters", "split": "test", "classes": [0, 1, 2, 3, 4, 5], "limit": 60},
            "ood": {
                "others": {"dataset": "letters", "split": "test", "classes": [6, 7, 8, 9], "limit": 40, "shift": "near"}
            },
            "gate": {"accuracy": 0.01, "auroc": [0, 1]},
            "detectors": {"msp": {}, "knn": {"k": 10}},
        }
    },
    "methods": {
        "erm": {"use": "erm", "label": "Cross-entropy"},
        "cutmix": {"use": "cutmix", "label": "CutMix"},
    },
    "runs": [{"benchmark": "tiny_letters", "methods": ["erm", "cutmix"]}],
    "studies": {
        "cnc_toy": {
            "use": "cnc_toy",
            "title": "Half moons",
            "seeds": [0, 1],
            "set": {"points": 60, "hidden": [8, 8], "steps": 60, "grid": 24},
        }
    },
}  # fmt: skip


def new_checkout(folder, looks=(3, 4)) -> Checkout:
    checkout = Checkout(folder)
    evidence = {**SUITE["evidence"], "looks": list(looks), "weights": [1 / len(looks)] * len(looks)}
    path = folder / "config" / "suites" / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, "evidence": evidence}, sort_keys=False))
    return checkout


def evidence(checkout, *options: str, hours: str = "1", **more) -> subprocess.CompletedProcess[str]:
    command = ("reprood", "evidence", "--suite", "tiny", "--hours", hours, "--cores", "2", "--no-report")
    return checkout.run(*command, *options, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout in which both looks were taken without an interruption."""
    checkout = new_checkout(tmp_path_factory.mktemp("evidence") / "finished")
    done = evidence(checkout)
    return checkout, done.stdout


def trained(checkout) -> set[str]:
    return {path.parent.name for path in checkout.folder.glob("runs/tiny_letters/erm/*/predictions.parquet")}


def test_looks_are_taken_until_no_claim_is_open(finished):
    checkout, text = finished
    assert "6 of 6 planned runs are missing" in text
    assert "cutmix/ood_auroc (look 2" in text
    assert "2 of 8 planned runs are missing" in text
    assert "No claim is open." in text
    assert read_json(checkout.folder / "results/tiny/replicates.json") == {"tiny_letters": {"erm": 4, "cutmix": 4}}
    assert trained(checkout) == {"0", "1", "2", "3"}
    table = pd.read_csv(checkout.folder / VERDICTS)
    assert table.query("claim == 'ood_auroc' and paper == 'cutmix'")["n_seeds"].tolist() == [4]
    assert checkout.plan(VERDICTS, suite="tiny") == {}


def test_without_hours_the_plan_is_shown_and_nothing_runs(finished, tmp_path):
    checkout, _ = finished
    before = {path: path.stat().st_mtime_ns for path in checkout.folder.glob("results/tiny/*")}
    text = evidence(checkout, hours="0").stdout
    assert "CPU-s" in text
    assert {path: path.stat().st_mtime_ns for path in checkout.folder.glob("results/tiny/*")} == before
    other = new_checkout(tmp_path / "other")
    text = evidence(other, hours="0").stdout
    assert "6 of 6 planned runs are missing" in text
    assert "Nothing is judged yet" in text


@contextmanager
def started(checkout) -> Iterator["subprocess.Popen[str]"]:
    """A call in the background; it does not outlive the block."""
    command = ["reprood", "evidence", "--suite", "tiny", "--hours", "1", "--cores", "2", "--no-report"]
    with subprocess.Popen(
        command, cwd=checkout.folder, env=checkout.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def wait_for(condition, process, seconds: float = 900.0) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def test_stopped_and_killed_it_goes_on_to_the_same_verdicts(finished, tmp_path):
    checkout = new_checkout(tmp_path / "killed")
    lock = checkout.folder / "state" / "evidence.lock"
    with started(checkout) as process:
        wait_for(lambda: list(checkout.folder.glob("logs/train/*/*/*.log")), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert said.startswith("error: Interrupted: ")
    assert said.count("\n") == 1
    assert not list((checkout.folder / ".snakemake").glob("locks/*"))

    before = len(trained(checkout))
    with started(checkout) as process:
        wait_for(lambda: lock.read_text() and len(trained(checkout)) > before, process)
        process.kill()
        process.wait()
    os.killpg(int(lock.read_text()), signal.SIGKILL)
    time.sleep(1)

    evidence(checkout)
    assert (checkout.folder / VERDICTS).read_bytes() == (finished[0].folder / VERDICTS).read_bytes()


def test_no_time_runs_nothing_more(finished):
    done = evidence(finished[0], hours="0.000001")
    assert "The time is over" in done.stdout


def test_a_suite_without_looks_is_refused(finished):
    done = finished[0].run("reprood", "evidence", "--suite", "smoke", "--hours", "1", check=False)
    assert done.returncode == 1
    assert "The suite 'smoke' has no `evidence:` with looks" in done.stderr


@pytest.fixture(scope="module")
def release(finished):
    """The release of the finished checkout."""
    checkout, _ = finished
    checkout.snakemake("publish", suite="tiny")
    return checkout.folder / "published" / "draft"


@pytest.fixture(scope="module")
def continued(release, tmp_path_factory):
    """An empty checkout that took over the compact form of the release, with one more look."""
    checkout = new_checkout(tmp_path_factory.mktemp("continued") / "checkout", looks=(3, 4, 5))
    compact = build_compact(release, checkout.folder / "compact", checkout.folder / "full.zip")
    archive = shutil.make_archive(str(checkout.folder / "release"), "zip", compact)
    done = evidence(checkout, "--from", archive, hours="0")
    return checkout, done.stdout


def test_runs_of_a_release_are_not_run_again(continued):
    checkout, text = continued
    assert "8 of 8 runs of the release that this suite plans are the same here." in text
    assert "8 runs and 1 studies were taken over." in text
    assert not list(checkout.folder.glob("runs/*/*/*/*.safetensors"))
    plan = checkout.plan(VERDICTS, suite="tiny")
    assert set(plan) == {"evaluate_tiny_letters", "suite_record", "audit"}
    logits = [
        "logits" in pq.read_schema(checkout.folder / f"runs/tiny_letters/{method}/0/predictions.parquet").names
        for method in ("erm", "cutmix")
    ]
    assert logits == [False, False]  # no main claim needs them


def test_an_edit_runs_them_again(continued):
    checkout, _ = continued
    checkout.edit("src/reprood/methods/cutmix.py", "\n\n\n", "\n\n\nEDITED = 1\n\n\n")
    try:
        assert checkout.plan(VERDICTS, suite="tiny")["train"] == 4
    finally:
        checkout.edit("src/reprood/methods/cutmix.py", "\n\n\nEDITED = 1\n\n\n", "\n\n\n")


def test_a_changed_detector_of_features_needs_them_again(continued):
    checkout, _ = continued
    checkout.edit("src/reprood/detectors/knn.py", "\n\n\n", "\n\n\nEDITED = 1\n\n\n")
    try:
        assert checkout.plan(VERDICTS, suite="tiny")["train"] == 8
    finally:
        checkout.edit("src/reprood/detectors/knn.py", "\n\n\nEDITED = 1\n\n\n", "\n\n\n")


def evaluated(checkout, seed: int) -> Path:
    return checkout.folder / f"results/tiny/runs/tiny_letters/erm/{seed}"


def metrics(checkout, seed: int) -> dict[str, list[float]]:
    table = pd.read_csv(evaluated(checkout, seed) / "metrics.csv")
    return {str(score): rows["value"].tolist() for score, rows in table.groupby("score")}


def test_only_missing_replicates_are_planned_and_verdicts_are_those_of_one_checkout(continued, finished):
    checkout, _ = continued
    text = evidence(checkout).stdout
    assert "2 of 10 planned runs are missing" in text
    assert {path.parent.name for path in checkout.folder.glob("logs/train/*/*/*.log")} == {"erm", "cutmix"}
    logs = checkout.folder.glob("logs/train/*/*/*.log")
    assert {path.stem for path in logs if "epoch" in path.read_text()} == {"4"}

    kept, new = (metrics(checkout, seed) for seed in (0, 4))
    assert "score_knn" not in pq.read_schema(evaluated(checkout, 0) / "scores.parquet").names
    assert kept["knn"] == metrics(finished[0], 0)["knn"]  # of a score that is not stored
    assert set(kept) == set(new)

    stayed = finished[0].at(finished[0].folder)
    shutil.copy(checkout.folder / "config/suites/tiny.yaml", stayed.folder / "config/suites/tiny.yaml")
    evidence(stayed)
    here, there = (pd.read_csv(one.folder / VERDICTS) for one in (checkout, stayed))
    main = ~here["exploratory"]
    pd.testing.assert_frame_equal(here[main], there[main])
    without = here["reason"].str.contains(", the runs stored no logits: ")
    assert set(here.loc[without, "metric"]) == {"ece15"}


def test_what_differs_is_named(release, tmp_path):
    checkout = new_checkout(tmp_path / "other")
    path = checkout.folder / "config" / "suites" / "tiny.yaml"
    path.write_text(path.read_text().replace("label: CutMix", "label: CutMix\n    set: {alpha: 0.5}"))
    text = evidence(checkout, "--from", str(release), hours="0").stdout
    assert "4 of 8 runs" in text
    assert "4 are run again: train: its settings have changed (for example tiny_letters/cutmix/0)" in text
    planned = read_json(checkout.folder / "results/tiny/replicates.json")
    assert planned == {"tiny_letters": {"erm": 4}}


def test_a_changed_release_is_refused(release, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(release, folder)
    with open(folder / "runs/tiny_letters/erm/0/predictions.parquet", "ab") as stream:
        stream.write(b"x")
    checkout = new_checkout(tmp_path / "checkout")
    done = evidence(checkout, "--from", str(folder), hours="0", check=False)
    assert "predictions.parquet was changed" in done.stderr
    assert not (checkout.folder / "results").exists()
