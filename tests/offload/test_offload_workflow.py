"""From the plan to another machine and back: packed here, done in a bare folder, merged, and nothing runs twice."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from reprood.core.files import read_json, sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]

TRAIN, PREDICT = "smoke_letters/erm/0", "smoke_letters/cutmix/1"  # to be trained and predicted; only to be predicted


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
    """The other machine's folder after two visits: the bundle, the output folder and what each visit delivered."""
    command = ("reprood", "offload", "pack", "--suite", "smoke", "--carry", "none", "--out", "bundle.tar")
    told = home.run(*command, "--only", "smoke_letters", "--max-size", "20").stdout
    assert "1 trainings and 2 predictions" in told
    folder = home.folder.parent / "there"
    with tarfile.open(home.folder / "bundle.tar") as archive:
        archive.extractall(folder, filter="data")
    assert sum(path.stat().st_size for path in (folder / "bundle").rglob("*") if path.is_file()) < 3e6
    visit(folder, "--only", "erm", "--deliver", "one", "--part-size", "0.2", "--image", "a test")
    visit(folder, "--deliver", "two")
    return folder


def visit(folder: Path, *arguments: str, status: int = 0) -> str:
    """Bare: no project on the path, nothing but the bundle."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "REPROOD_WARM")}
    command = [sys.executable, "bundle/run.py", "--out", "out", "--device", "cpu", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_there_and_back(built, home, there) -> None:
    assert visit(there, "--list").count("done") == 3
    assert len(list((there / "one").iterdir())) > 1
    told = home.run("reprood", "offload", "merge", "--suite", "smoke", str(there / "one"), str(there / "two")).stdout
    assert "1 trainings and 2 predictions were put in place" in told
    plan = home.plan()
    assert "train" not in plan
    assert "predict" not in plan
    assert plan["evaluate"] == 1  # the other run's predictions have the bytes that its metrics were made of

    # the same versions and processor: the same bits as at home, and a record of where they were made
    for name in ("model.safetensors", "model.json", "history.csv", "predictions.parquet"):
        path = Path("runs") / TRAIN / name
        assert sha256_file(home.folder / path) == sha256_file(built.folder / path), name
    path = Path("runs") / PREDICT / "predictions.parquet"
    assert sha256_file(home.folder / path) == sha256_file(built.folder / path)
    record = read_json(home.folder / "runs" / TRAIN / "run.json")
    assert record["elsewhere"][0]["image"] == "a test"
    assert record["elsewhere"][0]["torch"].startswith(record["versions"]["torch"])
    log = (home.folder / "logs" / "train" / f"{TRAIN}.log").read_text()
    assert "made elsewhere, taken over" in log
    assert "epoch 2/2" in log

    home.snakemake(f"runs/{TRAIN}/metrics.csv")
    with (
        open(home.folder / "runs" / TRAIN / "metrics.csv") as own,
        open(built.folder / "runs" / TRAIN / "metrics.csv") as other,
    ):
        assert list(csv.reader(own)) == list(csv.reader(other))
    told = home.run("reprood", "offload", "merge", "--suite", "smoke", str(there / "out")).stdout
    assert "3 were done here already" in told


def refused(home, folder: Path) -> str:
    done = home.run("reprood", "offload", "merge", "--suite", "smoke", str(folder), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_does_not_belong_here_is_refused(home, there, tmp_path) -> None:
    out = tmp_path / "out"
    shutil.copytree(there / "out", out)
    path = out / "records" / "train.smoke_letters.erm.0.json"
    record = json.loads(path.read_text())

    (out / "runs" / TRAIN / "history.csv").write_text("phase\n")
    assert f"train {TRAIN}: runs/{TRAIN}/history.csv is not the file that was made there" in refused(home, out)

    record["job"]["settings"] = record["job"]["settings"].replace('"lr":0.05', '"lr":0.04')
    path.write_text(json.dumps(record))
    assert "the record was changed" in refused(home, out)

    path.unlink()
    foreign = path.with_name("train.smoke_letters.erm.0.json")
    record["job"]["method"] = "other"
    from reprood.offload.jobs import job_of

    record["done"]["identity"] = job_of(record["job"]).identity
    foreign.write_text(json.dumps(record))
    assert "suite 'smoke' has no such run here" in refused(home, out)
    assert (home.folder / "runs" / PREDICT / "model.json").exists()
    assert "there are no results" in refused(home, _empty(tmp_path))

    # a changed source file is no longer the bundle
    with open(there / "bundle" / "src" / "reprood" / "files.py", "a") as stream:
        stream.write("\n")
    assert "is not the file that was packed" in visit(there, status=1)


def _empty(folder: Path) -> Path:
    (folder / "empty" / "records").mkdir(parents=True)
    return folder / "empty"


def test_stale_results_are_refused(home, there) -> None:
    home.edit(
        "src/reprood/methods/erm.py",
        "from reprood.engine.fit import fit",
        "from reprood.engine.fit import fit\n\nEDITED = 1",
    )
    try:
        told = refused(home, there / "out")
    finally:
        home.edit("src/reprood/methods/erm.py", "\n\nEDITED = 1", "")
    assert f"train {TRAIN}: its code has changed (fingerprint" in told
    assert "nothing was merged" in told
