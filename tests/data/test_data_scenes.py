"""Generated scenes: boxes around letters that do not overlap, sentences that describe them, mistakes."""

import doctest
from itertools import combinations

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.data import scenes
from reprood.data.photographs import boxed, captioned
from reprood.data.scenes import draw_scenes


def made(seed: int, count: int = 12, **options):
    return draw_scenes(np.random.default_rng(seed), count, **{"classes": "MNOP", "clutter": 3, **options})


def test_scenes():
    first, again, other = made(1), made(1), made(2)
    assert first.images.shape == (12, 64, 64, 1)
    assert np.array_equal(first.images, again.images)
    assert first.sentences == again.sentences
    assert not np.array_equal(first.images, other.images)
    assert {len(labels) for labels in first.labels} == {1, 2, 3}
    for image, boxes, labels, sentence in zip(first.images, first.boxes, first.labels, first.sentences, strict=True):
        for one, two in combinations(boxes, 2):
            assert min(one[2], two[2]) <= max(one[0], two[0]) or min(one[3], two[3]) <= max(one[1], two[1])
        for x0, y0, x1, y1 in boxes.astype(int):
            assert 0 <= x0 < x1 <= 64
            assert 0 <= y0 < y1 <= 64
            assert image[y0:y1, x0:x1].max() > 180
        words = sentence.split()
        assert sorted(word for word in words if word in "mnop") == sorted("mnop"[label] for label in labels)
        assert words.count("small") + words.count("large") == len(labels)
    assert boxed(first).boxes is first.boxes
    assert captioned(first).captions[3] == (first.sentences[3],)


@pytest.mark.parametrize(
    ("centres", "words"),
    [
        (((10, 10), (20, 40)), "a small m above a large n"),
        (((10, 40), (20, 10)), "a large n above a small m"),
        (((10, 10), (50, 12)), "a small m left of a large n"),
        (((50, 10), (10, 12)), "a small m right of a large n"),
    ],
)
def test_relations(centres, words):
    boxes = np.array([(x - 5, y - 5, x + 5, y + 5) for x, y in centres])
    assert scenes.sentence(boxes, np.array([0, 1]), np.array([False, True]), "MN") == words


def test_examples():
    assert doctest.testmod(scenes).failed == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "MM"}, "different upper-case letters"),
        ({"sides": (22, 70)}, "windows that fit"),
        ({"objects": (30, 30)}, "30 objects do not fit"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(ReproodError, match=words):
        made(0, 2, **options)
