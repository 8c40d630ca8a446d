"""Every reader on small files of the real form, and on damaged ones."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprood.core.errors import ReproodError
from reprood.data import folders, formats
from reprood.data.arrays import load_split, save_split
from reprood.data.catalogue import load_catalogue, parse_entry
from reprood.data.dataset import prepare_dataset
from reprood.data.mvtec import mvtec
from reprood.data.sources import fetch_split
from reprood.data.tables import parquet

RNG = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def picture(height=8, width=8, channels=3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels) if channels == 3 else (height, width), dtype=np.uint8)


def tar(path: Path, files: dict[str, bytes], mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx(tmp_path, pack):
    images, labels = picture(5, 4, 1)[None].repeat(3, 0), np.array([0, 9, 3], np.uint8)
    (tmp_path / "i").write_bytes(pack(idx_bytes(images)))
    (tmp_path / "l").write_bytes(pack(idx_bytes(labels)))
    read = formats.idx(tmp_path / "i", tmp_path / "l")
    assert read.images.shape == (3, 5, 4, 1)
    assert np.array_equal(read.images[..., 0], images)
    assert read.labels.tolist() == [0, 9, 3]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: b"\1" + data[1:], "not an IDX file"),
        (lambda data: b"", "not an IDX file"),
        (lambda data: gzip.compress(data)[:-9], "damaged"),
        (lambda data: bytes([0, 0, 13, 3]) + data[4:], "not an IDX file"),
    ],
)
def test_damaged_idx(tmp_path, damage, words):
    (tmp_path / "i").write_bytes(damage(idx_bytes(picture(5, 4, 1)[None])))
    (tmp_path / "l").write_bytes(idx_bytes(np.zeros(1, np.uint8)))
    with pytest.raises(ReproodError, match=words):
        formats.idx(tmp_path / "i", tmp_path / "l")


def test_idx_pair_that_does_not_belong_together(tmp_path):
    (tmp_path / "i").write_bytes(idx_bytes(picture(5, 4, 1)[None]))
    (tmp_path / "l").write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(ReproodError, match="do not belong together"):
        formats.idx(tmp_path / "i", tmp_path / "l")


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifar_binary(tmp_path, label_bytes):
    image = picture(32, 32)
    record = bytes([7] * (label_bytes - 1) + [1]) + image.transpose(2, 0, 1).tobytes()
    path = tar(
        tmp_path / "c.tar.gz",
        {"c/data_batch_1.bin": record, "c/data_batch_2.bin": record, "c/names.txt": b"cat\ndog\n\n"},
    )
    read = formats.cifar_binary(path, "data_batch_[1-5].bin", "names.txt", label_bytes)
    assert read.labels.tolist() == [1, 1]
    assert read.classes == ("cat", "dog")
    assert np.array_equal(read.images[1], image)
    tar(path, {"c/data_batch_1.bin": record[:-1]})
    with pytest.raises(ReproodError, match="not a multiple"):
        formats.cifar_binary(path, "data_batch_[1-5].bin", "names.txt", label_bytes)
    tar(path, {"c/data_batch_1.bin": record, "c/names.txt": b"cat\n"})
    with pytest.raises(ReproodError, match="record 0 has label 1"):
        formats.cifar_binary(path, "data_batch_[1-5].bin", "names.txt", label_bytes)
    with pytest.raises(ReproodError, match="no member that matches"):
        formats.cifar_binary(path, "other.bin", "names.txt", label_bytes)


def test_svhn(tmp_path):
    from scipy.io import savemat

    images = RNG.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    savemat(tmp_path / "x.mat", {"X": images, "y": np.array([[1], [10], [3], [9]], np.uint8)})
    read = formats.svhn_mat(tmp_path / "x.mat")
    assert read.labels.tolist() == [1, 0, 3, 9]
    assert np.array_equal(read.images[2], images[..., 2])
    (tmp_path / "y.mat").write_bytes(b"nothing")
    with pytest.raises(ReproodError, match="not an SVHN file"):
        formats.svhn_mat(tmp_path / "y.mat")


def test_arrays(tmp_path):
    images = RNG.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "i.npy", images)
    np.save(tmp_path / "l.npy", np.arange(4))
    assert formats.npy(tmp_path / "i.npy", tmp_path / "l.npy").labels.tolist() == [0, 1, 2, 3]
    assert formats.npy(tmp_path / "i.npy").labels.tolist() == [-1] * 4
    np.savez(tmp_path / "x.npz", images=images[..., 0], labels=np.arange(4))
    assert formats.npz(tmp_path / "x.npz").images.shape == (4, 6, 6, 1)
    with pytest.raises(ReproodError, match="no array 'pixels'"):
        formats.npz(tmp_path / "x.npz", images="pixels")
    np.save(tmp_path / "f.npy", images.astype(float))
    with pytest.raises(ReproodError, match="expected uint8"):
        formats.npy(tmp_path / "f.npy")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ReproodError, match="never loaded"):
        formats.npy(tmp_path / "o.npy")


def test_corrupted_cifar_archive(tmp_path):
    def saved(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    images = RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    path = tar(tmp_path / "c.tar", {"C/fog.npy": saved(images), "C/labels.npy": saved(np.arange(10))}, "w")
    read = formats.npy_archive(path, "C/fog.npy", "C/labels.npy")
    assert read.extras["severity"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    with pytest.raises(ReproodError, match="no member C/snow.npy"):
        formats.npy_archive(path, "C/snow.npy", "C/labels.npy")


def test_several_corruptions_of_a_small_copy_of_cifar_10_c(tmp_path):
    """The catalogue's split of all nineteen, on an archive with the published names and two images a severity."""
    catalogue = load_catalogue([Path(__file__).parents[2] / "config" / "datasets.yaml"], {})
    options = catalogue["cifar10_c"].splits["all"].options
    assert len(set(options["images"])) == 19
    given = {name: RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8) for name in options["images"]}
    contents = {}
    for name, array in {**given, options["labels"]: np.arange(10) % 4}.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        contents[name] = buffer.getvalue()
    read = formats.npy_archive(tar(tmp_path / "c.tar", contents, "w"), **options)
    assert np.array_equal(read.images, np.concatenate([given[name] for name in options["images"]]))
    assert read.labels.tolist() == [*(np.arange(10) % 4)] * 19
    assert read.extras["severity"].reshape(19, 5, 2).tolist() == [[[n, n] for n in range(1, 6)]] * 19
    assert read.extras["corruption"].reshape(19, 10)[:, 0].tolist() == list(range(19))


