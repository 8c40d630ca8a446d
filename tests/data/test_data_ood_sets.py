"""The OOD sets of the papers: releases fetched from a loopback server, and the noise of Outlier Exposure."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from server import serving

from reprood.config.records import Outlier, Preparation
from reprood.data.arrays import load_split
from reprood.data.benchmark import prepare_split
from reprood.data.catalogue import load_catalogue
from reprood.data.dataset import prepare_dataset
from reprood.data.generators import OE_MEAN, OE_STD, generate
from reprood.data.sources import fetch

ROOT = Path(__file__).parents[2]
CATALOGUE = load_catalogue([ROOT / "config" / "datasets.yaml"], {})


def archive(pictures: dict[str, np.ndarray]) -> bytes:
    """Return a tar.gz of PNG images."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, pixels in pictures.items():
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue())
            tar.addfile(info, io.BytesIO(data.getvalue()))
    return packed.getvalue()


def served(tmp_path: Path, dataset: str, split: str, pictures: dict[str, np.ndarray]) -> Path:
    """Fetch a data set's only file from a loopback server with the catalogue's entry, and prepare the split."""
    entry = CATALOGUE[dataset]
    (name,) = entry.splits[split].files
    body = archive(pictures)
    with serving() as site:
        site.files[f"/s/{name}"] = body
        change = {"urls": (f"{site.url}/s/{name}",), "md5": hashlib.md5(body, usedforsecurity=False).hexdigest()}
        entry = entry.model_copy(update={"files": {name: entry.files[name].model_copy(update=change)}})
        file = fetch(dataset, entry, name, mirrors=(), downloads=tmp_path / "downloads")
        assert site.requests[f"/s/{name}"] == 1
    assert file.record["digest_status"] == "verified"
    prepare_dataset(dataset, entry, split, [file], tmp_path / dataset)
    return tmp_path / dataset


def pictures(names: Sequence[str], height: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for name in names}


@pytest.mark.parametrize(
    ("dataset", "folder", "resized"),
    [("imagenet_crop", "Imagenet/test", False), ("lsun_crop", "LSUN/test", False), ("isun", "iSUN/iSUN_patches", True)],
)
def test_the_releases_of_odin(tmp_path: Path, dataset: str, folder: str, resized: bool) -> None:
    given = pictures([f"{folder}/{i}.png" for i in range(3)], 32, 32)
    split = load_split(served(tmp_path, dataset, "test", given))
    assert np.array_equal(split.images, np.stack([given[name] for name in sorted(given)]))  # pixels are untouched
    assert (split.labels == -1).all()
    assert split.meta["preparation"]["published_resize"] is resized  # benchmarks must allow it
    official = CATALOGUE[dataset].files[next(iter(CATALOGUE[dataset].files))]
    assert official.urls[0].startswith("https://www.dropbox.com/s/raw/")
    assert official.md5


def test_textures_and_places_are_resized_once(tmp_path: Path) -> None:
    """A benchmark at 32 pixels sees what one antialiased resize of the photograph gives, and all of the images."""
    names = [f"dtd/images/{kind}/{kind}_{i}.png" for kind in ("banded", "woven") for i in range(3)]
    given = pictures(names, 300, 450)
    folder = served(tmp_path, "textures", "all", given)
    source = Outlier(dataset="textures", split="all", shift="far")
    prepare_split(source, Preparation(size=32, channels=3), folder, tmp_path / "out", "ood")
    found = load_split(tmp_path / "out")
    assert len(found.images) == len(names)
    wanted = {}
    for name, pixels in given.items():
        small = Image.fromarray(pixels).resize((48, 32), Image.Resampling.BILINEAR).crop((8, 0, 40, 32))
        wanted[name] = np.asarray(small)
    rows = found.extras["row"]
    assert np.array_equal(found.images, np.stack([wanted[sorted(names)[row]] for row in rows]))
    for dataset in ("textures", "places365", "lsun_test"):
        assert CATALOGUE[dataset].size == 32, "another size would be resized again in the benchmarks at 32 pixels"


def test_omniglot(tmp_path: Path) -> None:
    """Two-coloured drawings in folders of characters in folders of alphabets, which are the classes."""
    rng = np.random.default_rng(0)
    names = [
        f"images_evaluation/{a}/character0{c}/0{a[0]}_{i}.png"
        for a in ("Atlantean", "Ge_ez")
        for c in (1, 2)
        for i in (1, 2)
    ]
    given = {name: rng.random((105, 105)) > 0.1 for name in names}
    folder = served(tmp_path, "omniglot", "evaluation", given)
    whole = load_split(folder)
    assert whole.images.shape == (8, 28, 28, 1)
    assert whole.labels.tolist() == [0] * 4 + [1] * 4
    assert whole.meta["classes"] == ["Atlantean", "Ge_ez"]
    assert whole.images.mean() > 200  # black on white
    source = Outlier(dataset="omniglot", split="evaluation", style="invert", shift="far")
    prepare_split(source, Preparation(size=32, channels=3), folder, tmp_path / "out", "ood")
    assert load_split(tmp_path / "out").images.mean() < 55


def inputs(name: str) -> np.ndarray:
    """Return the network inputs that Outlier Exposure's normalisation makes of a set's pixels."""
    images = generate(name, 0, {"count": 300, "size": 32, "channels": 3}).images
    return (images - OE_MEAN) / OE_STD


def test_gaussian_noise_of_outlier_exposure() -> None:
    values = inputs("oe_gaussian")
    assert np.abs(values).max() <= 1.01
    rng = np.random.default_rng(1)
    wanted = np.clip(rng.normal(0.0, 0.5, values.shape), -1, 1)
    assert stats.ks_2samp(values.ravel()[::7], wanted.ravel()[::7]).statistic < 0.02
    assert values.std() == pytest.approx(wanted.std(), abs=0.01)


def test_rademacher_noise_of_outlier_exposure() -> None:
    values = inputs("oe_rademacher")
    assert np.abs(np.abs(values) - 1).max() < 0.01
    assert values.mean() == pytest.approx(0, abs=0.01)
    flat = values.reshape(len(values), -1, 3)
    assert abs(np.corrcoef(flat[..., 0].ravel(), flat[..., 1].ravel())[0, 1]) < 0.01  # channels are independent


def test_blobs_of_outlier_exposure() -> None:
    from skimage.filters import gaussian

    values = inputs("oe_blobs")
    assert values.min() == pytest.approx(-1, abs=0.01)
    low, high = values < -0.99, values > 0.49
    assert (low | high).all()  # nothing between the black part and the threshold 2 * 0.75 - 1
    rng = np.random.default_rng(1)
    flips = rng.binomial(1, 0.7, (300, 32, 32, 3)).astype(np.float32)
    blurred = np.stack([gaussian(one, sigma=1.5, channel_axis=None) for one in flips])  # over the channels, too
    blurred[blurred < 0.75] = 0.0
    assert high.mean() == pytest.approx(float((blurred > 0).mean()), abs=0.02)
    assert values[high].mean() == pytest.approx(float(2 * blurred[blurred > 0].mean() - 1), abs=0.02)
