"""Bad data: arrays, archives, images, parquet, fixed formats. Each goes through `reprood data dataset`."""

import gzip
import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_harness import CANARY, Act, Case
from PIL import Image

CASES: list[Case] = []
IMAGES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8, 1)
LABELS = np.array([0, 1, 0, 1, 0, 1])


class Trap:
    """What a pickle does when it is loaded."""

    def __init__(self, inside: Path) -> None:
        self.target = inside.parent / "outside" / CANARY

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


# --- how inputs are made ---


def saved(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def zipped(members: Any, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive of (name or ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
    return buffer.getvalue()


def npz(method: int = zipfile.ZIP_STORED, **arrays: Any) -> bytes:
    return zipped(
        {f"{name}.npy": array if isinstance(array, bytes) else saved(array) for name, array in arrays.items()}, method
    )


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    """Return an .npy file with the given header."""
    raw = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(raw)) + raw + data


def shaped(shape: str, data: bytes = b"\0" * 64, kind: str = "|u1") -> bytes:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", data)


def png(width: int = 8, height: int = 8, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 7 if mode == "L" else None).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(form: str, mode: str = "L", size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)
    )


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG with the given header."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = b"".join(chunks) or chunk(b"IDAT", zlib.compress(b"\0" * 72))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def tarred(*members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                item = tarfile.TarInfo(member[0])
                item.size = len(member[1])
                archive.addfile(item, io.BytesIO(member[1]))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


def table(**columns: Any) -> bytes:
    made = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(made, buffer)
    return buffer.getvalue()


def dataset(
    inside: Path,
    reader: str,
    files: dict[str, bytes],
    *,
    options: dict[str, Any] | None = None,
    order: tuple[str, ...] | None = None,
    out: str = "data/bad/test",
    **entry: Any,
) -> Act:
    """Write files below `inside/files` and read them as the split of a data set of one's own."""
    for name, data in files.items():
        path = inside / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    names = order or tuple(files)
    record = {
        "title": "Bad",
        "licence": "none",
        "files": {Path(name).name: {"path": str(inside / "files" / name)} for name in names},
        "splits": {"test": {"reader": reader, "files": [Path(n).name for n in names], "options": options or {}}},
        **entry,
    }
    return read(inside, record, out)


def read(inside: Path, record: Any, out: str = "data/bad/test", name: str = "bad", split: str = "test") -> Act:
    text = record if isinstance(record, str) else json.dumps(record)
    command = ["data", "dataset", name, split, "--entry", text, "--out", out, "--downloads", "state"]
    return Act([*command, "--offline"], inside, inside / out)


def add(kind: str, name: str, reader: str, files: Callable[[Path], dict[str, bytes]] | dict[str, bytes], *words: str,
        **given: Any) -> None:  # fmt: skip
    def build(inside: Path) -> Act:
        return dataset(inside, reader, files(inside) if callable(files) else files, **given)

    CASES.append(Case(kind, name, build, words))


# --- arrays ---

ARRAY = "array files (.npy, .npz)"


def pair(images: Any, labels: Any = LABELS) -> dict[str, bytes]:
    return {
        "images.npy": images if isinstance(images, bytes) else saved(images),
        "labels.npy": labels if isinstance(labels, bytes) else saved(labels),
    }


def objects(inside: Path) -> bytes:
    return saved(np.array([Trap(inside)], dtype=object), allow_pickle=True)


add(ARRAY, "pickle in an npy of images", "npy", lambda i: pair(objects(i)), "images.npy", "objects")
add(ARRAY, "pickle in an npy of labels", "npy", lambda i: pair(IMAGES, objects(i)), "labels.npy", "objects")
add(ARRAY, "bare pickle named npy", "npy", lambda i: pair(pickle.dumps(Trap(i))), "images.npy", "objects")
add(ARRAY, "pickle in an npz of images", "npz", lambda i: {"a.npz": npz(images=objects(i))}, "a.npz", "objects")
add(ARRAY, "pickle in an npz of labels", "npz", lambda i: {"a.npz": npz(images=IMAGES, labels=objects(i))}, "a.npz",
    "objects")  # fmt: skip
add(ARRAY, "bare pickle named npz", "npz", lambda i: {"a.npz": pickle.dumps(Trap(i))}, "a.npz")
add(ARRAY, "nothing", "npy", pair(b""), "images.npy", "0 bytes")
add(ARRAY, "magic alone", "npy", pair(b"\x93NUMPY"), "images.npy")
add(ARRAY, "unknown version", "npy", pair(b"\x93NUMPY\x09\x00" + b"\0" * 100), "images.npy")
for title, shape in {
    "a million million images": "(1000000000000, 32, 32, 3)",
    "a shape that overflows": "(4611686018427387904, 4611686018427387904, 8, 1)",
    "a negative shape": "(-1, 8, 8, 1)",
    "a negative product": "(-2, -4, 8, 1)",
    "a shape of text": "('6', 8, 8, 1)",
    "a shape of fractions": "(6.5, 8, 8, 1)",
    "more than is there": "(6000, 8, 8, 1)",
    "33 axes": "(" + "1, " * 33 + ")",
}.items():
    add(ARRAY, f"npy of {title}", "npy", pair(shaped(shape)), "images.npy")
    add(ARRAY, f"npz of {title}", "npz", {"a.npz": npz(images=shaped(shape))}, "a.npz")
add(
    ARRAY, "labels of a million million rows", "npy", pair(IMAGES, shaped("(1000000000000,)", kind="<i8")), "labels.npy"
)
add(ARRAY, "header that is code", "npy",
    lambda i: pair(header(f"__import__('os').system('touch {i.parent}/outside/{CANARY}')")), "images.npy")  # fmt: skip
add(ARRAY, "header of nested brackets", "npy", pair(header("(" * 4000 + ")" * 4000)), "images.npy")
add(ARRAY, "header of a chain of signs", "npy", pair(header("-" * 9000 + "1")), "images.npy")
add(ARRAY, "header that is no mapping", "npy", pair(header("[1, 2, 3]")), "images.npy")
add(ARRAY, "header without a shape", "npy", pair(header("{'descr': '|u1', 'fortran_order': False}")), "images.npy")
add(ARRAY, "header longer than the file", "npy", pair(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'"), "images.npy")
add(ARRAY, "header of 60,000 blanks", "npy", pair(header(" " * 60000)), "images.npy")
add(ARRAY, "type that does not exist", "npy", pair(shaped("(6, 8, 8, 1)", kind="|zz")), "images.npy")
add(ARRAY, "type of 2 GiB an element", "npy", pair(shaped("(6, 8, 8, 1)", kind="|S2147483647")), "images.npy")
add(ARRAY, "truncated", "npy", pair(saved(IMAGES)[:-100]), "images.npy")
add(ARRAY, "float images", "npy", pair(IMAGES.astype(np.float32)), "images.npy", "float32", "expected uint8")
add(ARRAY, "NaN images", "npy", pair(np.full((6, 8, 8, 1), np.nan)), "images.npy", "expected uint8")
add(ARRAY, "Inf images", "npy", pair(np.full((6, 8, 8, 1), np.inf, np.float16)), "images.npy", "expected uint8")
add(ARRAY, "16-bit images", "npy", pair(IMAGES.astype(np.uint16)), "images.npy", "uint16")
add(ARRAY, "signed images", "npy", pair(IMAGES.astype(np.int8)), "images.npy", "int8")
add(ARRAY, "boolean images", "npy", pair(IMAGES > 3), "images.npy", "bool")
add(ARRAY, "images of text", "npy", pair(np.full((6, 8, 8, 1), "x")), "images.npy")
add(ARRAY, "images of records", "npy", pair(np.zeros((6, 8, 8, 1), [("a", "u1"), ("b", "u1")])), "images.npy")
add(ARRAY, "flat images", "npy", pair(IMAGES.reshape(6, 64)), "images.npy", "(6, 64)")
add(ARRAY, "five axes", "npy", pair(IMAGES[None]), "images.npy")
add(ARRAY, "four channels", "npy", pair(np.zeros((6, 8, 8, 4), np.uint8)), "images.npy", "(6, 8, 8, 4)")
add(ARRAY, "planes first", "npy", pair(np.zeros((6, 3, 8, 8), np.uint8)), "images.npy", "(6, 3, 8, 8)")
add(ARRAY, "no images", "npy", pair(IMAGES[:0], LABELS[:0]), "images.npy", "no images")
add(ARRAY, "images without height", "npy", pair(IMAGES[:, :0]), "images.npy", "(6, 0, 8, 1)")
add(ARRAY, "NaN labels", "npy", pair(IMAGES, np.array([0, 1, np.nan, 0, 1, 0])), "labels.npy", "whole numbers")
add(ARRAY, "Inf labels", "npy", pair(IMAGES, np.array([0, 1, np.inf, 0, 1, 0])), "labels.npy", "whole numbers")
add(ARRAY, "broken labels", "npy", pair(IMAGES, LABELS + 0.5), "labels.npy", "whole numbers")
add(ARRAY, "labels of text", "npy", pair(IMAGES, np.array(list("abcdef"))), "labels.npy", "whole numbers")
add(ARRAY, "labels of dates", "npy", pair(IMAGES, LABELS.astype("M8[s]")), "labels.npy", "whole numbers")
add(ARRAY, "complex labels", "npy", pair(IMAGES, LABELS + 0j), "labels.npy", "whole numbers")
add(ARRAY, "labels of records", "npy", pair(IMAGES, np.zeros(6, [("a", "i8")])), "labels.npy", "whole numbers")
add(
    ARRAY, "labels beyond 63 bits", "npy", pair(IMAGES, np.full(6, 2**64 - 1, np.uint64)), "labels.npy", "whole numbers"
)
add(ARRAY, "negative label", "npy", pair(IMAGES, LABELS - 7), "record 0", "label -7")
add(ARRAY, "label out of range", "npy", pair(IMAGES, LABELS + 1), "record 1", "label 2", "0 to 1", classes=["a", "b"])
add(ARRAY, "label that asks for a million million classes", "npy", pair(IMAGES, LABELS + 10**12), "label", "record")
add(ARRAY, "one-hot labels", "npy", pair(IMAGES, np.eye(6, dtype=int)), "labels.npy", "for 6 images")
add(ARRAY, "too few labels", "npy", pair(IMAGES, LABELS[:5]), "labels.npy", "5 labels for 6 images")
add(ARRAY, "too many labels", "npy", pair(IMAGES, np.arange(7)), "labels.npy", "7 labels for 6 images")
add(ARRAY, "three files", "npy", {**pair(IMAGES), "more.npy": saved(LABELS)}, "npy", "test")
add(ARRAY, "npz without images", "npz", {"a.npz": npz(pixels=IMAGES)}, "a.npz", "no array 'images'", "pixels")
add(ARRAY, "npz that is text", "npz", {"a.npz": b"not an archive"}, "a.npz")
add(ARRAY, "npz that is truncated", "npz", {"a.npz": npz(images=IMAGES)[:-40]}, "a.npz")
add(ARRAY, "npz with a member outside", "npz", {"a.npz": zipped({"../images.npy": saved(IMAGES)})}, "a.npz",
    "no array 'images'")  # fmt: skip
add(ARRAY, "npz with a member twice", "npz",
    {"a.npz": zipped([("images.npy", saved(IMAGES)), ("images.npy", saved(IMAGES[:3]))])}, "a.npz", "twice")  # fmt: skip
add(ARRAY, "npz with a flipped byte", "npz",
    {"a.npz": npz(images=IMAGES).replace(b"\x20\x21\x22\x23", b"\x20\x99\x22\x23")}, "a.npz")  # fmt: skip
add(
    ARRAY, "npz with NaN labels", "npz", {"a.npz": npz(images=IMAGES, labels=LABELS * np.nan)}, "a.npz", "whole numbers"
)
add(ARRAY, "npz that is a single npy", "npz", {"a.npz": saved(IMAGES)}, "a.npz")


def _zip_lie(inside: Path) -> dict[str, bytes]:
    """Return a zip whose directory claims a member of 200 GB of zeros."""
    raw = bytearray(npz(zipfile.ZIP_DEFLATED, images=shaped("(200000, 1000, 1000, 1)", b"\0" * 5000)))
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFFF0)
    return {"a.npz": bytes(raw)}


add(ARRAY, "npz whose directory lies about the size", "npz", _zip_lie, "a.npz")
add(ARRAY, "npz bomb", "npz",
    {"a.npz": npz(zipfile.ZIP_DEFLATED, images=shaped("(80000, 1000, 1000, 1)", b"\0" * (4 << 20)))}, "a.npz")  # fmt: skip
add(ARRAY, "unknown option", "npz", {"a.npz": npz(images=IMAGES)}, "npz", "colour", options={"colour": 1})

# --- archives and folders of images ---

ARCHIVE = "archives and folders"
GOOD = {"a/1.png": png(), "b/1.png": png()}


def archive(name: str, data: bytes | Callable[[Path], bytes], *words: str, file: str = "x.zip", **given: Any) -> None:
    given = {"channels": 1, **given}
    add(ARCHIVE, name, "image_folder", lambda i: {file: data(i) if callable(data) else data}, file, *words, **given)


def linked(name: str, target: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


for word, bad in {
    "above": "../outside/x.png", "far above": "a/../../../x.png", "absolute": "/tmp/x.png",
    "with backslashes": "..\\..\\x.png", "on a drive": "C:\\x.png",
}.items():  # fmt: skip
    archive(f"zip with a path {word}", zipped({**GOOD, bad: png()}), "points outside")
    archive(f"tar with a path {word}", tarred(*GOOD.items(), (bad, png())), "points outside", file="x.tar")
archive("zip with a link", zipped([*GOOD.items(), (linked("a/2.png", ""), "/etc/passwd")]), "link")
for word, kind in {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE,
                   "pipe": tarfile.FIFOTYPE}.items():  # fmt: skip
    archive(f"tar with a {word}", tarred(*GOOD.items(), special("a/2.png", kind, "/etc/passwd")), "link or a device",
            file="x.tar")  # fmt: skip
archive("zip with a name twice", zipped([*GOOD.items(), ("a/1.png", png(9))]), "twice")
archive("tar with a name twice", tarred(*GOOD.items(), ("a/1.png", png(9))), "twice", file="x.tar")
archive("zip that is cut", zipped(GOOD)[:-30])
archive("zip with a broken member", zipped(GOOD).replace(b"IHDR", b"IHDX", 1), "damaged")
archive("zip without members", zipped({}), "no images")
archive("tar without members", tarred(), "no images", file="x.tar")
archive("tar that is cut", tarred(*GOOD.items(), ("c/1.png", bytes(5000)))[:3000], "damaged", file="x.tar")
archive("tar.gz that is cut", tarred(*GOOD.items(), mode="w:gz")[:-12], "damaged", file="x.tar.gz")
archive("tar.gz with a wrong checksum", tarred(*GOOD.items(), mode="w:gz")[:-8] + bytes(8), "damaged", file="x.tar.gz")
archive("tar.xz that is cut", tarred(*GOOD.items(), mode="w:xz")[:-20], "damaged", file="x.tar.xz")
archive("tar.bz2 that is cut", tarred(*GOOD.items(), mode="w:bz2")[:-20], "damaged", file="x.tar.bz2")
archive("random bytes", np.random.default_rng(0).bytes(3000), "damaged")
archive("nothing", b"", "0 bytes")
archive("an HTML page", b"<!DOCTYPE html><html>", "HTML page")
archive("a Git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git-LFS")
archive("zip inside a zip, named as an image", zipped({"a/1.png": zipped(GOOD)}), "a/1.png", "not a readable image")


def _encrypted(inside: Path) -> bytes:
    raw = bytearray(zipped(GOOD))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := raw.find(mark, at + 1)) >= 0:
            raw[at + place] |= 1
    return bytes(raw)


def _compression(inside: Path) -> bytes:
    raw = bytearray(zipped(GOOD))
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = -1
        while (at := raw.find(mark, at + 1)) >= 0:
            raw[at + place] = 97
    return bytes(raw)


def _large(name: str, size: int) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.size = size
    return item


def _declared(inside: Path, size: int = 8 << 30, name: str = "a/1.png") -> bytes:
    return _large(name, size).tobuf(tarfile.PAX_FORMAT) + bytes(4096)


def _zip_bomb(inside: Path) -> bytes:
    """Return a zip with 2 GiB of zeros: its deflated stream repeats one block of 8 MiB."""
    raw = bytearray(zipped({"a/1.png": bytes(8 << 20), "b/1.png": png()}, zipfile.ZIP_DEFLATED))
    place = raw.index(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 0x80000000)
    return bytes(raw)


def _gzip_bomb(inside: Path) -> bytes:
    """Return a tar.gz whose first member is 2 GiB of zeros: concatenated gzip streams are one stream."""
    block = gzip.compress(bytes(64 << 20), 6)
    return gzip.compress(_large("a/1.png", 2 << 30).tobuf(tarfile.PAX_FORMAT)) + block * 32


archive("zip that is encrypted", _encrypted, "damaged")
archive("zip with an unknown compression", _compression, "damaged")
archive("tar that declares 8 GiB", _declared, "a/1.png", "GiB", file="x.tar")
archive("tar that declares 8 GiB of something else", lambda i: _declared(i, name="readme.txt"), "GiB", file="x.tar")
archive("tar that declares a negative size", lambda i: tarred(*GOOD.items())[:124] + b"\xff" * 12 +
        tarred(*GOOD.items())[136:], file="x.tar")  # fmt: skip
archive("zip bomb", _zip_bomb, "GiB")
archive("tar.gz bomb", _gzip_bomb, "GiB", file="x.tar.gz")
archive("image outside the class folders", zipped({**GOOD, "1.png": png()}), "outside the class folders")
archive("images of two sizes", zipped({**GOOD, "b/2.png": png(9, 9)}), "different shapes", "size")
archive("listing that is missing", zipped(GOOD), "no member list.txt", options={"listing": "list.txt"})
archive("listing that is not text", zipped({**GOOD, "list.txt": b"\xff\xfe\x00a"}), "list.txt",
        options={"listing": "list.txt"})  # fmt: skip
archive("listing that names paths above", zipped({**GOOD, "list.txt": b"../../etc/passwd\n"}), "no images",
        options={"listing": "list.txt"})  # fmt: skip
archive("root above", zipped(GOOD), "no images", options={"root": "../.."})
archive("every third of text", zipped(GOOD), "image_folder", options={"every": "third"})
archive("class name with a line break", zipped({**GOOD, "c\nd/1.png": png()}), "control character")
archive("class name with an escape sequence", zipped({**GOOD, "\x1b[31mred/1.png": png()}), "control character")
archive("class name of 5,000 letters", zipped({**GOOD, "c" * 5000 + "/1.png": png()}), "characters")


def folder(name: str, change: Callable[[Path], None], *words: str, **given: Any) -> None:
    """Return a folder of class folders, changed."""

    def build(inside: Path) -> Act:
        act = dataset(inside, "image_folder", {f"x/{n}": data for n, data in GOOD.items()}, order=("x",),
                      channels=1, **given)  # fmt: skip
        change(inside / "files" / "x")
        return act

    CASES.append(Case(ARCHIVE, f"folder: {name}", build, words))


def _secret(at: Path) -> Path:
    (at.parents[2] / "outside" / "secret.png").write_bytes(png())
    return at.parents[2] / "outside" / "secret.png"


folder("link to a file outside", lambda at: (at / "a" / "2.png").symlink_to(_secret(at)), "2.png", "link")
folder("link to a folder outside", lambda at: (at / "c").symlink_to(at.parents[2] / "outside"), "link")
folder("link to itself", lambda at: (at / "a" / "2.png").symlink_to(at / "a" / "2.png"), "2.png", "link")
folder("link to nothing", lambda at: (at / "a" / "2.png").symlink_to("nowhere.png"), "2.png", "link")
folder("link to an endless device", lambda at: (at / "a" / "2.png").symlink_to("/dev/zero"), "2.png", "link")
folder("pipe named as an image", lambda at: os.mkfifo(at / "a" / "2.png"), "2.png")
folder("class without images", lambda at: (at / "c").mkdir(), "'c'", "no images")
folder(
    "text named as an image", lambda at: (at / "a" / "2.png").write_text("text") and None, "a/2.png", "not a readable"
)
folder("0 bytes named as an image", lambda at: (at / "a" / "2.png").touch(), "a/2.png", "not a readable image")


def own(name: str, path: Callable[[Path], Path], *words: str, reader: str = "npy") -> None:
    """Return a file at an unusual place."""

    def build(inside: Path) -> Act:
        files = {"x": {"path": str(path(inside))}}
        splits = {"test": {"reader": reader, "files": ["x"]}}
        return read(inside, {"title": "Bad", "licence": "none", "files": files, "splits": splits})

    CASES.append(Case(ARCHIVE, f"own path: {name}", build, words))


def _fifo(inside: Path) -> Path:
    os.mkfifo(inside / "pipe")
    return inside / "pipe"


def _loop(inside: Path) -> Path:
    (inside / "loop").symlink_to(inside / "loop")
    return inside / "loop"


def _empty(inside: Path) -> Path:
    (inside / "empty").mkdir()
    return inside / "empty"


own("missing", lambda i: i / "missing.npy", "missing.npy", "does not exist")
own("a pipe", _fifo, "pipe", "neither a file nor a folder")
own("an endless device", lambda i: Path("/dev/zero"), "/dev/zero", "neither a file nor a folder")
own("a link to itself", _loop, "loop", "does not exist")
own("an empty folder", _empty, "empty", "0 bytes")
own("an empty folder of images", _empty, "empty", "0 bytes", reader="image_folder")
own("a name of 5,000 letters", lambda i: i / ("x" * 5000), "path")
own("a name with a null character", lambda i: i / "a\0b", "does not exist")

# --- images ---

IMAGE = "encoded images"


def image(name: str, data: bytes | Callable[[Path], bytes], *words: str, **given: Any) -> None:
    given = {"channels": 1, **given}
    add(IMAGE, name, "image_folder", lambda i: {"x.zip": zipped({"a/1.png": data(i) if callable(data) else data})},
        "a/1.png", *words, **given)  # fmt: skip


def _eps(inside: Path) -> bytes:
    """Return PostScript: opening it would start an interpreter of a programming language."""
    code = f"({inside.parent}/outside/{CANARY}) (w) file closefile"
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{code}\nshowpage\n%%EOF\n".encode()


def _noisy(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


image("PNG that is cut", _noisy(40, 40)[:700], "not a readable image")
image("PNG of a head alone", png()[:30], "not a readable image")
image("PNG with a wrong checksum", png().replace(b"IDAT", b"IDAU"), "not a readable image")
image("PNG that says 2 billion pixels a side", png_of(2**31 - 1, 2**31 - 1), "not a readable image")
image("PNG that says 100,000 pixels a side", png_of(100_000, 100_000), "not a readable image")
image("PNG that says 13,000 pixels a side", png_of(13_000, 13_000), "not a readable image")
image("PNG of no width", png_of(0, 8), "not a readable image")
image("PNG with a text that unpacks to 80 MB", png_of(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20)))),
      "not a readable image")  # fmt: skip
