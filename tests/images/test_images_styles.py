"""Styles of images: what each does, shapes, mistakes; label noise in a prepared split."""

import numpy as np
import pytest
from golden_files import load

from reprood.config.records import LabelNoise, Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.data.benchmark import prepare_split
from reprood.data.label_noise import corrupt_labels, corruption_matrix, gold_rows
from reprood.images.registry import STYLE_NAMES, load_style

KINDS = ("uniform", "flip", "hierarchical")


def pictures(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", STYLE_NAMES)
def test_every_style(name: str, channels: int) -> None:
    images = pictures(channels)
    kept = images.copy()
    found = load_style(name)(images)
    assert found.dtype == np.uint8
    assert found.shape == images.shape
    assert not np.array_equal(found, images)
    assert np.array_equal(images, kept)
    assert np.array_equal(found, load_style(name)(images))
    alone = load_style(name)(images[2:3])
    assert np.array_equal(alone[0], found[2])  # an image does not depend on the others


def test_what_styles_do() -> None:
    images = pictures()
    assert np.array_equal(load_style("invert")(load_style("invert")(images)), images)
    assert set(np.unique(load_style("posterise")(images))) == {0, 128, 255}
    assert load_style("blur")(images).std() < images.std() / 2
    flat = np.full((1, 24, 24, 1), 77, np.uint8)
    assert not load_style("edges")(flat).any()
    flat[:, :, 12:] = 200
    found = load_style("edges")(flat)[0, :, :, 0]
    assert (found[:, 11:13] == 255).all()
    assert not found[:, :10].any()
    dark = np.zeros((1, 24, 24, 3), np.uint8)
    noise = load_style("uniform_noise")(dark)
    assert noise.mean() == pytest.approx(127.5, abs=10)
    assert (noise[..., :1] == noise).all()
    assert (load_style("uniform_noise")(images) >= images).all()


@pytest.mark.parametrize("name", ["digit", "square", "ellipse", "heart", "square_natural"])
def test_pasted_shapes(name: str) -> None:
    images = np.stack([np.full((64, 64, 3), level, np.uint8) for level in range(100, 140)])
    found = load_style(name)(images)
    changed = (found != images).any(3)
    share = changed.mean((1, 2))
    assert (share > 0.001).all()
    assert (share < 0.0725).all()  # at most (17 / 64) squared
    if name == "square":
        for one, inside in zip(found, changed, strict=True):
            assert (one[inside] == one[inside][0]).all()
            assert inside.sum() == inside.any(0).sum() * inside.any(1).sum()
            assert inside.any(0).sum() == inside.any(1).sum()
    assert len({one[inside].tobytes() for one, inside in zip(found, changed, strict=True)}) == 40


def test_an_unknown_style() -> None:
    with pytest.raises(ReproodError, match="There is no style 'cubist'; known: blur, digit, edges"):
        load_style("cubist")


@pytest.mark.golden
def test_label_noise_references() -> None:
    stored = load("ss_ood", "label_noise")
    for case in sorted({key.split("_")[0] for key in stored}):
        value = {key.removeprefix(f"{case}_"): array for key, array in stored.items() if key.startswith(f"{case}_")}
        classes, kind, seed = int(value["num_classes"]), KINDS[int(value["type"])], int(value["seed"])
        strength, clean = float(value["prob"]), value["clean_labels"]
        supers = [label // 5 for label in range(classes)]
        matrix = corruption_matrix(classes, kind, strength, seed, supers)
        np.testing.assert_allclose(matrix, value["matrix"], atol=1e-12)
        fraction = float(value["gold_fraction"])
        gold = gold_rows(clean, classes, fraction) if fraction else np.zeros(len(clean), bool)
        assert gold.sum() == value["n_gold"]
        assert np.array_equal(np.flatnonzero(gold)[:200], value["gold_index_first200"])
        assert np.array_equal(np.flatnonzero(~gold)[:200], value["silver_index_first200"])
        assert np.array_equal(clean[gold][:200] + classes, value["gold_labels_marked_first200"])
        drawn = corrupt_labels(clean[~gold], classes, kind, strength, seed, supers)
        assert np.array_equal(drawn[:2000], value["silver_labels_first2000"])
        assert (drawn != clean[~gold]).mean() == pytest.approx(float(value["fraction_changed"]))


def test_matrices_by_hand() -> None:
    uniform = corruption_matrix(4, "uniform", 0.4)
    assert np.allclose(np.diag(uniform), 0.7)
    flipped = corruption_matrix(4, "flip", 0.3)
    assert all(sorted(row) == pytest.approx([0, 0, 0.3, 0.7]) for row in flipped)
    grouped = corruption_matrix(4, "hierarchical", 0.6, superclasses=[0, 0, 1, 1])
    assert grouped[0].tolist() == pytest.approx([0.4, 0.6, 0, 0])
    for matrix in (uniform, flipped, grouped):
        assert np.allclose(matrix.sum(axis=1), 1)


def test_mistakes_in_label_noise() -> None:
    with pytest.raises(ReproodError, match="needs 'superclasses', one number for each of 4 classes"):
        corruption_matrix(4, "hierarchical", 0.5)
    with pytest.raises(ReproodError, match="Class 0 is alone"):
        corruption_matrix(2, "hierarchical", 0.5, superclasses=[0, 1])
    with pytest.raises(ReproodError, match="leaves class 1 without images"):
        gold_rows(np.array([0] * 50 + [1] * 50), 2, 0.1)


def prepared(tmp_path, role: str = "train", noise: LabelNoise | None = None, **source):
    labels = np.arange(200) % 4
    images = np.random.default_rng(1).integers(0, 256, (200, 24, 24, 1), dtype=np.uint8)
    meta = {"name": "d", "split": "train", "classes": list("abcd"), "source": {"kind": "x", "files": []}}
    save_split(tmp_path / "d", images, labels, {}, meta)
    record = Source(dataset="d", split="train", **source)
    prepare_split(record, Preparation(size=24, channels=1), tmp_path / "d", tmp_path / "out", role, noise)
    return load_split(tmp_path / "out")


def test_a_split_with_wrong_labels(tmp_path) -> None:
    noise = LabelNoise(strength=0.8, trusted=0.1)
    split = prepared(tmp_path, noise=noise)
    trusted = split.extras["trusted"] > 0
    assert trusted.sum() == 20
    assert (split.labels[trusted] == split.extras["clean_label"][trusted]).all()
    wrong = (split.labels[~trusted] != split.extras["clean_label"][~trusted]).mean()
    assert wrong == pytest.approx(0.6, abs=0.1)
    assert split.meta["label_noise"]["strength"] == 0.8
    # only training labels are wrong
    assert "trusted" not in prepared(tmp_path, role="test", noise=noise).extras


def test_labels_of_auxiliary_images(tmp_path) -> None:
    assert (prepared(tmp_path, role="auxiliary").labels == -1).all()
    kept = prepared(tmp_path, role="auxiliary", labelled=True, classes=(3, 1))
    assert set(kept.labels.tolist()) == {0, 1}
    assert (kept.labels == np.where(kept.extras["source_label"] == 3, 0, 1)).all()


def test_a_split_in_another_style(tmp_path) -> None:
    plain, inverted = prepared(tmp_path, role="ood"), prepared(tmp_path, role="ood", style="invert")
    assert np.array_equal(255 - np.array(plain.images), np.array(inverted.images))
