"""Readers of sets for large images: right values on a tiny copy in the published format, one sentence for damage."""

import io
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data import rows as rows_module
from reprood.data.arrays import load_split
from reprood.data.benchmark import prepare_split
from reprood.data.cub import cub
from reprood.data.dataset import prepare_dataset
from reprood.data.domainnet import domainnet
from reprood.data.downsampled import downsampled_imagenet
from reprood.data.entries import DatasetEntry, SourceFile
from reprood.data.folders import image_folder

BIRDS = {  # number: name, class, part, box (x, y, width, height), size (width, height), colour
    2: ("002.Auk/Auk_1.jpg", 2, 1, (4.0, 0.0, 8.0, 16.0), (32, 16), (200, 0, 0)),
    1: ("001.Ani/Ani_1.jpg", 1, 0, (0.0, 8.0, 16.0, 24.4), (16, 32), (0, 200, 0)),
    3: ("002.Auk/Auk_2.jpg", 2, 0, (12.0, 4.0, 8.0, 8.0), (32, 16), (0, 0, 200)),
}


def encoded(size, colour, form="PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def birds(tmp_path):
    folder = tmp_path / "CUB_200_2011"
    lines = {"images": [], "image_class_labels": [], "train_test_split": [], "bounding_boxes": []}
    for number, (name, kind, part, box, size, colour) in BIRDS.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(encoded(size, colour, "JPEG"))
        rows = (name, kind, part, " ".join(map(str, box)))
        for table, value in zip(lines, rows, strict=True):
            lines[table].append(f"{number} {value}")
    lines["classes"] = ["1 001.Ani", "2 002.Auk"]
    for table, text in lines.items():
        (folder / f"{table}.txt").write_text("\n".join(text) + "\n")
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_birds_have_labels_and_boxes_of_the_stored_images(birds, tmp_path, packed) -> None:
    path = birds
    if packed:
        path = tmp_path / "CUB_200_2011.tgz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(birds, "CUB_200_2011")
    found = cub(path, 3, 16, "test", "stretch")
    assert found.classes == ("001.Ani", "002.Auk")
    assert found.labels.tolist() == [0, 1]  # in the order of images.txt
    assert found.images[:, 8, 8].argmax(axis=1).tolist() == [1, 2]
    # x, y, width, height of a 16 x 32 and a 32 x 16 image; half a pixel beyond the border is cut off
    assert found.extras["boxes"].tolist() == [[0, 4, 16, 16], [6, 4, 10, 12]]
    cropped = cub(path, 3, 16, "test").extras["boxes"].tolist()
    assert cropped == [[0, 0, 16, 16], [4, 4, 12, 12]]  # the middle 16 of 32 rows, of 32 columns
    assert cub(path, 3, 16, "train").labels.tolist() == [1]


def edit(path, old, new) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "bounding_boxes.txt").unlink(), "has no bounding_boxes.txt, which is part of CUB-200-2011"),
        (lambda f: (f / "images/001.Ani/Ani_1.jpg").unlink(), "Ani_1.jpg, which is not there .1 of 2 images"),
        (
            lambda f: (f / "images/001.Ani/Ani_1.jpg").write_bytes(encoded((16, 32), (0, 0, 0), "JPEG")[:300]),
            "Ani_1.jpg is not a readable image",
        ),
        (lambda f: edit(f / "bounding_boxes.txt", "24.4", "26"), "the box .* is outside of the image of 16 x 32"),
        (
            lambda f: edit(f / "bounding_boxes.txt", "8.0 8.0", "8.0"),
            "bounding_boxes.txt, line 3: expected a number and",
        ),
        (lambda f: edit(f / "bounding_boxes.txt", "8.0 8.0", "8.0 -1"), "image 3 .* is not x, y, width and height"),
        (lambda f: edit(f / "train_test_split.txt", "3 0", ""), "train_test_split.txt has no line for image 3"),
        (lambda f: edit(f / "image_class_labels.txt", "3 2", "3 7"), "image 3 .* has class 7 and part 0"),
        (lambda f: edit(f / "images.txt", "3 002", "2 002"), "images.txt, line 3: the number 2 is there twice"),
    ],
)
def test_damage_to_birds_is_one_sentence(birds, damage, words) -> None:
    damage(birds)
    with pytest.raises(ReproodError, match=words):
        cub(birds, 3, 16, "test")


def batch(path, data, labels) -> None:
    np.savez(path, data=data, labels=labels, mean=np.zeros(data.shape[1]))


