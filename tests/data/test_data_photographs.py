"""Pascal VOC and COCO captions on tiny copies, and on damaged ones."""

import json
import re
from hashlib import sha256

import numpy as np
import pytest
from tiny_photographs import coco_record, save_coco, save_jpeg, save_voc, voc_annotation, voc_object

from reprood.core.errors import ReproodError
from reprood.data.annotations import boxes_of
from reprood.data.coco_captions import read_coco_captions
from reprood.data.tally import Tally
from reprood.data.voc import CLASSES, read_annotation, read_voc

DOG = CLASSES.index("dog")


def test_voc(tmp_path):
    data = read_voc(save_voc(tmp_path), [(2007, "trainval"), (2007, "test")])
    assert len(data) == 8
    image = data.read(5)
    assert image.shape == (24, 32, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(data.boxes[0], [[2, 3, 20, 18]])  # from 0, upper ends exclusive
    assert list(data.labels[1]) == [DOG, CLASSES.index("car")]
    assert list(data.difficult[1]) == [False, True]
    fewer = read_voc(tmp_path, [(2007, "test")], limit=3)
    assert len(fewer) == 3
    (note,) = fewer.notes
    assert re.fullmatch(r"Pascal VOC 2007 test: SHA-256 of lists and annotations [0-9a-f]{64}\.", note)
    (tmp_path / "VOC2007/Annotations/000103.xml").write_text(voc_annotation())
    assert read_voc(tmp_path, [(2007, "test")], limit=3).notes == (note,)
    (tmp_path / "VOC2007/Annotations/000102.xml").write_text(voc_annotation())
    assert read_voc(tmp_path, [(2007, "test")], limit=3).notes != (note,)
    assert read_voc(tmp_path, [(2007, "test")], channels=1).read(0).shape == (24, 32, 1)


def test_a_box_that_begins_one_pixel_outside_is_clipped_and_counted(tmp_path):
    save_voc(tmp_path)
    annotation = tmp_path / "VOC2007/Annotations/000000.xml"
    annotation.write_text(voc_annotation(voc_object("dog", (0, 1, 33, 24))))
    data = read_voc(tmp_path, [(2007, "trainval")])
    np.testing.assert_array_equal(data.boxes[0], [[0, 0, 32, 24]])
    assert data.notes[1:] == ("1 boxes that began one pixel outside of their image were clipped to it.",)


def test_an_image_without_objects(tmp_path):
    (tmp_path / "a.xml").write_text(voc_annotation())
    found = read_annotation(tmp_path / "a.xml")
    assert found.boxes.shape == (0, 4)
    assert len(found.labels) == len(found.difficult) == 0


def imagenet_boxes(path):
    return boxes_of(path, 100, 100, Tally())


def test_ends_follow_the_convention_of_each_data_set(tmp_path):
    """VOC counts pixels from 1 and includes both ends; ImageNet's ends are used as they stand."""
    path = tmp_path / "a.xml"
    path.write_text(voc_annotation(voc_object("dog", (1, 1, 100, 100)), width=100, height=100))
    assert read_annotation(path).boxes.tolist() == [[0, 0, 100, 100]]
    assert imagenet_boxes(path) == [[1, 1, 100, 100]]


@pytest.mark.parametrize("read", [read_annotation, imagenet_boxes])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"<annotation>", "is not valid XML"),
        (b"<annotation>\xff</annotation>", "is not UTF-8 text"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x>'.encode("utf-16"), "is not UTF-8 text"),
        (b'<!DOCTYPE x [<!ENTITY a "dog">]><annotation/>', "declares entities, which are never expanded"),
        (b"<annotation>" + b" " * (1 << 20), "an annotation has at most"),
        (voc_annotation(voc_object("dog", (1, 1, 2))).encode(), "bndbox/ymax is ''; expected a number"),
        (voc_annotation(voc_object("dog", (1, 1, 2, float("inf")))).encode(), "bndbox/ymax is 'inf'"),
        (voc_annotation(width="x").encode(), "size/width is 'x'; expected a number"),
    ],
)
def test_both_readers_refuse_the_same_files(tmp_path, read, content, words):
    path = tmp_path / "a.xml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReproodError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ImageSets/Main/trainval.txt", None, "trainval.txt does not exist; unpack Pascal VOC 2007"),
        ("ImageSets/Main/trainval.txt", "000000 1\n", "line 1: '000000 1' has 2 columns; expected one"),
        ("ImageSets/Main/trainval.txt", "../x\n", "expected one name of an image"),
        ("ImageSets/Main/trainval.txt", "", "name no image"),
        ("ImageSets/Main/trainval.txt", "000000\n000009\n", "000009.jpg does not exist"),
        ("Annotations/000002.xml", None, "000002.xml cannot be read"),
        ("Annotations/000002.xml", "<annotation>", "000002.xml is not valid XML"),
        ("Annotations/000002.xml", "<annotation/>", "gives no size of its image"),
        ("Annotations/000002.xml", voc_annotation(voc_object("zebra")), "class of an object is 'zebra'"),
        (
            "Annotations/000002.xml",
            voc_annotation(voc_object("dog", (3, 4, 40, 18))),
            "outside of the image of 32 x 24",
        ),
        ("Annotations/000002.xml", voc_annotation(voc_object("dog", (9, 4, 8, 18))), "is empty or outside"),
        ("Annotations/000002.xml", voc_annotation(voc_object("dog", (9, 4, float("nan"), 18))), "xmax is 'nan'"),
    ],
)
def test_damaged_voc(tmp_path, name, content, words):
    path = save_voc(tmp_path) / "VOC2007" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ReproodError, match=words):
        read_voc(tmp_path, [(2007, "trainval")])