def test_digits(tmp_path):
    row = ",".join(["0"] * 783 + ["255", "7"])
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(f"{row}\n{row}\n".encode()))
    read = formats.digits_csv(tmp_path / "d.csv.gz")
    assert read.labels.tolist() == [7, 7]
    assert read.images[0, 27, 27, 0] == 255
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    with pytest.raises(ReproodError, match="784 pixels"):
        formats.digits_csv(tmp_path / "d.csv.gz")


def class_folders() -> dict[str, bytes]:
    return {f"root/{c}/{i}.png": png(picture(12, 16 + i)) for c in ("dog", "cat") for i in range(2)}


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_image_folder(tmp_path, form):
    files = {**class_folders(), "root/cat/notes.txt": b"x", "root/.hidden/9.png": b"x"}
    path = tmp_path / form
    if form == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        tar(path, files)
    read = folders.image_folder(path, 3, 8, root="root")
    assert read.classes == ("cat", "dog")
    assert read.labels.tolist() == [0, 0, 1, 1]
    assert read.images.shape == (4, 8, 8, 3)
    assert folders.image_folder(path, 1, 8, root="root", flat=True, every=2).images.shape == (2, 8, 8, 1)
    with pytest.raises(ReproodError, match="give the catalogue entry a 'size'"):
        folders.image_folder(path, 3, None, root="root")


def test_image_folder_listing(tmp_path):
    path = tar(tmp_path / "t", {**class_folders(), "lists/test.txt": b"cat/1.png\ndog/0.png\n"})
    assert len(folders.image_folder(path, 3, 8, root="root", listing="lists/test.txt").images) == 2


def test_an_image_that_is_none_is_named(tmp_path):
    path = tar(tmp_path / "t", {"cat/1.png": b"no image"})
    with pytest.raises(ReproodError, match=r"cat/1.png is not a readable image"):
        folders.image_folder(path, 3, 8)


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png"])
def test_members_that_point_outside_are_refused(tmp_path, name):
    path = tar(tmp_path / "t", {name: png(picture())})
    with pytest.raises(ReproodError, match="points outside"):
        folders.image_folder(path, 3, 8, flat=True)


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "t", "w") as archive:
        item = tarfile.TarInfo("cat/1.png")
        item.type, item.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(item)
    with pytest.raises(ReproodError, match="is a link"):
        folders.image_folder(tmp_path / "t", 3, 8)


