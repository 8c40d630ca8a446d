"""Data sets as people have them: several files, other names, wrapped folders, labels in other places."""

import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reprood.cli.options import configuration
from reprood.core.errors import ReproodError
from reprood.data import formats
from reprood.data.archives import members
from reprood.data.arrays import load_split
from reprood.data.catalogue import parse_entry
from reprood.data.dataset import prepare_dataset
from reprood.data.folders import image_folder
from reprood.data.own import own_content
from reprood.data.sources import fetch_split
from reprood.data.tables import parquet

RNG = np.random.default_rng(0)


def png(tag: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def laid(folder: Path, files: dict[str, bytes] | list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[name] if isinstance(files, dict) else png())
    return folder


def table(path: Path, metadata: dict | None = None, image: str = "image", **columns) -> Path:
    cells = [{"bytes": png(), "path": None} for _ in next(iter(columns.values()), range(2))]
    content = pa.table({image: cells, **columns})
    pq.write_table(content.replace_schema_metadata({"huggingface": json.dumps(metadata)} if metadata else None), path)
    return path


def prepare(folder: Path, reader: str, names: list[str], classes=(), **options):
    record = parse_entry("mine", {
        "title": "Mine", "licence": "mine", "size": 8, "classes": list(classes),
        "files": {name: {"path": str(folder / name)} for name in names},
        "splits": {"all": {"reader": reader, "files": names, "options": options}},
    })  # fmt: skip
    files = fetch_split("mine", record, "all", mirrors=(), downloads=folder / "downloads")
    prepare_dataset("mine", record, "all", files, folder / "out")
    return load_split(folder / "out")


def test_every_named_file_is_read(tmp_path):
    names = [f"train-0000{k}-of-00003.parquet" for k in range(2)]
    for name in names:
        table(tmp_path / name, label=[0, 1])
    split = prepare(tmp_path, "parquet", names)
    assert split.labels.tolist() == [0, 1, 0, 1]
    assert "1 of 3 parts of train are not among the files" in split.meta["notes"][-1]
    laid(tmp_path, ["one/b/1.png", "one/c/1.png", "two/a/1.png", "two/b/1.png"])
    split = prepare(tmp_path, "image_folder", ["one", "two"])
    assert (split.meta["classes"], split.labels.tolist()) == (["a", "b", "c"], [1, 2, 0, 1])
    for k in range(2):
        np.savez(tmp_path / f"{k}.npz", images=np.full((2, 8, 8), k, np.uint8), labels=[k, 5])
    split = prepare(tmp_path, "npz", ["0.npz", "1.npz"])
    assert (split.images[:, 0, 0, 0].tolist(), split.labels.tolist()) == ([0, 0, 1, 1], [0, 5, 1, 5])


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    names = {"names": ["ant", "bee"], "_type": "ClassLabel"}
    table(tmp_path / "a", {"info": {"features": {"label": names}}}, label=[0, 1])
    table(tmp_path / "b", label=[0, 1])
    with pytest.raises(
        ReproodError, match=r"a and b do not fit together: their classes are \[ant, bee\] and not named"
    ):
        prepare(tmp_path, "parquet", ["a", "b"])
    np.save(tmp_path / "c", np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(ReproodError, match="one file of images and one of labels, and 3 are named"):
        prepare(tmp_path, "npy", ["c.npy", "a", "b"])


def test_the_catalogue_numbers_classes_by_name(tmp_path):
    laid(tmp_path, ["d/apple/1.png", "d/banana/1.png", "d/banana/2.png"])
    split = prepare(tmp_path, "image_folder", ["d"], classes=["banana", "apple", "cherry"])
    assert (split.meta["classes"], split.labels.tolist()) == (["banana", "apple", "cherry"], [1, 0, 0])
    assert split.meta["notes"] == ["1 classes of the catalogue have no images (the first: cherry)"]
    with pytest.raises(ReproodError, match="class 'banana' of the data is not among 'classes'"):
        prepare(tmp_path, "image_folder", ["d"], classes=["apple", "pear"])


def test_a_folder_around_the_class_folders_is_no_class(tmp_path):
    path = laid(tmp_path, ["photos/cat/1.png", "photos/dog/1.png"])
    with pytest.raises(ReproodError, match=r"one folder deeper .*\(photos; .* 'root: photos' .* 'nested: true'"):
        image_folder(path, 3, 8)
    assert image_folder(path, 3, 8, root="photos").classes == ("cat", "dog")
    assert image_folder(path, 3, 8, nested=True).classes == ("photos",)
    with pytest.raises(ReproodError, match="there are no images below 'pictures/'; it has photos"):
        image_folder(path, 3, 8, root="pictures")


def test_what_a_folder_leaves_out_is_counted(tmp_path):
    files = {f"cat/{k}.png": png(tag=6 if k else 1) for k in range(3)} | {"dog/1.png": png(), "dog/deep/2.png": png()}
    others = {"cat/1.heic": b"x", "cat/2.gif": b"x", ".DS_Store": b"x", "list.txt": b"cat/0.png\ndog/1.png\ncat/9.png"}
    path = laid(tmp_path, files | others)
    assert image_folder(path, 3, 8).notes == (
        "1 hidden files are left out (the first: .DS_Store)",
        "3 files without the suffix of an image are left out (the first: cat/1.heic)",
        "2 images have an orientation tag, which is ignored (the first: cat/1.png)",
        "1 images are in folders inside of their class folder (the first: dog/deep/2.png)",
    )
    read = image_folder(path, 3, 8, listing="list.txt")
    assert read.labels.tolist() == [0, 1]
    assert "1 names of list.txt are not there (the first: cat/9.png)" in read.notes


def test_names_of_a_hugging_face_table(tmp_path):
    names = {"names": ["ant", "bee"], "_type": "ClassLabel"}
    path = table(tmp_path / "x", {"info": {"features": {"label": names}}}, label=[0, 1])
    read = parquet(path, 3, None)
    assert (read.classes, read.labels.tolist()) == (("ant", "bee"), [0, 1])
    table(path, image="img", fine_label=[3, None], coarse_label=[1, 1])
    with pytest.raises(ReproodError, match="expected 'image' .* the option 'image'"):
        parquet(path, 3, None)
    with pytest.raises(ReproodError, match=r"no column 'label', .*'label: fine_label'\), or set 'flat: true'"):
        parquet(path, 3, None, image="img")
    read = parquet(path, 3, None, image="img", label="fine_label")
    assert read.labels.tolist() == [3, -1]
    assert read.notes == (
        "1 columns of x are not read (the first: coarse_label)",
        "1 images have no label (the first: record 1 of x)",
    )
    assert parquet(path, 3, None, image="img", flat=True).labels.tolist() == [-1, -1]


def test_names_of_arrays(tmp_path):
    images = np.zeros((3, 8, 8, 3), np.uint8)
    path = tmp_path / "x.npz"
    np.savez(path, images=images, target=[2, 1, 0], more=np.zeros(5))
    with pytest.raises(ReproodError, match=r"no array 'labels'; .*'labels: target'"):
        formats.npz(path)
    with pytest.raises(ReproodError, match="no array 'y' of labels"):
        formats.npz(path, labels="y")
    read = formats.npz(path, labels="target")
    assert read.labels.tolist() == [2, 1, 0]
    assert read.notes == ("1 arrays of x.npz are not read (the first: more)",)
    np.savez(path, images=images)
    assert formats.npz(path).notes == ("3 images are read without labels (the first: x.npz)",)
    np.savez(path, images=images[0])
    with pytest.raises(ReproodError, match=r"\(8, 8, 3\), which is that of one image"):
        formats.npz(path)


def test_a_table_of_digits_with_the_label_first(tmp_path):
    table = np.zeros((10, 785), int)
    table[:, 0], table[:, 300] = range(10), 180
    rows = "\n".join(",".join(map(str, row)) for row in table)
    names = ",".join(["label", *(f"pixel{k}" for k in range(784))])
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    with pytest.raises(ReproodError, match="set the option 'label: first'"):
        formats.digits_csv(path)
    for text, options in ((rows, {"label": "first"}), (f"{names}\r\n{rows}", {})):
        path.write_bytes(gzip.compress(text.encode()))
        read = formats.digits_csv(path, **options)
        assert read.labels.tolist() == list(range(10))
        assert np.argwhere(read.images[4, ..., 0]).tolist() == [[299 // 28, 299 % 28]]
    assert formats.digits_csv(path, label="last").labels.tolist() == [0] * 10


def test_the_content_of_an_own_folder_is_an_input(tmp_path):
    laid(tmp_path / "d", ["a/1.png", "b/1.png"])
    record = parse_entry("mine", {
        "title": "Mine", "licence": "mine", "size": 8, "files": {"d": {"path": str(tmp_path / "d")}, "net": {}},
        "splits": {"all": {"reader": "image_folder", "files": ["d"]}, "other": {"reader": "npz", "files": ["net"]}},
    })  # fmt: skip

    def content() -> str:
        fetch_split("mine", record, "all", mirrors=(), downloads=tmp_path / "downloads")
        return own_content(record, "all", tmp_path / "state")

    first = content()
    assert content() == first
    laid(tmp_path / "d", {".DS_Store": b""})
    os.utime(tmp_path / "d" / "a" / "1.png", (1, 1))
    assert content() == first
    laid(tmp_path / "d", ["a/1.png"])
    second = content()
    assert second != first
    laid(tmp_path / "d", ["b/2.png"])
    assert content() not in (first, second)
    assert own_content(record, "other", tmp_path / "state") == ""


def test_every_command_finds_the_data_sets_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = "datasets: {fruit: {title: F, licence: m, files: {d: {path: /d}}, splits: {t: {reader: npz, files: [d]}}}}\n"
    laid(tmp_path / "config", {"datasets.yaml": b"", "config.yaml": own.encode()})
    assert list(configuration()[0]["datasets"]) == ["fruit"]
    laid(tmp_path, {"more.yaml": b"datasets: {fruit: {note: mine}}\nsuite: mine.yaml\n"})
    settings, options = configuration("", ["device=cpu"], [Path("more.yaml")])
    assert settings["datasets"]["fruit"]["title"] == "F"  # laid over, as in Snakemake
    assert settings["datasets"]["fruit"]["note"] == "mine"
    assert (settings["suite"], settings["device"]) == ("mine.yaml", "cpu")
    assert options == ["--configfile", "more.yaml", "--config", "device=cpu"]
    laid(tmp_path / "config", {"config.yaml": b"datasets: [fruit]\n"})
    with pytest.raises(ReproodError, match="must contain data sets by name under 'datasets'"):
        configuration()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive, .*; unpack it and name the folder"),
        (b"Rar!\x1a\x07\x01", "is a RAR archive, which is not read"),
        (b"nothing of the kind", "is damaged, or no zip or tar archive"),
    ],
)
def test_what_is_no_readable_archive_is_named(tmp_path, head, words):
    (tmp_path / "x").write_bytes(head + bytes(100))
    with pytest.raises(ReproodError, match=words):
        list(members(tmp_path / "x", lambda name: True))


def test_names_that_are_not_utf_8_or_have_backslashes(tmp_path):
    laid(tmp_path / "d", ["cat/1.png"])
    with open(os.fsencode(tmp_path / "d" / "cat") + b"/\xe4.png", "wb") as stream:
        stream.write(png())
    with pytest.raises(ReproodError, match=r"the file name 'cat/\\xe4.png' is not UTF-8; rename it"):
        image_folder(tmp_path / "d", 3, 8)
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat\\1.png", png())
    with pytest.raises(ReproodError, match="separated by backslashes"):
        image_folder(tmp_path / "x.zip", 3, 8)