def test_damaged_photographs(tmp_path):
    folder = save_voc(tmp_path) / "VOC2007/JPEGImages"
    data = read_voc(tmp_path, [(2007, "trainval")])
    path = folder / "000001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ReproodError, match=r"000001.jpg is not a readable image .*; replace it"):
        data.read(1)
    save_jpeg(folder / "000002.jpg", 24, 24, 0)
    with pytest.raises(ReproodError, match="24 x 24 pixels, its annotation states 32 x 24"):
        data.read(2)
    (folder / "000003.jpg").unlink()
    with pytest.raises(ReproodError, match="000003.jpg cannot be read"):
        data.read(3)


def test_coco(tmp_path):
    save_coco(tmp_path)
    data = read_coco_captions(tmp_path / "annotations/captions_val.json", tmp_path / "val")
    assert len(data) == 4
    assert data.captions[1] == ("Two cats.", "2 cats on a sofa")
    assert data.read(3).shape == (24, 32, 3)
    digest = sha256((tmp_path / "annotations/captions_val.json").read_bytes()).hexdigest()
    assert data.notes == (f"captions_val.json: SHA-256 {digest}.",)
    record = coco_record("val", 4)
    record["annotations"] = record["annotations"][:6]
    (tmp_path / "fewer.json").write_text(json.dumps(record))
    fewer = read_coco_captions(tmp_path / "fewer.json", tmp_path / "val")
    assert len(fewer) == 3
    assert fewer.notes[1:] == ("1 images of fewer.json have no caption and are left out.",)


def changed(**changes) -> str:
    return json.dumps({**coco_record("val", 2), **changes})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "captions_val.json cannot be read"),
        ("{", "is not valid JSON"),
        ("[]", "holds no object"),
        ("{}", "has no list 'images'"),
        (changed(annotations=[]), "no image with a caption"),
        (
            changed(annotations=[{"image_id": 99, "caption": "x"}]),
            "belongs to the image 99, which the file does not list",
        ),
        (changed(annotations=[{"image_id": 7, "caption": " "}]), "has an empty caption"),
        (changed(annotations=[{"image_id": "7", "caption": "x"}]), "image_id is '7'; expected int"),
        (changed(images=[{"id": 7, "file_name": "../a.jpg"}]), "expected a plain name"),
        (changed(images=[{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}]), "a.jpg does not exist"),
    ],
)
def test_damaged_coco(tmp_path, content, words):
    path = save_coco(tmp_path, count=2) / "annotations/captions_val.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ReproodError, match=words):
        read_coco_captions(path, tmp_path / "val")