image("PNG with pixels that are no stream", png_of(8, 8, chunk(b"IDAT", b"nothing")), "not a readable image")
image("strip of one pixel by a million", png_of(1_000_000, 1, chunk(b"IDAT", zlib.compress(bytes(1_000_001)))),
      "1000000", size=64)  # fmt: skip
image("column of one pixel by a million", png_of(1, 1_000_000, chunk(b"IDAT", zlib.compress(bytes(2_000_000)))),
      "1000000", size=64)  # fmt: skip
image("JPEG that is cut", encoded("JPEG", size=(64, 64))[:300], "not a readable image")
image("JPEG of a head alone", encoded("JPEG")[:20], "not a readable image")
image("BMP that says a billion pixels a side", b"BM" + struct.pack("<IHHI", 62, 0, 0, 54) +
      struct.pack("<IiiHHIIiiII", 40, 10**9, 10**9, 1, 24, 0, 0, 0, 0, 0, 0), "not a readable image")  # fmt: skip
image("TIFF that is cut", encoded("TIFF", size=(64, 64))[:200], "not a readable image")
image("TIFF of floats", encoded("TIFF", "F"), "32 bits")
image("TIFF of 32-bit numbers", encoded("TIFF", "I"), "32 bits")
image("TIFF whose directory is itself", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8),
      "not a readable image")  # fmt: skip