@pytest.fixture
def batches(tmp_path):
    generator = np.random.default_rng(0)
    data = [generator.integers(0, 256, (count, 3072), dtype=np.uint8) for count in (5, 3)]
    paths = [tmp_path / f"train_data_batch_{i}.npz" for i in (1, 2)]
    for path, part, labels in zip(paths, data, ([1, 1000, 7, 2, 3], [4, 5, 6]), strict=True):
        batch(path, part, np.array(labels))
    return paths, np.concatenate(data)


@pytest.mark.parametrize("mapped", [False, True])
def test_downsampled_images_are_read_in_parts(batches, tmp_path, monkeypatch, mapped) -> None:
    paths, data = batches
    monkeypatch.setattr(rows_module, "PART", 2 * 3072)
    found = downsampled_imagenet(paths, ["a", "b"], file=tmp_path / "images.part" if mapped else None)
    assert isinstance(found.images, np.memmap) == mapped
    assert np.array_equal(found.images, data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert found.labels.tolist() == [0, 999, 6, 1, 2, 3, 4, 5]  # published from 1 on


def test_one_image_in_the_order_of_columns_is_read(tmp_path) -> None:
    """A single row has the same bytes in both orders, whatever its header says."""
    data, path = np.arange(3072).astype(np.uint8).reshape(1, 3072), tmp_path / "one.npz"
    header, content = io.BytesIO(), data.tobytes()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": True, "shape": data.shape})
    labels = io.BytesIO()
    np.save(labels, np.array([1]))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", header.getvalue() + content)
        archive.writestr("labels.npy", labels.getvalue())
    found = downsampled_imagenet([path], ["one"])
    assert np.array_equal(found.images, data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: batch(p, np.zeros((2, 3072), np.uint8), [0, 1]), "b: record 0 has label 0; expected 1 to 1000"),
        (lambda p: batch(p, np.zeros((2, 3072), np.uint8), [1]), "b has 1 labels for 2 images"),
        (lambda p: batch(p, np.zeros((2, 3000), np.uint8), [1, 2]), r"b: data have type uint8 and shape \(2, 3000\)"),
        (lambda p: batch(p, np.zeros((2, 768), np.uint8), [1, 2]), "a, b: rows have 768 and 3072 values"),
        (
            lambda p: batch(p, np.asfortranarray(np.zeros((2, 3072), np.uint8)), [1, 2]),
            "b: data are stored column by column",
        ),
        (lambda p: np.savez(p, data=np.zeros((2, 3072), np.uint8)), "b has no array 'labels'; it has: data"),
        (lambda p: p.write_bytes(pickle.dumps({"data": 1})), "b is a pickle, which is not read"),
        (lambda p: p.write_bytes(p.read_bytes()[:4000]), "b is damaged, or no batch of downsampled ImageNet"),
    ],
)
def test_damage_to_batches_is_one_sentence(batches, make, words) -> None:
    paths, _ = batches
    make(paths[1])
    with pytest.raises(ReproodError, match=words):
        downsampled_imagenet(paths, ["a", "b"])


@pytest.fixture
def domain(tmp_path):
    path = tmp_path / "real.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index, name in enumerate(["real/bus/r_1.jpg", "real/axe/r_2.jpg", "real/axe/r_3.jpg"]):
            archive.writestr(name, encoded((40, 32), (50 * index, 10, 10)))
    listing = tmp_path / "real_train.txt"
    listing.write_text("real/axe/r_3.jpg 0\nreal/bus/r_1.jpg 2\n")
    return listing, path


def test_a_domain_is_read_in_the_order_of_its_list(domain) -> None:
    found = domainnet(*domain, 3, 32)
    assert found.images[:, 0, 0, 0].tolist() == [100, 0]
    assert found.labels.tolist() == [0, 2]
    assert found.classes == ("axe", "1", "bus")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("real/axe/r_3.jpg\n", "real_train.txt, line 1: expected a path and a label, found 'real/axe/r_3.jpg'"),
        ("real/axe/r_3.jpg 0 1\n", "line 1: expected a path and a label"),
        ("real/axe/r_9.jpg 0\n", "real.zip has no real/axe/r_9.jpg, which real_train.txt names .1 of 1"),
        ("real/axe/r_3.jpg 0\nreal/axe/r_3.jpg 0\n", "line 2: real/axe/r_3.jpg is there twice"),
        ("real/axe/r_3.jpg 0\nreal/bus/r_1.jpg 0\n", "the label 0 belongs to the folders axe and bus"),
        ("\n", "real_train.txt and real.zip: there are no images"),
    ],
)
def test_damage_to_a_list_is_one_sentence(domain, text, words) -> None:
    domain[0].write_text(text)
    with pytest.raises(ReproodError, match=words):
        domainnet(*domain, 3, 32)