def test_damaged_archive(tmp_path):
    path = tar(tmp_path / "t", class_folders())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ReproodError, match="is damaged"):
        folders.image_folder(path, 3, 8)


def mvtec_files(prefix="") -> dict[str, bytes]:
    mask = np.zeros((20, 20), np.uint8)
    mask[:10] = 255
    return {
        f"{prefix}train/good/0.png": png(picture(20, 20)),
        f"{prefix}test/good/0.png": png(picture(20, 20)),
        f"{prefix}test/scratch/0.png": png(picture(20, 20)),
        f"{prefix}ground_truth/scratch/0_mask.png": png(mask),
    }


@pytest.mark.parametrize(("prefix", "category"), [("", ""), ("bottle/", "bottle")])
def test_mvtec_layout(tmp_path, prefix, category):
    path = tar(tmp_path / "t", mvtec_files(prefix))
    read = mvtec(path, 3, 10, "test", category)
    assert read.classes == ("good", "scratch")
    assert read.labels.tolist() == [0, 1]
    assert read.extras["masks"][0].max() == 0
    assert (read.extras["masks"][1][:5] == 255).all()
    assert (read.extras["masks"][1][5:] == 0).all()
    assert len(mvtec(path, 3, 10, "train", category).images) == 1
    files = mvtec_files(prefix)
    del files[f"{prefix}ground_truth/scratch/0_mask.png"]
    with pytest.raises(ReproodError, match="0_mask.png is missing"):
        mvtec(tar(tmp_path / "u", files), 3, 10, "test", category)


def test_tiny_imagenet(tmp_path):
    root = "tiny-imagenet-200"
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(f"{root}/wnids.txt", "n2\nn1\n")
        archive.writestr(f"{root}/val/val_annotations.txt", "v0.JPEG\tn2\t1\t2\t30\t40\n")
        archive.writestr(f"{root}/val/images/v0.JPEG", png(picture(64, 64)))
        archive.writestr(f"{root}/train/n1/n1_boxes.txt", "n1_0.JPEG\t0\t0\t9\t9\n")
        archive.writestr(f"{root}/train/n1/images/n1_0.JPEG", png(picture(64, 64, 1)))
    read = folders.tiny_imagenet(tmp_path / "t.zip", "val")
    assert (read.classes, read.labels.tolist(), read.extras["boxes"].tolist()) == (("n1", "n2"), [1], [[1, 2, 30, 40]])
    assert folders.tiny_imagenet(tmp_path / "t.zip", "train").labels.tolist() == [0]


def write_parquet(path: Path, records: list, classes: str = "cat\ndog") -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", image), ("label", pa.int64()), ("bbox", pa.list_(pa.int32(), 4))]
    schema = pa.schema(fields, metadata={"class_names": classes})
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)
    return path


