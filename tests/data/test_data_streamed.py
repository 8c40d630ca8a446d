"""Large images that stay in files: the layouts of ImageNet on a small copy, and damaged ones."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import WNIDS, entry, write_images
from PIL import Image
from scipy.io import savemat
from torchvision.transforms import v2

from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data.arrays import FILES, load_split
from reprood.data.image_index import load_index
from reprood.data.index_reader import index_dataset
from reprood.data.streamed import evaluation_crop, prepare_streamed

FOLDERS = {"reader": "image_index", "files": ["train", "train_boxes"], "options": {"boxes": "train_boxes"}}


def index(root: Path, out: Path, **split):
    made = entry(root, one={"reader": "image_index", **split})
    notes = index_dataset("tiny", made, "one", out)
    return load_split(out), notes


@pytest.fixture
def folder(tmp_path):
    """A folder with class folders `train` (12 images) and their boxes."""
    write_images(tmp_path / "in" / "train", 12)
    return tmp_path / "in"


def test_an_index_names_files_labels_and_boxes_and_holds_no_pixel(folder, tmp_path):
    (folder / "train" / WNIDS[0] / "notes.txt").write_text("no image")
    split, notes = index(folder, tmp_path / "out", **FOLDERS)
    files = sorted(path for path in (folder / "train").rglob("*.JPEG"))
    assert [os.fsdecode(path) for path in split.extras["path"]] == [str(path) for path in files]
    assert split.images.shape == (12, 0, 0, 3)
    assert split.labels.tolist() == [WNIDS.index(path.parent.name) for path in files]
    assert split.meta["classes"] == list(WNIDS)
    assert notes == (f"1 files without the suffix of an image are left out (the first: {WNIDS[0]}/notes.txt)",)
    for path, (x0, y0, x1, y1) in zip(files, split.extras["boxes"].astype(int), strict=True):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels[y0:y1, x0:x1].max() > 180 > np.median(pixels)  # the letter is bright
    assert split.extras["all_boxes"].shape == (12, 1, 4)


def test_the_identity_of_an_index_follows_the_images_and_not_their_place(folder, tmp_path):
    first, _ = index(folder, tmp_path / "first", **FOLDERS)
    folder.rename(tmp_path / "elsewhere")
    moved, _ = index(tmp_path / "elsewhere", tmp_path / "second", **FOLDERS)
    assert moved.meta["content"] == first.meta["content"]
    assert not (moved.extras["path"] == first.extras["path"]).any()
    assert str(tmp_path) not in (tmp_path / "second" / "meta.json").read_text()  # it is published
    Image.new("RGB", (70, 64)).save(next((tmp_path / "elsewhere" / "train").rglob("*.JPEG")))
    changed, _ = index(tmp_path / "elsewhere", tmp_path / "third", **FOLDERS)
    assert changed.meta["content"] != first.meta["content"]


def test_a_flat_folder_takes_its_labels_from_a_list_or_the_development_kit(tmp_path):
    root = tmp_path / "in"
    known = write_images(root / "val", 9, flat=True)
    (root / "list").write_text("".join(f"{name} {wnid}\n" for name, wnid in known.items()))
    kit = root / "kit" / "data"
    kit.mkdir(parents=True)
    order = (WNIDS[2], WNIDS[0], WNIDS[1])  # the kit's own ids are not in the order of the WordNet ids
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(i + 1, wnid, "word", "gloss", 0) for i, wnid in enumerate(order)] + [(4, "n1", "animal", "parent", 3)]
    savemat(kit / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    truth = "".join(f"{order.index(known[name]) + 1}\n" for name in sorted(known))
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)

    wanted = [WNIDS.index(known[name]) for name in sorted(known)]
    for labels in ("list", "kit"):
        split, _ = index(root, tmp_path / labels, files=["val", labels], options={"labels": labels})
        assert split.labels.tolist() == wanted
    unlabelled, _ = index(root, tmp_path / "none", files=["val"], options={"labels": "none"})
    assert set(unlabelled.labels.tolist()) == {-1}


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (224, 224), (301, 900)])
def test_the_evaluation_crop_is_torchvisions(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    theirs = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])(picture)
    ours = torch.from_numpy(np.array(evaluation_crop(picture, 224))).permute(2, 0, 1)
    assert torch.equal(ours, theirs)


def test_a_benchmark_keeps_the_index_for_training_and_writes_pixels_for_the_rest(folder, tmp_path):
    index(folder, tmp_path / "set", **FOLDERS)
    size = Preparation(size=28, channels=3)
    source = Source(dataset="tiny", split="one", classes=(1, 2))
    for role in ("train", "test"):
        prepare_streamed(source, size, tmp_path / "set", tmp_path / role, role)
    train, test = load_split(tmp_path / "train"), load_split(tmp_path / "test")
    assert train.images.shape[1:] == (0, 0, 3)
    assert test.images.shape == (len(train), 28, 28, 3)
    assert set(train.labels.tolist()) == {0, 1}
    assert train.labels.tolist() == test.labels.tolist()
    for row, path in enumerate(load_index(train).paths):
        with Image.open(os.fsdecode(path)) as picture:
            assert WNIDS[1 + train.labels[row]] in os.fsdecode(path)
            assert np.array_equal(test.images[row], np.asarray(evaluation_crop(picture, 28)))
        x0, y0, x1, y1 = np.round(test.extras["boxes"][row]).astype(int)
        assert test.images[row, y0:y1, x0:x1].max() == test.images[row].max()
    assert sorted(file.name for file in (tmp_path / "test").iterdir()) == sorted(FILES)


def test_a_failed_preparation_leaves_nothing(folder, tmp_path):
    index(folder, tmp_path / "set", **FOLDERS)
    path = sorted((folder / "train").rglob("*.JPEG"))[3]
    path.unlink()
    source = Source(dataset="tiny", split="one")
    with pytest.raises(ReproodError, match="of a streamed split cannot be read"):
        prepare_streamed(source, Preparation(size=28, channels=3), tmp_path / "set", tmp_path / "out", "test")
    assert not (tmp_path / "out").exists()


def test_images_without_labels_are_only_for_ood_splits(tmp_path):
    write_images(tmp_path / "in" / "val", 9, flat=True)
    index(tmp_path / "in", tmp_path / "set", files=["val"], options={"labels": "none"})
    source, size = Source(dataset="tiny", split="one"), Preparation(size=28, channels=3)
    with pytest.raises(ReproodError, match="tiny/one has images without a label, which only OOD and unlabelled"):
        prepare_streamed(source, size, tmp_path / "set", tmp_path / "test", "test")
    prepare_streamed(source, size, tmp_path / "set", tmp_path / "ood", "ood")
    assert set(load_split(tmp_path / "ood").labels.tolist()) == {-1}


def cut(root: Path) -> None:
    path = sorted((root / "train").rglob("*.JPEG"))[3]
    path.write_bytes(path.read_bytes()[:-40])


def no_image(root: Path) -> None:
    sorted((root / "train").rglob("*.JPEG"))[3].write_text("text")


def box_outside(root: Path) -> None:
    path = sorted((root / "train_boxes").rglob("*.xml"))[0]
    start, end = path.read_text().split("<xmin>")[0], path.read_text().split("</xmax>")[1]
    path.write_text(f"{start}<xmin>900</xmin><ymin>1</ymin><xmax>950</xmax>{end}")


def no_xml(root: Path) -> None:
    sorted((root / "train_boxes").rglob("*.xml"))[0].write_text("<annotation>")


def entities(root: Path) -> None:
    sorted((root / "train_boxes").rglob("*.xml"))[0].write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>')


def outside_the_classes(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "a.png")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "is cut off after"),
        (no_image, "is not a readable image; replace it by an intact copy"),
        (box_outside, "the box 900, 1, 950, .* is empty or outside of its image of"),
        (no_xml, "is not valid XML"),
        (entities, "declares entities, which are never expanded"),
        (outside_the_classes, "a.png is outside the class folders; move it"),
    ],
)
def test_a_damaged_folder_is_one_sentence(folder, tmp_path, damage, words):
    damage(folder)
    with pytest.raises(ReproodError, match=words) as caught:
        index(folder, tmp_path / "out", **FOLDERS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "meta.json").exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a.JPEG n01440764 5\n", "line 1: expected an image and its class, found 3 columns"),
        ("{first} n01440764\n{first} n01440764\n", "line 2: the image .* is listed twice"),
        ("a.JPEG n01440764\n", "lists a.JPEG, which is not in the folder of images"),
        ("{first} n01440764\n", "gives no class for the image ILSVRC2012_val_00000002.JPEG"),
    ],
)
def test_a_list_that_does_not_fit_is_one_sentence(tmp_path, lines, words):
    first = next(iter(write_images(tmp_path / "in" / "val", 5, flat=True)))
    (tmp_path / "in" / "list").write_text(lines.format(first=first))
    with pytest.raises(ReproodError, match=words):
        index(tmp_path / "in", tmp_path / "out", files=["val", "list"], options={"labels": "list"})


def test_a_folder_that_is_not_here_is_not_downloaded(folder, tmp_path):
    made = entry(folder, one={"reader": "image_index", "files": ["train"]})
    absent = made.model_copy(update={"files": {"train": made.files["train"].model_copy(update={"path": ""})}})
    with pytest.raises(ReproodError, match="its folder train is not here, and it is not downloaded"):
        index_dataset("tiny", absent, "one", tmp_path / "out")
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    (folder / "train").rename(tmp_path / "mirror" / "tiny" / "train")
    index_dataset("tiny", absent, "one", tmp_path / "out", [str(tmp_path / "mirror")])
    assert len(load_split(tmp_path / "out")) == 12
