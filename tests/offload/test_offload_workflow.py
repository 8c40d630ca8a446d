"""From the plan to another machine and back: packed here, run in a bare folder, merged, and nothing runs twice."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from reprood.core.files import read_json, sha256_file
from reprood.offload.jobs import job_from

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]

TRAIN, PREDICT = "smoke_letters/erm/0", "smoke_letters/cutmix/1"  # to be trained and predicted; only to be predicted
PACK = ("reprood", "offload", "pack", "--suite", "smoke", "--only", "smoke_letters")
MERGE = ("reprood", "offload", "merge", "--suite", "smoke")


@pytest.fixture(scope="module")
def home(built, tmp_path_factory):
    """The finished smoke suite without one run, and without the predictions of another one."""
    folder = tmp_path_factory.mktemp("offload") / "home"
    shutil.copytree(built.folder, folder, symlinks=True)
    shutil.rmtree(folder / "runs" / TRAIN)
    (folder / "runs" / PREDICT / "predictions.parquet").unlink()
    return built.at(folder)


@pytest.fixture(scope="module")
def there(home):
    """The other machine's folder after two visits: the bundle and the output folder."""
    text = home.run(*PACK).stdout
    assert "1 trainings and 2 predictions" in text
    folder = home.folder.parent / "there"
    with tarfile.open(home.folder / "bundle.tar") as archive:
        archive.extractall(folder, filter="data")
    visit(folder, "--only", "erm")
    visit(folder)
    return folder


def visit(folder: Path, *arguments: str, status: int = 0) -> str:
    """Bare: no project on the path, nothing but the bundle."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "bundle/run.py", "--out", "out", "--device", "cpu", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_the_bundle_has_the_commands_of_the_workflow(home, there):
    """A rule that gets another option is no longer what a bundle runs: both must change."""
    jobs = [job_from(record) for record in read_json(there / "bundle" / "bundle.json")["jobs"]]
    done = home.run("snakemake", "-n", "-p", *(path for job in jobs for path in job.outputs), "--config", "suite=smoke")
    lines = re.findall(r"reprood ((?:train|predict) .*) >", done.stdout + done.stderr)
    planned = {frozenset(shlex.split(line)) for line in lines}
    assert {frozenset(job.command) for job in jobs} == planned


def test_there_and_back(built, home, there):
    assert visit(there, "--list").count("done") == 3
    text = home.run(*MERGE, str(there / "out")).stdout
    assert "1 trainings and 2 predictions were put in place" in text
    plan = home.plan()
    assert "train" not in plan
    assert "predict" not in plan
    assert "evaluate_smoke_letters" not in plan  # the predictions are the same as before

    # the same versions and processor: the same bits as at home, and a record of where they were made
    names = [f"{TRAIN}/{name}" for name in ("model.safetensors", "model.json", "history.csv", "predictions.parquet")]
    for name in [*names, f"{PREDICT}/predictions.parquet"]:
        assert sha256_file(home.folder / "runs" / name) == sha256_file(built.folder / "runs" / name), name
    record = read_json(home.folder / "runs" / TRAIN / "run.json")
    assert record["elsewhere"][0]["machine"]["processor"] == record["machine"]["processor"]
    assert "epoch 2/2" in (home.folder / "logs" / "train" / f"{TRAIN}.log").read_text()
    home.run("reprood", "results", "check")

    path = f"results/smoke/runs/{TRAIN}/metrics.csv"
    home.snakemake(path)
    metrics = [(folder / path).read_bytes() for folder in (home.folder, built.folder)]
    assert metrics[0] == metrics[1]
    assert "3 results exist here already" in home.run(*MERGE, str(there / "out")).stdout
    assert home.run(*PACK, check=False).stderr.startswith("error: Every selected run of suite 'smoke' is trained")


def test_an_edit_after_the_merge_runs_the_job_again(home, there):
    """Snakemake's record of merged files holds the code that they were made with."""
    files = [f"runs/{TRAIN}/{name}" for name in ("model.safetensors", "predictions.parquet")]
    home.run(*MERGE, str(there / "out"))
    assert home.plan(*files) == {}
    home.edit("src/reprood/methods/erm.py", "\n\n\n", "\n\n\nEDITED = 1\n\n\n")
    try:
        assert home.plan(*files) == {"train": 1, "predict": 1}
        text = rejected(home, there / "out")
    finally:
        home.edit("src/reprood/methods/erm.py", "\n\n\nEDITED = 1\n\n\n", "\n\n\n")
    assert f"train {TRAIN}: its code has changed (fingerprint" in text
    assert "nothing was changed" in text


