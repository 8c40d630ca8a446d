"""What a study reads outside of the workflow is part of its parameters."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_photographs import save_coco, save_voc

from reprood.data.voc import Voc
from reprood.pipeline.outside import outside_of
from reprood.pipeline.plan import Plan

ROOT = Path(__file__).resolve().parents[2]


def test_a_changed_folder_is_noticed(tmp_path):
    """Annotations by their contents, images by names and sizes; what no set names does not count."""
    kept, work = tmp_path / "kept", tmp_path / "work"
    voc = {"train": [[2007, "trainval"]]}
    save_voc(work / "data/VOCdevkit")
    root = work / "data/VOCdevkit/VOC2007"

    def content() -> dict:
        return outside_of({"voc": voc}, work, kept)["content"]

    first = content()
    assert set(first) == {f"voc/VOC2007/{name}" for name in ("JPEGImages", "Annotations")} | {
        f"voc/VOC2007/ImageSets/Main/{name}.txt" for name in ("trainval", "test")
    }
    (root / "ImageSets/Main/dog_test.txt").unlink()
    assert content() == first
    annotation = root / "Annotations/000001.xml"
    annotation.write_text(annotation.read_text().replace("dog", "cat"))  # of the same length
    assert {name for name, value in content().items() if value != first[name]} == {"voc/VOC2007/Annotations"}
    second = content()
    shutil.copy(root / "JPEGImages/000001.jpg", root / "JPEGImages/000000a.jpg")
    assert {name for name, value in content().items() if value != second[name]} == {"voc/VOC2007/JPEGImages"}


def test_sets_of_captions(tmp_path):
    save_coco(tmp_path / "coco")
    found = outside_of({"coco": {"folder": "coco", "train": "train", "test": "val"}}, tmp_path, tmp_path / "kept")
    names = ("train", "val", "annotations/captions_train.json", "annotations/captions_val.json")
    assert set(found["content"]) == {f"coco/{name}" for name in names}


@pytest.mark.parametrize("settings", [{}, {"voc": None, "meteor": False}])
def test_a_study_that_reads_nothing_else_has_no_further_parameter(tmp_path, settings):
    assert outside_of(settings, tmp_path, tmp_path) == {}


def test_missing_folders_and_wrong_settings_are_left_to_the_job(tmp_path):
    for voc in ({}, Voc().model_dump(), {"folder": 3}):
        assert outside_of({"voc": voc}, tmp_path, tmp_path) == {"content": {}}


@pytest.mark.slow
def test_parameters_of_studies(tmp_path, monkeypatch):
    """Installing Java changes those of the study that asks for METEOR, and other studies' have no such key."""
    monkeypatch.setattr("reprood.evaluate.captions.meteor_is_available", lambda: False)
    plan = Plan({"suite": "paper"}, ROOT, work=tmp_path)
    records = {name: json.loads(plan.study_parameters(name)) for name in ("captioning", "detection_ssd", "biamat_toy")}
    assert records["captioning"]["meteor_is_available"] is False
    assert [name for name, record in records.items() if "content" in record] == ["captioning", "detection_ssd"]
    assert "meteor_is_available" not in records["detection_ssd"]
