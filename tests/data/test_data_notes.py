"""Copies in a user's own data, and OOD classes with the name of a known class, are noticed."""

import numpy as np
import pytest
from PIL import Image

from reprood.core.files import write_json
from reprood.data.arrays import load_split, save_split
from reprood.data.notes import copies_in, equal_images, known_names


def test_equal_images_under_different_names_are_counted(tmp_path):
    for place, name in enumerate(("apple/1.png", "apple/2.png", "pear/1.png", "pear/3.png", "pear/4.png")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 0 if place in (0, 1, 3) else 9 * place, np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("x")
    assert equal_images(tmp_path) == (
        f"2 of 5 images in {tmp_path} are copies of another one, 1 of them from another folder; the first is "
        "apple/2.png, a copy of apple/1.png"
    )
    (tmp_path / "apple" / "2.png").unlink()
    (tmp_path / "pear" / "3.png").unlink()
    assert equal_images(tmp_path) == ""


def test_copies_of_a_split_are_named_by_the_rows_of_the_data_set(tmp_path):
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    images[3] = images[1]
    save_split(tmp_path / "train", images, np.zeros(4, int), {"row": np.array([7, 5, 2, 9])}, {})
    assert copies_in("train", load_split(tmp_path / "train")) == (
        "split train: 1 images are copies of an earlier one; the first is row 9, a copy of row 5"
    )


@pytest.mark.parametrize(
    ("trained", "names", "count"),
    [
        (["apple", "Pear"], ["pear", "tree"], 3),
        (["apple", "plum"], ["pear", "tree"], 0),
        (["0", "1"], ["0", "1"], 0),  # numbers, not names
    ],
)
def test_an_ood_class_with_the_name_of_a_known_one_is_reported(tmp_path, trained, names, count):
    write_json(tmp_path / "data" / "fruit" / "test" / "meta.json", {"classes": names})
    labels = np.array([0, 1, 0, 0])
    save_split(tmp_path / "far", np.zeros((4, 2, 2, 1), np.uint8), np.full(4, -1), {"source_label": labels},
               {"name": "fruit", "split": "test"})  # fmt: skip
    found = known_names(trained, {"far": load_split(tmp_path / "far")}, tmp_path / "data")
    assert found == ([] if not count else [
        "split far: 3 of 4 images are of a class with the name of a known class, first 'pear'; leave these classes out "
        "('classes'), unless the name means something else"
    ])  # fmt: skip
