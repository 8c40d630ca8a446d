"""A benchmark's sources shrunk without antialiasing, or mixed with earlier images."""

import numpy as np

from reprood.config.records import Preparation, Source
from reprood.data.arrays import load_split, save_split
from reprood.data.benchmark import prepare_split
from reprood.data.prepare import prepare_images
from reprood.data.resampling import mixed, shrink_naively


def stored(tmp_path, count: int = 150, side: int = 40):
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    save_split(tmp_path / "set", images, np.full(count, -1, np.int64), {}, {"name": "set", "split": "test"})
    return images


def prepared(tmp_path, **changes):
    out = tmp_path / "-".join(["out", *map(str, changes.values())])
    prepare_split(
        Source(dataset="set", split="test", **changes), Preparation(size=20, channels=1), tmp_path / "set", out, "ood"
    )
    return load_split(out)


def test_the_same_images_with_and_without_artefacts(tmp_path) -> None:
    images = stored(tmp_path)
    good, naive = prepared(tmp_path), prepared(tmp_path, resample="nearest")
    rows = good.extras["row"]
    np.testing.assert_array_equal(rows, naive.extras["row"])
    np.testing.assert_array_equal(good.images, prepare_images(images[rows], 20, 1))
    np.testing.assert_array_equal(naive.images, shrink_naively(images[rows], 20))
    assert naive.meta["preparation"]["naive_resize"]
    assert "naive_resize" not in good.meta["preparation"]


def test_mixed(tmp_path) -> None:
    stored(tmp_path)
    np.testing.assert_array_equal(prepared(tmp_path, mixed=True).images, mixed(np.array(prepared(tmp_path).images)))