image("WebP that is cut", encoded("WEBP", "RGB", (64, 64))[:40], "not a readable image")
image("PPM that says a billion pixels a side", b"P6 1000000000 1000000000 255\n" + bytes(100), "not a readable image")
image("PPM of letters", b"P3 2 2 255\na b c d e f g h i j k l", "not a readable image")
image("PostScript", _eps, "not a readable image")
image("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a readable image")
image("PDF", b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj", "not a readable image")
image("pickle", lambda i: pickle.dumps(Trap(i)), "not a readable image")
image("NumPy array", saved(IMAGES[0, ..., 0]), "not a readable image")
image("GIF", encoded("GIF"), "not a readable image")
image("icon of many images", encoded("ICO", "RGBA", (16, 16)), "not a readable image")
image("Photoshop file", b"8BPS\0\1" + bytes(40), "not a readable image")
image("Windows metafile", b"\xd7\xcd\xc6\x9a" + bytes(60), "not a readable image")

# --- parquet of images ---

PARQUET = "parquet of images"
CELLS = [{"bytes": png(), "path": "x.png"}] * 4
TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet(name: str, data: bytes | Callable[[Path], bytes], *words: str, **given: Any) -> None:
    given = {"channels": 1, **given}
    add(PARQUET, name, "parquet", lambda i: {"x.parquet": data(i) if callable(data) else data}, "x.parquet", *words,
        **given)  # fmt: skip


def _rows(inside: Path) -> bytes:
    """Return a hundred million rows of one image: dictionary and run-length encoding make them a few kilobytes."""
    values = pa.array([png()], pa.binary())
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1 << 20, np.int8)), values)
    buffer = io.BytesIO()
    schema = pa.schema([("image", column.type)])
    with pq.ParquetWriter(buffer, schema) as writer:
        for _ in range(4):
            writer.write_table(pa.table({"image": column}), row_group_size=1 << 20)
    return buffer.getvalue()