def test_parquet(tmp_path):
    records = [{"image": {"bytes": png(picture(8, 8)), "path": None}, "label": i, "bbox": [0, 1, 4, 8]} for i in (1, 0)]
    read = parquet(write_parquet(tmp_path / "x.parquet", records), 3, None)
    assert read.labels.tolist() == [1, 0]
    assert read.classes == ("cat", "dog")
    assert read.extras["boxes"].tolist() == [[0, 1, 4, 8]] * 2
    assert parquet(tmp_path / "x.parquet", 3, 16).extras["boxes"].tolist() == [[0, 2, 8, 16]] * 2
    records[1]["image"]["bytes"] = b"odd"
    with pytest.raises(ReproodError, match="record 1 is not a readable image"):
        parquet(write_parquet(tmp_path / "x.parquet", records), 3, None)
    with pytest.raises(ReproodError, match="record 0 has label 1"):
        parquet(write_parquet(tmp_path / "x.parquet", [dict(records[0])], "cat"), 3, None)
    (tmp_path / "y.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ReproodError, match="not a readable parquet"):
        parquet(tmp_path / "y.parquet", 3, None)


def test_a_prepared_data_set_has_the_same_bytes_twice(tmp_path):
    record = parse_entry("noise", {
        "title": "N", "licence": "none",
        "splits": {"test": {"reader": "generator", "options": {
            "generator": "uniform_noise", "count": 12, "size": 28, "channels": 1}}},
    })  # fmt: skip
    for name in ("a", "b"):
        prepare_dataset("noise", record, "test", [], tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a" / "meta.json").read_text()
    with pytest.raises(ReproodError, match="has no split 'train'"):
        fetch_split("noise", record, "train", mirrors=(), downloads=tmp_path)


def test_users_own_folder_by_configuration(tmp_path):
    for name, data in class_folders().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    own = {"mine": {
        "title": "Mine", "licence": "mine", "size": 8, "files": {"photos": {"path": str(tmp_path / "root")}},
        "splits": {"test": {"reader": "image_folder", "files": ["photos"]}},
    }}  # fmt: skip
    record = load_catalogue([], own)["mine"]
    files = fetch_split("mine", record, "test", mirrors=(), downloads=tmp_path / "d")
    prepare_dataset("mine", record, "test", files, tmp_path / "out")
    split = load_split(tmp_path / "out")
    assert split.images.shape == (4, 8, 8, 3)
    assert split.meta["classes"] == ["cat", "dog"]
    assert split.meta["source"]["files"][0]["digest_status"] == "own"


def test_split_round_trip_and_damage(tmp_path):
    images = RNG.integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    save_split(tmp_path / "s", images, np.arange(3), {"boxes": np.ones((3, 4))}, {"name": "x"})
    split = load_split(tmp_path / "s")
    assert isinstance(split.images, np.memmap)
    assert np.array_equal(split.images, images)
    assert split.extras["boxes"].shape == (3, 4)
    (tmp_path / "s" / "images.npy").write_bytes(b"broken")
    with pytest.raises(ReproodError, match="cannot be read"):
        load_split(tmp_path / "s")
    (tmp_path / "s" / "images.npy").unlink()
    with pytest.raises(ReproodError, match="images.npy.* missing"):
        load_split(tmp_path / "s")
    with pytest.raises(ReproodError, match="expected uint8"):
        save_split(tmp_path / "t", images.astype(float), np.arange(3), {}, {})
    with pytest.raises(ReproodError, match="labels has 2 rows"):
        save_split(tmp_path / "t", images, np.arange(2), {}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reader": "idx"}, "x: reader: this key is not known"),
        ({"splits": {"test": {"reader": "magic", "files": ["f"]}}}, "x: splits.test.reader"),
        ({"splits": {"test": {"reader": "npz", "files": ["g"]}}}, "reads 'g', which is not listed under files"),
        ({"splits": {"test": {"reader": "npz"}}}, "has the reader npz but no files"),
        ({"files": {"f": {"md5": "abc"}}}, "files.f.md5"),
        ({"licence": None}, "x: licence"),
    ],
)
def test_mistakes_in_a_catalogue_entry(change, words):
    good = {"title": "X", "licence": "none", "files": {"f": {}}, "splits": {"test": {"reader": "npz", "files": ["f"]}}}
    parse_entry("x", good)
    with pytest.raises(ReproodError, match=words):
        parse_entry("x", {**good, **change})


def test_catalogue_has_the_papers_data_sets():
    catalogue = load_catalogue([Path(__file__).parents[2] / "config" / "datasets.yaml"], {})
    for name, file, digest in (
        ("cifar10", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
        ("svhn", "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        ("textures", "dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1"),
        ("tiny_imagenet", "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
        ("lsun_resize", "LSUN_resize.tar.gz", "278b7b31c8cb7e804a1465a8ce03a2dc"),
        ("imagenet_resize", "Imagenet_resize.tar.gz", "0f9ff11d45babf2eff5fe12281d1ac31"),
        ("places365", "val_large.tar", "9b71c4993ad89d2d8bcbdc4aef38042f"),
        ("cifar10_c", "CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499"),
        ("cifar100", "cifar-100-binary.tar.gz", ""),
    ):
        assert catalogue[name].files[file].md5 == digest
        assert catalogue[name].files[file].urls
    assert len(catalogue["mvtec_ad"].splits) == 30
    assert len(catalogue["cifar10_c"].splits) == 20  # nineteen corruptions, and all of them
    for name, record in catalogue.items():
        assert record.licence, name
        assert record.citation or all(s.reader == "generator" for s in record.splits.values()), name
