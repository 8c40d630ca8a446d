"""Rows, the one preparation rule, and the linter's refusals."""

import numpy as np
import pytest
from PIL import Image

from reprood.config.benchmark import Benchmark
from reprood.config.records import Outlier, Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.data.benchmark import fixed_order, prepare_split, select_rows
from reprood.data.lint import lint_benchmark
from reprood.data.prepare import prepare_images


def rng(seed=0):
    return np.random.default_rng(seed)


def test_fixed_order_is_a_stratified_permutation_that_depends_on_the_name():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    order = fixed_order(labels, "a/train")
    assert sorted(order.tolist()) == list(range(100))
    assert np.bincount(labels[order[:50]]).tolist() == [30, 15, 5]
    assert np.array_equal(order, fixed_order(labels, "a/train"))
    assert not np.array_equal(order, fixed_order(labels, "a/test"))


def test_disjoint_ranges_are_disjoint_and_labels_are_renumbered(tmp_path):
    images = rng().integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    save_split(tmp_path / "d", images, np.arange(60) % 6, {}, {"name": "d", "classes": list("abcdef"), "licence": "x"})
    preparation = Preparation(size=8, channels=1)
    rows = []
    for name, skip in (("a", 0), ("b", 12)):
        source = Source(dataset="d", split="train", classes=(4, 1), skip=skip, limit=6)
        prepare_split(source, preparation, tmp_path / "d", tmp_path / name, "train")
        split = load_split(tmp_path / name)
        assert split.meta["classes"] == ["e", "b"]
        assert np.array_equal(np.where(split.labels == 0, 4, 1), split.extras["source_label"])
        assert np.array_equal(split.images, images[split.extras["row"]])
        rows += split.extras["row"].tolist()
    assert len(set(rows)) == 12


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"classes": (9,)}, "class 9 has no images"),
        ({"limit": 61}, "rows 0 to 61 were requested, but there are 60"),
        ({"skip": 60}, "lower 'skip'"),
    ],
)
def test_rows_that_are_not_there(source, words):
    with pytest.raises(ReproodError, match=words):
        select_rows(np.arange(60) % 6, Source(dataset="d", split="train", **source), "here")


def test_preparation_is_pillows_antialiased_resize_and_centre_crop():
    image = rng().integers(0, 256, (20, 30, 3), dtype=np.uint8)
    prepared = prepare_images(image[None], 10, 1)[0, ..., 0]
    grey = Image.fromarray(image).convert("L").resize((15, 10), Image.Resampling.BILINEAR).crop((2, 0, 12, 10))
    assert np.array_equal(prepared, np.asarray(grey))
    same = image[:20, :20][None]
    assert np.array_equal(prepare_images(same, 20, 3), same)


def test_masks_and_boxes_follow_the_images(tmp_path):
    images = np.zeros((2, 20, 20, 1), np.uint8)
    masks = np.zeros((2, 20, 20), np.uint8)
    images[:, 4:12, 6:14], masks[:, 4:12, 6:14] = 255, 255
    boxes = np.array([[6, 4, 14, 12]] * 2, np.float32)
    save_split(tmp_path / "d", images, np.zeros(2), {"masks": masks, "boxes": boxes}, {"name": "d", "licence": "x"})
    prepare_split(
        Source(dataset="d", split="t"), Preparation(size=10, channels=1), tmp_path / "d", tmp_path / "o", "test"
    )
    split = load_split(tmp_path / "o")
    assert split.extras["boxes"][0].tolist() == [3, 2, 7, 6]
    assert np.array_equal(split.extras["masks"][0] > 127, split.images[0, ..., 0] > 127)


BENCHMARK = Benchmark(
    title="Toy",
    preparation=Preparation(size=8, channels=1),
    train=Source(dataset="d", split="a"),
    validation=Source(dataset="d", split="b"),
    test=Source(dataset="d", split="c"),
    ood={"odd": Outlier(dataset="e", split="c", shift="far")},
    auxiliary={"extra": Source(dataset="f", split="c")},
)


def make(tmp_path, **changes):
    """Splits without a fault, each changed by a function (images, labels, meta) -> the same."""
    splits = {}
    for number, name in enumerate(BENCHMARK.splits()):
        images = rng(number).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
        labels = np.arange(200) % 4 if number < 3 else np.full(200, -1)
        meta = {"preparation": {"rule": "r", "size": 8, "channels": 1, "published_resize": False}}
        if name in changes:
            images, labels, meta = changes[name](images, labels, meta)
        save_split(tmp_path / name, images, labels, {}, meta)
        splits[name] = load_split(tmp_path / name)
    return splits