def rejected(home, folder: Path) -> str:
    done = home.run(*MERGE, str(folder), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_does_not_belong_here_is_rejected(home, there, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(there / "out", out, symlinks=True)
    path = out / "records" / "train.smoke_letters.erm.0.json"
    record = json.loads(path.read_text())

    (out / "runs" / TRAIN / "history.csv").write_text("phase\n")
    assert "history.csv is not the file that was made (checksum)" in rejected(home, out)
    text = home.run(*MERGE, str(out), "--skip-rejected").stdout
    assert "0 trainings and 0 predictions were put in place\n2 results exist here already" in text
    (out / "runs" / TRAIN / "history.csv").unlink()
    assert "history.csv is missing" in rejected(home, out)

    record["job"]["settings"] = record["job"]["settings"].replace('"lr":0.05', '"lr":0.04')
    path.write_text(json.dumps(record))
    assert "was changed: its job is not the one of its result" in rejected(home, out)
    record["job"]["method"] = "other"
    record["result"]["identity"] = job_from(record["job"]).identity
    path.write_text(json.dumps(record))
    assert "train smoke_letters/other/0: suite 'smoke' has no such run" in rejected(home, out)

    shutil.rmtree(out / "records")
    (out / "records").mkdir()
    assert "no results in records/" in rejected(home, out)

    # a changed source file is no longer the bundle
    with open(there / "bundle" / "src" / "reprood" / "core" / "files.py", "a") as stream:
        stream.write("\n")
    assert "is not the file that was packed" in visit(there, status=1)


def test_predictions_of_other_weights_are_left_out(home, there, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(there / "out", out, symlinks=True)
    (out / "records" / "train.smoke_letters.erm.0.json").unlink()
    kept = tmp_path / "kept"
    shutil.copytree(home.folder / "runs" / TRAIN, kept)
    try:
        (home.folder / "runs" / TRAIN / "predictions.parquet").unlink()
        path = out / "records" / "predict.smoke_letters.erm.0.json"
        record = json.loads(path.read_text())
        record["result"]["model"] = "0" * 64
        path.write_text(json.dumps(record))
        assert f"predict {TRAIN}: made with other weights than those here" in home.run(*MERGE, str(out)).stdout
        assert not (home.folder / "runs" / TRAIN / "predictions.parquet").exists()
        shutil.rmtree(home.folder / "runs" / TRAIN)
        assert f"predict {TRAIN}: its training is neither here" in home.run(*MERGE, str(out)).stdout
    finally:
        shutil.rmtree(home.folder / "runs" / TRAIN, ignore_errors=True)
        shutil.copytree(kept, home.folder / "runs" / TRAIN)


def test_stopped_and_failed_jobs_are_named(home, there, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(there / "out", out, symlinks=True)
    for kind, change in (("train", {"status": "stopped"}), ("predict", {"status": "failed", "reason": "no memory"})):
        path = out / "records" / f"{kind}.smoke_letters.erm.0.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "result": {**record["result"], **change}}))
    text = home.run(*MERGE, str(out)).stdout
    assert f"note: train {TRAIN} stopped\n" in text
    assert f"note: predict {TRAIN} failed: no memory\n" in text