def test_a_truncated_image_of_a_domain_is_named(domain) -> None:
    with zipfile.ZipFile(domain[1], "w") as archive:
        archive.writestr("real/axe/r_3.jpg", encoded((40, 32), (1, 2, 3), "JPEG")[:200])
    domain[0].write_text("real/axe/r_3.jpg 0\n")
    with pytest.raises(ReproodError, match="real/axe/r_3.jpg is not a readable image"):
        domainnet(*domain, 3, 32)


def class_folders(path, names) -> None:
    """Write a tar with two images a class, as ImageNet-30 and ImageNet-R are published."""
    with tarfile.open(path, "w") as archive:
        for index, name in enumerate(names):
            data = encoded((36 + index, 32), (40 * index, 0, 0), "JPEG")
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("names", "options", "classes"),
    [
        (  # ImageNet-30's test images are in a second folder of the class' name
            ["one_class_test/acorn/acorn/a.JPEG", "one_class_test/tank/tank/b.JPEG"],
            {"root": "one_class_test", "nested": True},
            ["acorn", "tank"],
        ),
        (
            ["imagenet-r/n07697537/a.jpg", "imagenet-r/n01443537/b.jpg"],
            {"root": "imagenet-r"},
            ["n01443537", "n07697537"],
        ),
    ],
)
def test_class_folders_are_written_without_being_held(tmp_path, names, options, classes) -> None:
    path = tmp_path / "images.tar"
    class_folders(path, names)
    mapped = image_folder(path, 3, 32, file=tmp_path / "images.part", **options)
    held = image_folder(path, 3, 32, **options)
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(mapped.images, held.images)
    entry = DatasetEntry.model_validate(
        {
            "title": "t",
            "licence": "l",
            "size": 32,
            "files": {"images.tar": {"path": str(path)}},
            "splits": {"test": {"reader": "image_folder", "files": ["images.tar"], "options": options}},
        }
    )
    out = tmp_path / "out"
    prepare_dataset("large", entry, "test", [SourceFile(path, "path", {"name": "images.tar"})], out)
    split = load_split(out)
    assert split.meta["classes"] == classes
    assert np.array_equal(split.images, held.images)
    assert sorted(file.name for file in out.iterdir()) == ["extras.npz", "images.npy", "labels.npy", "meta.json"]


def test_a_failed_preparation_leaves_no_part(tmp_path) -> None:
    path = tmp_path / "images.tar"
    class_folders(path, ["a/1.jpg", "b/2.jpg"])
    entry = DatasetEntry.model_validate(
        {
            "title": "t",
            "licence": "l",
            "files": {"images.tar": {"path": str(path)}},
            "splits": {"test": {"reader": "image_folder", "files": ["images.tar"]}},
        }
    )
    with pytest.raises(ReproodError, match="images have different shapes .*give the catalogue entry a 'size'"):
        prepare_dataset("l", entry, "test", [SourceFile(path, "path", {"name": "images.tar"})], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parts_of_a_prepared_split_are_those_of_the_whole(tmp_path, monkeypatch, birds) -> None:
    entry = DatasetEntry.model_validate(
        {
            "title": "Birds",
            "licence": "l",
            "size": 32,
            "files": {"birds": {"path": str(birds)}},
            "splits": {"test": {"reader": "cub", "files": ["birds"], "options": {"part": "test", "fit": "stretch"}}},
        }
    )
    prepare_dataset("birds", entry, "test", [SourceFile(birds, "path", {"name": "birds"})], tmp_path / "data")
    contents = []
    for part in (1, 1 << 20):
        monkeypatch.setattr(rows_module, "PART", part)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        source = Source(dataset="birds", split="test")
        prepare_split(source, Preparation(size=24, channels=3), tmp_path / "data", tmp_path / "out", "test")
        split = load_split(tmp_path / "out")
        assert sorted(file.name for file in split.folder.iterdir())[1] == "images.npy"
        contents.append(split.meta["content"])
    assert contents[0] == contents[1]
    assert sorted(split.extras["boxes"].tolist()) == [[0, 6, 24, 24], [9, 6, 15, 18]]
