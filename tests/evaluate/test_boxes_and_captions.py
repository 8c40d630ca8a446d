"""Average precision and scores of captions against values computed by hand; packages that are missing."""

import doctest
import math
import sys

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate import captions
from reprood.evaluate.boxes import Boxes, average_precision
from reprood.evaluate.captions import caption_scores

FIRST, SECOND, ELSEWHERE = (0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50)


def boxes(*rows: tuple[tuple[int, ...], int], scores=None, difficult=None) -> Boxes:
    places = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    marks = None if difficult is None else np.array(difficult, bool)
    return Boxes(places, np.array([row[1] for row in rows], np.int64), scores and np.array(scores), marks)


def test_average_precision():
    """Class 0: two true boxes, one found after a wrong detection: precision 1/2 up to recall 1/2; class 1: found."""
    pytest.importorskip("pycocotools")
    truth = [boxes((FIRST, 0), (SECOND, 1)), boxes((SECOND, 0))]
    found = [boxes((FIRST, 0), (SECOND, 1), (ELSEWHERE, 0), scores=[0.9, 0.8, 0.95]), boxes()]
    numbers = average_precision(truth, found, 3)
    assert numbers["voc_map"] == pytest.approx(100 * (0.5 * 6 / 11 + 1) / 2)
    assert numbers["coco_ap"] == pytest.approx(100 * (0.5 * 51 / 101 + 1) / 2)
    # A box of two thirds of the true one counts at 0.50, 0.55, 0.60, 0.65.
    near = [boxes(((0, 0, 15, 10), 0), scores=[0.9])]
    numbers = average_precision([boxes((FIRST, 0))], near, 1)
    assert numbers == pytest.approx({"voc_map": 100, "coco_ap": 40})


def test_difficult_boxes_neither_count_nor_punish():
    pytest.importorskip("pycocotools")
    truth = [boxes((FIRST, 0), (SECOND, 0), difficult=[False, True])]
    near = (21, 20, 30, 30)
    for rows, scores in (
        ((FIRST, SECOND), [0.5, 0.9]),
        ((FIRST,), [0.5]),
        ((FIRST, SECOND, near), [0.5, 0.95, 0.9]),  # found twice
    ):
        found = [boxes(*((place, 0) for place in rows), scores=scores)]
        assert average_precision(truth, found, 1)["voc_map"] == pytest.approx(100)
    twice = [boxes((FIRST, 0), (FIRST, 0), (SECOND, 0), scores=[0.9, 0.8, 0.7])]  # the second is wrong
    both = average_precision([boxes((FIRST, 0), (SECOND, 0))], twice, 1)
    assert both["voc_map"] == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    assert both["coco_ap"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    inside = (20, 20, 30, 24)  # overlaps the difficult box by 0.4, as plain boxes do, and not by 1, as with a crowd
    found = [boxes((FIRST, 0), (inside, 0), scores=[0.5, 0.9])]
    assert average_precision(truth, found, 1)["voc_map"] == pytest.approx(50)
    with pytest.raises(ReproodError, match="no image has a true box that counts"):
        average_precision([boxes((FIRST, 0), difficult=[True])], [boxes()], 1)


def test_scores_of_captions():
    """BLEU-1 and -2 by their definition; ROUGE-L: F with beta 1.2 of the longest common subsequence."""
    pytest.importorskip("pycocoevalcap")
    truth = [["A large M, above a small T."], ["a small o alone", "one small o"]]
    found = ["a large m above a small t", "a small p"]
    scores = caption_scores(truth, found)
    ones, twos = (7 + 2) / (7 + 3), (6 + 1) / (6 + 2)  # both lengths equal their closest reference
    assert scores["bleu1"] == pytest.approx(100 * ones, rel=1e-6)
    assert scores["bleu2"] == pytest.approx(100 * math.sqrt(ones * twos), rel=1e-6)
    precision, recall = 2 / 3, 2 / 4
    f = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert scores["rouge"] == pytest.approx(100 * (1 + f) / 2)
    assert "meteor" not in scores
    perfect = caption_scores([["a b c d e"], ["f g h i j"]], ["a b c d e", "f g h i j"])
    assert perfect["bleu4"] == pytest.approx(100, rel=1e-6)
    assert perfect["cider"] == pytest.approx(1000)


def test_meteor_needs_java(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr(captions.shutil, "which", lambda _: None)
    with pytest.raises(ReproodError, match="METEOR needs Java"):
        caption_scores([["a b"]], ["a b"], meteor=True)


def test_missing_packages(monkeypatch):
    for name in ("pycocotools", "pycocotools.cocoeval", "pycocoevalcap", "pycocoevalcap.bleu.bleu"):
        monkeypatch.setitem(sys.modules, name, None)
    words = r"which is not installed; install it with pip install 'reprood\[transfer\]'"
    with pytest.raises(ReproodError, match=f"pycocotools, {words}"):
        average_precision([boxes((FIRST, 0))], [boxes()], 1)
    with pytest.raises(ReproodError, match=f"pycocoevalcap, {words}"):
        caption_scores([["a"]], ["a"])


def test_examples():
    assert doctest.testmod(captions).failed == 0