def train_images():
    return rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)


def share(count, source=0):
    def change(images, labels, meta):
        images[:count] = rng(source).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)[:count]
        return images, labels, meta

    return change


def copy_own(count):
    def change(images, labels, meta):
        images[1 : 1 + count] = images[0]
        return images, labels, meta

    return change


def test_a_good_benchmark_passes(tmp_path):
    report = lint_benchmark(make(tmp_path), BENCHMARK)
    assert report["overlaps"] == {}
    assert set(report["duplicates"].values()) == {0}


def test_single_copies_are_counted_and_pass(tmp_path):
    report = lint_benchmark(make(tmp_path, test=share(1), train=copy_own(1)), BENCHMARK)
    assert report["overlaps"] == {"train:test": 1}
    assert report["duplicates"]["train"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": share(20)}, "splits train and test share 20 images"),
        ({"odd": share(20, 2)}, "splits test and odd share 20 images"),
        ({"extra": share(1, 3)}, "splits odd and extra share 1 images"),
        ({"validation": copy_own(10)}, "split validation: 10 of 200 images are copies"),
        ({"odd": lambda i, y, m: (i[:, :6, :6], y, m)}, r"split odd: images are \(6, 6, 1\)"),
        (
            {"odd": lambda i, y, m: (i, y, {"preparation": {**m["preparation"], "rule": "other"}})},
            "prepared by different rules",
        ),
        (
            {"odd": lambda i, y, m: (i, y, {"preparation": {**m["preparation"], "published_resize": True}})},
            "its publisher resized it",
        ),
        ({"test": lambda i, y, m: (i, np.zeros_like(y), m)}, "split test: classes"),
        ({"odd": lambda i, y, m: (i, np.zeros_like(y), m)}, "must have only the label -1"),
        ({"train": lambda i, y, m: (i, y * 2, m)}, "without gaps"),
    ],
)
def test_refusals(tmp_path, changes, words):
    with pytest.raises(ReproodError, match=words):
        lint_benchmark(make(tmp_path, **changes), BENCHMARK)


def test_exceptions_are_by_name(tmp_path):
    allowed = BENCHMARK.model_copy(update={"allow": ("overlap:train:test", "duplicates:validation")})
    report = lint_benchmark(make(tmp_path, test=share(20), validation=copy_own(10)), allowed)
    assert report["overlaps"]["train:test"] == 20


def test_all_findings_are_in_one_message(tmp_path):
    with pytest.raises(ReproodError) as caught:
        lint_benchmark(make(tmp_path, test=share(20), validation=copy_own(10)), BENCHMARK)
    assert "share 20" in str(caught.value)
    assert "10 of 200" in str(caught.value)


def named(names, classes=None):
    def change(images, labels, meta):
        return images, labels, {**meta, "classes": names, "rows": {"classes": classes}}

    return change


FRUIT = ["apple", "banana", "cherry", "date"]


def test_classes_are_compared_by_name(tmp_path):
    lint_benchmark(make(tmp_path / "a", **dict.fromkeys(("train", "validation", "test"), named(FRUIT))), BENCHMARK)
    for number, names in enumerate((["Banana", "apple", "cherry", "date"], [*FRUIT[:3], "fig"], FRUIT[::-1])):
        splits = make(tmp_path / str(number), train=named(FRUIT), validation=named(FRUIT), test=named(names))
        with pytest.raises(ReproodError, match=r"split test: its classes are .* one number means two classes"):
            lint_benchmark(splits, BENCHMARK)


def test_classes_without_names_are_compared_by_number(tmp_path):
    numbers = named(["0", "1", "2", "3"])
    report = lint_benchmark(make(tmp_path / "a", train=named(FRUIT), validation=named(FRUIT), test=numbers), BENCHMARK)
    assert report["notes"] == ["classes of train and test are compared by number: test has no names"]
    turned = named(["1", "0", "2", "3"], [1, 0, 2, 3])
    with pytest.raises(ReproodError, match="split test: its classes are"):
        lint_benchmark(make(tmp_path / "b", train=numbers, validation=numbers, test=turned), BENCHMARK)


def test_a_classification_needs_two_classes(tmp_path):
    def one(images, labels, meta):
        return images, np.zeros_like(labels), {**meta, "classes": ["photos"]}

    splits = make(tmp_path, **dict.fromkeys(("train", "validation", "test"), one))
    lint_benchmark(splits, BENCHMARK)
    with pytest.raises(ReproodError, match=r"split train has a single class \(photos\)"):
        lint_benchmark(splits, BENCHMARK, classifies=True)
