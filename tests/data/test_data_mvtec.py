"""The MVTec-AD layout: categories, names, masks, orientation tags, memory."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.mvtec import mvtec

RNG = np.random.default_rng(0)


def png(array: np.ndarray, tag: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(array).save(buffer, "PNG", **({"exif": exif} if tag != 1 else {}))
    return buffer.getvalue()


def picture(height: int = 16, width: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_category_is_a_whole_folder_name(tmp_path):
    counts = {"fryum": 3, "pipe_fryum": 5}
    files = {f"VisA/{c}/train/good/{i}.png": png(picture()) for c, n in counts.items() for i in range(n)}
    path = laid(tmp_path, files)
    for category, count in counts.items():
        assert len(mvtec(path, 3, 16, "train", category).images) == count
    with pytest.raises(ReproodError, match=r"below VisA/fryum, VisA/pipe_fryum; name one of them with .*'category'"):
        mvtec(path, 3, 16, "train")


def test_no_two_pictures_or_masks_replace_each_other(tmp_path):
    mask = png(np.eye(16, dtype=np.uint8))
    good = {"test/good/0.png": png(picture()), "test/hole/0.png": png(picture()), "ground_truth/hole/0_mask.png": mask}
    both = laid(tmp_path / "a", {**good, "test/good/0.bmp": png(picture())})
    assert len(mvtec(both, 3, 16, "test").images) == 3
    for name, words in {
        "test/hole/0.bmp": "test/hole/0.bmp and test/hole/0.png are the same picture",
        "ground_truth/hole/0.png": "are both a mask of hole/0",
    }.items():
        path = laid(tmp_path / words[-6:], {**good, name: mask})
        with pytest.raises(ReproodError, match=words):
            mvtec(path, 3, 16, "test")
    twice = laid(tmp_path / "b", {f"{top}/x/train/good/0.png": png(picture()) for top in ("one", "two")})
    with pytest.raises(ReproodError, match="one/x/train/good/0.png and two/x/train/good/0.png are the same picture"):
        mvtec(twice, 3, 16, "train", "x")


def test_orientation_tags_are_honoured_for_picture_and_mask(tmp_path):
    stored = np.zeros((12, 24, 3), np.uint8)
    stored[:, :6] = 255  # at the top when turned clockwise
    mask = np.zeros((24, 12), np.uint8)
    mask[:6] = 255  # in the orientation of the displayed image
    files = {"test/hole/0.png": png(stored, tag=6), "ground_truth/hole/0_mask.png": png(mask)}
    read = mvtec(laid(tmp_path, files), 1, 12, "test", fit="stretch")
    assert np.array_equal(read.images[0, ..., 0] > 127, read.extras["masks"][0] > 0)
    assert read.notes == ("1 images have an orientation tag, which is honoured (the first: test/hole/0.png)",)
    laid(tmp_path, {"ground_truth/hole/0_mask.png": png(mask.T)})
    with pytest.raises(ReproodError, match=r"its image \(12, 24\) \(its orientation tag 6 is honoured"):
        mvtec(tmp_path, 1, 12, "test", fit="stretch")


def test_what_is_left_out_or_odd_is_counted(tmp_path):
    empty = png(np.zeros((16, 16), np.uint8))
    files = {
        "test/hole/0.png": png(picture()), "ground_truth/hole/0_mask.png": empty,
        "test/hole/1.png": png(picture()), "ground_truth/hole/1_mask.png": png(np.ones((16, 16), np.uint8)),
        "ground_truth/hole/7_mask.png": empty, "test/hole/2.heic": b"x", "test/hole/.DS_Store": b"x",
    }  # fmt: skip
    assert set(mvtec(laid(tmp_path, files), 3, 16, "test").notes) == {
        "1 files without the suffix of an image are left out (the first: test/hole/2.heic)",
        "1 hidden files are left out (the first: test/hole/.DS_Store)",
        "1 images are labelled as defective, and their masks mark no pixel (the first: ground_truth/hole/0_mask.png)",
        "1 masks mark every pixel (the first: ground_truth/hole/1_mask.png)",
        "1 masks belong to no image and are left out (the first: ground_truth/hole/7_mask.png)",
    }


def test_images_are_shrunk_as_they_are_read(tmp_path):
    path = laid(tmp_path, {f"train/good/{i}.png": png(np.full((600, 800, 3), i, np.uint8)) for i in range(20)})
    tracemalloc.start()
    images = mvtec(path, 3, 32, "train").images
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(20))
    assert peak < 5 * 600 * 800 * 3  # bytes of a few pictures, not of twenty
