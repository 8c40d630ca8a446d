"""Training images as methods change them: each method on the images that it changes in training."""

import shutil

import numpy as np
from tiny_problem import save_benchmark, settings

from reprood.data.arrays import load_split
from reprood.train.examples import COUNT, draw_examples


def test_methods_are_shown_on_the_images_that_they_change(tmp_path) -> None:
    """CutMix mixes training images; HOOD's RandAugment changes outliers and no training image."""
    data = tmp_path / "data"
    save_benchmark(data)
    shutil.copytree(data / "test", data / "outliers")  # other images than those of training
    hood = settings("hood") | {"auxiliary": ["frost_cifar", "outliers"]}
    hood["settings"] = {**hood["settings"], "outlier_augment": "randaugment"}
    draw_examples({"cutmix": settings("cutmix"), "hood_aug": hood, "erm": settings("erm")}, data, tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert sorted(arrays) == ["cutmix", "original", "outliers", "outliers.hood_aug"]
    assert np.array_equal(arrays["original"], load_split(data / "train").images[:COUNT])
    assert np.array_equal(arrays["outliers"], load_split(data / "outliers").images[:COUNT])
    for name, array in arrays.items():
        assert array.shape == arrays["original"].shape, name
        assert array.dtype == np.uint8
