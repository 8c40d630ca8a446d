"""OpenOOD's image lists: order and labels of the list, one sentence for what is wrong."""

import numpy as np
import pytest
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data.image_lists import image_list


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(["a/one.png", "b/two three.png"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (40, 32 + 8 * index), (10 * index, 20, 30)).save(path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "test.txt").write_text("b/two three.png -1\n\na/one.png 3\n")
    return tmp_path


def test_images_are_in_the_order_of_the_list(folder):
    found = image_list(folder, 3, 32, "lists/test.txt", "images")
    assert found.images.shape == (2, 32, 32, 3)
    assert found.images[:, 0, 0].tolist() == [[10, 20, 30], [0, 20, 30]]
    assert found.labels.tolist() == [-1, 3]
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no list .*lists/test.txt; correct the option listing"),
        ("\n", "test.txt names no image"),
        ("a/one.png\n", "line 1: expected a path and a label, found 'a/one.png'"),
        ("a/one.png 3\na/none.png 3\n", "line 2: there is no image .*a/none.png; correct the option root"),
        ("../lists/test.txt 3\n", "line 1: ../lists/test.txt leads out of"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder, text, words):
    path = folder / "lists" / "test.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ReproodError, match=words):
        image_list(folder, 3, 32, "lists/test.txt", "images")