def _metadata(**pairs: bytes) -> bytes:
    made = pa.table({"image": CELLS, "label": [0, 1, 0, 1]}).replace_schema_metadata(pairs)
    buffer = io.BytesIO()
    pq.write_table(made, buffer)
    return buffer.getvalue()


parquet("nothing", b"", "0 bytes")
parquet("magic alone", b"PAR1PAR1")
parquet("text", b"image,label\nx,1\n")
parquet("cut", table(image=CELLS)[:-20])
parquet("footer longer than the file", b"PAR1" + bytes(40) + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")
parquet("footer of noise", b"PAR1" + bytes(range(200)) + struct.pack("<I", 150) + b"PAR1")
parquet("encrypted magic", b"PARE" + bytes(40) + struct.pack("<I", 30) + b"PARE")
parquet("page with flipped bytes", lambda i: table(image=CELLS).replace(png()[:20], b"\xff" * 20, 1))
parquet("no column of images", table(picture=CELLS), "picture", "image")
parquet("no rows", table(image=pa.array([], TYPE)), "no images")
parquet("labels of fractions", table(image=CELLS, label=[0.5, 1.0, 2.0, 3.0]), "label", "whole numbers")
parquet("labels of text", table(image=CELLS, label=list("abcd")), "label", "whole numbers")
parquet("labels of lists", table(image=CELLS, label=[[1], [2], [3], [4]]), "label", "whole numbers")
parquet("label beyond 63 bits", table(image=CELLS, label=pa.array([2**64 - 1] * 4, pa.uint64())), "label")
parquet("label out of range", lambda i: _metadata(class_names=b"a"), "record 1", "label 1")
parquet("negative label", table(image=CELLS, label=[0, 1, -5, 1]), "record 2", "label -5")
parquet("class names that are not text", lambda i: _metadata(class_names=b"\xff\xfea"), "class_names")
parquet("row without an image", table(image=pa.array([None, *CELLS], TYPE)), "record 0", "no image bytes")
parquet("image without bytes", table(image=pa.array([{"bytes": None}], TYPE)), "record 0", "no image bytes")
parquet("images that are numbers", table(image=[1, 2, 3]), "image")
parquet("images that are names of files", table(image=["/etc/passwd"] * 3), "image")
parquet("images of another form", table(image=[{"data": png()}]), "image")
parquet("images that are lists of numbers", table(image=[[1, 2, 3]]), "image")
parquet("image that is cut", table(image=[{"bytes": png()[:40], "path": ""}]), "record 0", "not a readable image")
parquet("image that says 100,000 pixels a side", table(image=[{"bytes": png_of(10**5, 10**5), "path": ""}]), "record 0")
parquet("box of three numbers", table(image=CELLS, bbox=[[1, 2, 3]] * 4), "record 0", "bbox")
parquet("box of text", table(image=CELLS, bbox=[["a", "b", "c", "d"]] * 4), "bbox")
parquet("box of NaN", table(image=CELLS, bbox=[[np.nan, 0.0, 1.0, 1.0]] * 4), "record 0", "bbox")
parquet(
    "box that is missing", table(image=CELLS, bbox=pa.array([None] * 4, pa.list_(pa.float32()))), "record 0", "bbox"
)
parquet("rows for more memory than there is", _rows, "GiB", size=512, channels=3)

# --- fixed formats ---

FIXED = "fixed formats (IDX, CIFAR, SVHN, CSV, Tiny ImageNet, MVTec-AD)"


def idx(kind: int, *shape: int, data: bytes = b"", head: bytes = b"\0\0") -> bytes:
    return head + bytes([kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


def digits(name: str, images: bytes, labels: bytes, *words: str, **given: Any) -> None:
    add(FIXED, f"IDX: {name}", "idx", {"images.idx": images, "labels.idx": labels}, *words, **given)


PIXELS, NUMBERS = idx(8, 4, 5, 5, data=bytes(100)), idx(8, 4, data=bytes([0, 1, 2, 3]))
digits("labels for images", NUMBERS, NUMBERS, "images.idx", "3 axes")
digits("wrong beginning", b"\1\2" + PIXELS[2:], NUMBERS, "images.idx", "not an IDX file")
digits("floats", idx(0x0D, 4, 5, 5, data=bytes(400)), NUMBERS, "images.idx", "not an IDX file")
digits("cut", PIXELS[:-1], NUMBERS, "images.idx", "truncated")
digits("more than its header says", PIXELS + b"\0", NUMBERS, "images.idx", "truncated or damaged")
digits("a header of 2^96 pixels", idx(8, *[2**32 - 1] * 3), NUMBERS, "images.idx", "header states")
digits("no images", idx(8, 0, 5, 5), idx(8, 0), "no images")
digits("images without pixels", idx(8, 4, 0, 0), NUMBERS, "(4, 0, 0, 1)")
digits("fewer labels", PIXELS, idx(8, 3, data=bytes(3)), "4 images", "3 labels")
digits("label out of range", PIXELS, NUMBERS, "record 2", "label 2", classes=["a", "b"])
digits("gzip that is cut", gzip.compress(PIXELS)[:-9], NUMBERS, "images.idx", "damaged")
digits("gzip bomb", gzip.compress(bytes(64 << 20), 6) * 6, NUMBERS, "images.idx", "GiB")
add(FIXED, "IDX: one file for two", "idx", {"images.idx": PIXELS}, "idx", "test")


def cifar(name: str, members: dict[str, bytes], *words: str, **options: Any) -> None:
    given = {"pattern": "batch.bin", "names_file": "names.txt", **options}
    add(FIXED, f"CIFAR: {name}", "cifar_binary", {"x.tar.gz": tarred(*members.items(), mode="w:gz")}, *words,
        options=given)  # fmt: skip


NAMES = b"cat\ndog\n"
cifar("no such member", {"names.txt": NAMES}, "x.tar.gz", "no member")
cifar("cut", {"batch.bin": bytes(3073 * 2 - 1), "names.txt": NAMES}, "x.tar.gz", "batch.bin", "not a multiple")
cifar("empty batch", {"batch.bin": b"", "names.txt": NAMES}, "batch.bin", "damaged")
cifar("label out of range", {"batch.bin": b"\7" + bytes(3072), "names.txt": NAMES}, "record 0", "label 7")
cifar("names that are not text", {"batch.bin": bytes(3073), "names.txt": b"\xff\xff"}, "x.tar.gz", "names.txt")
cifar("a pattern that is none", {"batch.bin": bytes(3073)}, "regular expression", "pattern", pattern="(")
cifar("no label bytes", {"batch.bin": bytes(3072), "names.txt": NAMES}, "label_bytes", label_bytes=0)
cifar("a negative number of label bytes", {"batch.bin": bytes(3073)}, "label_bytes", label_bytes=-5)
cifar("a million million label bytes", {"batch.bin": bytes(3073)}, "label_bytes", label_bytes=10**12)
cifar("an unknown option", {"batch.bin": bytes(3073)}, "cifar_binary", "colour", colour="red")


def mat(**arrays: Any) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


def svhn(name: str, data: bytes, *words: str) -> None:
    add(FIXED, f"SVHN: {name}", "svhn_mat", {"x.mat": data}, "x.mat", *words)


X, Y = np.zeros((32, 32, 3, 4), np.uint8), np.array([[1], [2], [10], [3]], np.uint8)
svhn("text", b"not a MATLAB file at all, but long enough to look at" * 5)
svhn("no X", mat(y=Y), "X and y")
svhn("no y", mat(X=X), "X and y")
svhn("cut", mat(X=X, y=Y)[:-200])
svhn("label out of range", mat(X=X, y=Y + 5), "record 2", "label 15")
svhn("labels of NaN", mat(X=X, y=np.full((4, 1), np.nan)), "whole numbers")
svhn("labels of text", mat(X=X, y="abcd"), "whole numbers")
svhn("fewer labels", mat(X=X, y=Y[:3]), "3 values")
svhn("floats", mat(X=X.astype(float), y=Y), "float64")
svhn("another shape", mat(X=X[:16], y=Y), "(16, 32, 3, 4)")
svhn("a header that lies", mat(X=X, y=Y)[:140] + b"\xff" * 40 + mat(X=X, y=Y)[180:])
svhn("version 7.3", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF" + bytes(500))


def csv(name: str, data: bytes, *words: str) -> None:
    add(FIXED, f"CSV: {name}", "digits_csv", {"x.csv": data}, "x.csv", *words)


ROW = ",".join(["0"] * 784 + ["3"])
csv("letters", b"a,b,c\n", "not a table of numbers")
csv("formula", ROW.replace("0", "=1+1", 1).encode(), "not a table of numbers")
csv("command of a spreadsheet", ROW.replace("0", "=cmd|' /C calc'!A1", 1).encode(), "not a table of numbers")
csv("NaN", ROW.replace("0", "nan", 1).encode() + b"\n" + ROW.encode(), "pixels")
csv("Inf", ROW.replace("0", "inf", 1).encode() + b"\n" + ROW.encode(), "pixels")
csv("broken pixel", ROW.replace("0", "1.5", 1).encode() + b"\n" + ROW.encode(), "whole")
csv("pixel of 256", ROW.replace("0", "256", 1).encode() + b"\n" + ROW.encode(), "0..255")
csv("negative pixel", ROW.replace("0", "-1", 1).encode() + b"\n" + ROW.encode(), "0..255")
csv("too few columns", b"1,2,3\n4,5,6\n", "(2, 3)")
csv("rows of different length", (ROW + "\n" + ROW + ",5\n").encode(), "not a table of numbers")
csv("broken label", (ROW[:-1] + "3.5\n" + ROW).encode(), "whole")
csv("no lines", b"\n\n", "x.csv")
csv("not text", b"\xff\xfe\xfd", "not a table of numbers")
csv("gzip that is no table", gzip.compress(b"\0\1\2"), "x.csv")
add(
    FIXED,
    "CSV: label out of range",
    "digits_csv",
    {"x.csv": (ROW[:-1] + "77\n" + ROW).encode()},
    "record 0",
    "label 77",
)


def severity(name: str, members: dict[str, bytes], *words: str) -> None:
    add(FIXED, f"CIFAR-C: {name}", "npy_archive", {"x.tar": tarred(*members.items())}, "x.tar", *words,
        options={"images": "fog.npy", "labels": "labels.npy"})  # fmt: skip


FOG, FIVE = saved(np.zeros((10, 8, 8, 3), np.uint8)), saved(np.zeros(10, np.int64))
severity("no such member", {"labels.npy": FIVE}, "no member fog.npy")
severity("no multiple of five", {"fog.npy": saved(IMAGES), "labels.npy": saved(LABELS)}, "5 equal parts")
severity("fewer labels", {"fog.npy": FOG, "labels.npy": saved(LABELS)}, "6 labels")
severity("a shape of a million million", {"fog.npy": shaped("(1000000000000, 8, 8, 3)"), "labels.npy": FIVE}, "fog.npy")
severity("labels of NaN", {"fog.npy": FOG, "labels.npy": saved(np.full(10, np.nan))}, "labels.npy", "whole numbers")
severity("text", {"fog.npy": b"text", "labels.npy": FIVE}, "fog.npy")
CASES.append(Case(FIXED, "CIFAR-C: pickle", lambda i: dataset(
    i, "npy_archive", {"x.tar": tarred(("fog.npy", objects(i)), ("labels.npy", FIVE))},
    options={"images": "fog.npy", "labels": "labels.npy"}), ("x.tar", "fog.npy", "objects")))  # fmt: skip


def tiny(name: str, members: dict[str, bytes], *words: str) -> None:
    given = {f"tiny-imagenet-200/{key}": value for key, value in members.items()}
    add(FIXED, f"Tiny ImageNet: {name}", "tiny_imagenet", {"x.zip": zipped(given)}, "x.zip", *words,
        options={"part": "val"}, channels=3)  # fmt: skip


VAL = {"wnids.txt": b"n1\nn2\n", "val/images/a.png": png(), "val/val_annotations.txt": b"a.png\tn1\t0\t0\t3\t3\n"}
tiny("no classes", {k: v for k, v in VAL.items() if k != "wnids.txt"}, "whether it is the right archive")
tiny("no images", {k: v for k, v in VAL.items() if "png" not in k}, "whether it is the right archive")
tiny(
    "short line", {**VAL, "val/val_annotations.txt": b"a.png\tn1\n"}, "val_annotations.txt", "expected a name and a box"
)
tiny("box of text", {**VAL, "val/val_annotations.txt": b"a.png\tn1\tx\t0\t3\t3\n"}, "val_annotations.txt", "box")
tiny("box of NaN", {**VAL, "val/val_annotations.txt": b"a.png\tn1\tnan\t0\t3\t3\n"}, "val_annotations.txt", "box")
tiny("unknown class", {**VAL, "val/val_annotations.txt": b"a.png\tn9\t0\t0\t3\t3\n"}, "a.png", "no class")
tiny("annotations that are not text", {**VAL, "val/val_annotations.txt": b"\xff\xfe"}, "val_annotations.txt")
tiny("image that is cut", {**VAL, "val/images/a.png": png()[:40]}, "a.png", "not a readable image")


def mvtec(name: str, members: dict[str, bytes], *words: str, **options: Any) -> None:
    add(FIXED, f"MVTec-AD: {name}", "mvtec", {"x.zip": zipped(members)}, *words, options={"part": "test", **options},
        channels=1, size=8)  # fmt: skip


MASK = encoded("PNG", "L")
TILES = {"test/good/1.png": png(), "test/hole/1.png": png(), "ground_truth/hole/1_mask.png": png()}
mvtec("no test images", {"train/good/1.png": png()}, "x.zip", "MVTec-AD layout")
mvtec("missing mask", {k: v for k, v in TILES.items() if "mask" not in k}, "x.zip", "hole/1_mask.png is missing")
mvtec("mask of another size", {**TILES, "ground_truth/hole/1_mask.png": png(9, 9)}, "mask of hole/1")
mvtec("mask that is no image", {**TILES, "ground_truth/hole/1_mask.png": b"x"}, "1_mask.png", "not a readable image")
mvtec("image in no folder", {**TILES, "test/2.png": png()}, "test/2.png", "not in a folder of its kind")
mvtec("unknown fit", TILES, "fit", "crop or stretch", fit="squeeze")
mvtec("no part", TILES, "x.zip", "MVTec-AD layout", part=None)
