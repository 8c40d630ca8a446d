"""The weights of a release: packed with cards, fetched from a server, checked against the release."""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from server import serving

from reprood.config.folders import Folders
from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.publish.checkpoints import CHECKPOINTS, fetch, pack

RUN = "runs/toy/erm/0"
SUITE = SimpleNamespace(
    jobs=lambda: [("toy", "erm", 0)], folders=Folders(evaluated="results/tiny/runs"),
    benchmarks={"toy": SimpleNamespace(title="Toy images")},
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path) -> Path:
    run = tmp_path / RUN
    run.mkdir(parents=True)
    save_file({"w": torch.arange(4.0)}, run / "model.safetensors")
    model = {
        "benchmark": "toy", "method": "erm", "seed": 0, "use": "erm", "backbone": {"name": "wrn"}, "parameters": 4,
        "channels": 1, "size": 28, "mean": [0.5], "std": [0.25], "class_names": ["cat", "dog"], "classes": 2,
    }  # fmt: skip
    (run / "model.json").write_text(json.dumps(model))
    record = {
        "model": sha256_file(run / "model.safetensors"), "phases": [{"seconds": 3.0}], "device": "cpu",
        "precision": "fp32",
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(record))
    evaluated = tmp_path / "results/tiny" / RUN
    evaluated.mkdir(parents=True)
    (evaluated / "metrics.csv").write_text(
        "split,score,metric,value\ntest,,top1_error,12.5\nmean_natural,msp,auroc,0.75\n"
    )
    return tmp_path


@pytest.fixture
def packed(checkout):
    with serving() as site:
        archive = checkout / "weights.zip"
        record = pack("tiny", SUITE, checkout, archive, url=f"{site.url}/weights.zip", release="r-1")
        site.files["/weights.zip"] = archive.read_bytes()
        release = checkout / "release"
        (release / RUN).mkdir(parents=True)
        shutil.copy(checkout / RUN / "run.json", release / RUN)
        (release / CHECKPOINTS).write_text(record.model_dump_json())
        yield checkout, release, site


def test_weights_arrive_with_a_model_card(packed):
    checkout, release, _ = packed
    said = []
    assert fetch(release, checkout / "into", checkout / "downloads", say=said.append) == 1
    assert "weights.zip" in said[0]
    fetched = checkout / "into" / RUN
    assert (fetched / "model.safetensors").read_bytes() == (checkout / RUN / "model.safetensors").read_bytes()
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard((fetched / "README.md").read_text())
    values = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert values == {"top1_error": 12.5, "auroc": 0.75}
    assert "Classes: cat, dog." in card.text


def test_an_interrupted_download_goes_on(packed):
    checkout, release, site = packed
    (checkout / "downloads").mkdir()
    part = checkout / "downloads" / f"{json.loads((release / CHECKPOINTS).read_text())['sha256']}.part"
    part.write_bytes(site.files["/weights.zip"][:100])
    assert fetch(release, checkout / "into", checkout / "downloads", say=str) == 1
    assert site.ranges == ["bytes=100-"]
    assert fetch(release, checkout / "again", checkout / "downloads", say=str) == 1
    assert site.requests["/weights.zip"] == 1, "the archive is kept"


def test_other_bytes_are_refused(packed):
    checkout, release, site = packed
    site.files["/weights.zip"] = site.files["/weights.zip"][:-1] + b"x"
    with pytest.raises(ReproodError, match="has the SHA-256 .*, and the release states"):
        fetch(release, checkout / "into", checkout / "downloads", say=str)
    assert not (checkout / "into").exists()
    assert not list((checkout / "downloads").glob("*.part"))


def test_weights_of_another_training_are_refused(packed):
    checkout, release, _ = packed
    record = json.loads((release / RUN / "run.json").read_text())
    (release / RUN / "run.json").write_text(json.dumps({**record, "model": "0" * 64}))
    with pytest.raises(ReproodError, match=r"erm/0/model.safetensors has another SHA-256 than .*run.json states"):
        fetch(release, checkout / "into", checkout / "downloads", say=str)
    assert not list((checkout / "into").rglob("model.safetensors"))


def test_a_release_without_weights_and_runs_without_weights_are_named(checkout):
    with pytest.raises(ReproodError, match="names no archive of weights; train its runs"):
        fetch(checkout, checkout / "into", checkout, say=str)
    (checkout / RUN / "model.safetensors").unlink()
    with pytest.raises(ReproodError, match="model.safetensors is not there .*; build the release without"):
        pack("tiny", SUITE, checkout, checkout / "a.zip", url="http://a/b.zip", release="r")


def test_an_archive_with_other_files_is_refused(packed):
    checkout, release, site = packed
    with zipfile.ZipFile(checkout / "other.zip", "w") as out:
        out.writestr("runs/../../../outside/model.json", "{}")
    site.files["/weights.zip"] = (checkout / "other.zip").read_bytes()
    record = json.loads((release / CHECKPOINTS).read_text())
    changed = {"sha256": sha256_file(checkout / "other.zip"), "size": len(site.files["/weights.zip"])}
    (release / CHECKPOINTS).write_text(json.dumps({**record, **changed}))
    with pytest.raises(ReproodError, match="is not expected in an archive of weights"):
        fetch(release, checkout / "into", checkout / "downloads", say=str)
