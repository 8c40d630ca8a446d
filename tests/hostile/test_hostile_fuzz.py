"""Readers on damaged and random input: they give a result or one sentence, and nothing else.

By default 20 examples per reader, always the same ones. For more, new ones each time:

    pytest tests/hostile/test_hostile_fuzz.py --fuzz 5000
"""

import contextlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import hostile_data as data
import hostile_papers as papers
import hostile_records as records
import hostile_results as results
import hostile_settings as settings
import pytest
from hostile_harness import Act, perform
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

pytestmark = pytest.mark.hostile


@pytest.fixture
def fuzzed(request):
    """Return the settings of hypothesis according to `--fuzz`."""
    examples = request.config.getoption("--fuzz")
    return profile(
        max_examples=examples or 20, deadline=None, database=None, derandomize=examples is None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


EDIT = st.tuples(
    st.sampled_from(["set", "flip", "insert", "cut", "double", "zero", "large"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
)


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of a good file with one to six places changed."""

    def change(edits: list[tuple[str, float, bytes]]) -> bytes:
        raw = bytearray(seed)
        for kind, share, new in edits:
            at = int(share * len(raw))
            stop = at + len(new)
            match kind:
                case "set":
                    raw[at:stop] = new
                case "flip":
                    raw[at:stop] = bytes(value ^ 0xFF for value in raw[at:stop])
                case "insert":
                    raw[at:at] = new
                case "cut":
                    del raw[at : at + 1 + 16 * new[0]]
                case "double":
                    raw[at:at] = raw[at : at + 4 * len(new)]
                case "zero":
                    raw[at:stop] = bytes(len(raw[at:stop]))
                case "large":
                    raw[at:stop] = b"\xff" * len(raw[at:stop])
        return bytes(raw)

    return st.lists(EDIT, min_size=1, max_size=6).map(change)


SAFETENSORS = "model.safetensors"
TEXTS = (
    b"phase,epoch,lr,train_loss\ntrain,1,0.1,0.5\ntrain,2,0.1,0.25\n",
    b"study,arm,seed,metric,value\ns,a,0,m,1.5\n",
)


def _readers() -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """Return name -> (name of the file, good content, reader)."""
    from reprood.audit.papers import load_papers
    from reprood.audit.studies import read_study
    from reprood.config.load import load_suite
    from reprood.core.errors import ReproodError
    from reprood.data import folders, formats
    from reprood.data.archives import DAMAGED, members
    from reprood.data.arrays import array_of, load_split, read_npz
    from reprood.data.download import SourceFailed
    from reprood.data.packages import deb_member
    from reprood.data.prepare import decode
    from reprood.data.tables import parquet
    from reprood.evaluate.outputs import load_outputs
    from reprood.evaluate.table import read_metrics
    from reprood.publish.seal import read_sums
    from reprood.publish.unpack import opened
    from reprood.report.claims import read_verdicts
    from reprood.report.records import RunRecord, checked
    from reprood.report.results import read_history
    from reprood.train.run import load_model

    def all_members(path: Path) -> None:
        for _ in members(path, lambda name: True):
            pass

    def package(path: Path) -> None:
        try:
            deb_member(path, "x")
        except (SourceFailed, ValueError, *DAMAGED) as error:
            raise ReproodError(str(error)) from error  # as `from_package` does

    def model(path: Path) -> None:
        if path.name == SAFETENSORS:
            shutil.copy(records.good_model() / "model.json", path.parent)
        else:
            shutil.copy(records.good_model() / SAFETENSORS, path.parent)
        load_model(path.parent, "cpu")

    def split(path: Path) -> None:
        for name in ("images.npy", "labels.npy", "extras.npz", "meta.json"):
            if name != path.name:
                shutil.copy(records.good_split() / name, path.parent)
        load_split(path.parent)

    def release(path: Path) -> None:
        with opened(path) as folder:
            read_sums(folder)

    crate = data.zipped({"d/ro-crate-metadata.json": b"{}", "d/SHA256SUMS": b"0" * 64 + b"  a/b\n", "d/a/b": b"1"})
    shelf = records.shelf() / "p.parquet"
    results.parquet(shelf, results.columns())
    run = {"device": "cpu", "threads": 1, "precision": "fp32", "versions": {"a": "1"}, "data": {"train": "x"},
           "phases": [{"seconds": 1.0, "images": 5}]}  # fmt: skip
    ar = (
        b"!<arch>\n"
        + b"data.tar".ljust(48)
        + str(len(TAR := data.tarred(("./x", b"1")))).encode().ljust(10)
        + b"`\n"
        + TAR
    )
    good, trained = records.good_split(), records.good_model()
    return {
        "npy": ("x.npy", data.saved(data.IMAGES), lambda p: array_of(p.read_bytes(), str(p))),
        "npz": ("x.npz", data.npz(zipfile.ZIP_DEFLATED, images=data.IMAGES, labels=data.LABELS), read_npz),
        "zip": ("x.zip", data.zipped(data.GOOD, zipfile.ZIP_DEFLATED), all_members),
        "tar": ("x.tar", data.tarred(*data.GOOD.items()), all_members),
        "tar.gz": ("x.tar.gz", data.tarred(*data.GOOD.items(), mode="w:gz"), all_members),
        "tar.xz": ("x.tar.xz", data.tarred(*data.GOOD.items(), mode="w:xz"), all_members),
        "folder of images in a zip": ("x.zip", data.zipped(data.GOOD), lambda p: folders.image_folder(p, 1, 8)),
        "PNG": ("x.png", data._noisy(12, 9), lambda p: decode(p.read_bytes(), str(p))),
        "JPEG": ("x.jpg", data.encoded("JPEG", "RGB", (16, 9)), lambda p: decode(p.read_bytes(), str(p))),
        "TIFF": ("x.tif", data.encoded("TIFF", "RGB", (16, 9)), lambda p: decode(p.read_bytes(), str(p))),
        "BMP": ("x.bmp", data.encoded("BMP", "RGB", (16, 9)), lambda p: decode(p.read_bytes(), str(p))),
        "WebP": ("x.webp", data.encoded("WEBP", "RGB", (16, 9)), lambda p: decode(p.read_bytes(), str(p))),
        "PPM": ("x.ppm", data.encoded("PPM", "RGB", (16, 9)), lambda p: decode(p.read_bytes(), str(p))),
        "parquet of images": (
            "x.parquet",
            data.table(image=data.CELLS, label=[0, 1, 0, 1]),
            lambda p: parquet(p, 1, 8),
        ),
        "IDX": ("x.idx", data.PIXELS, lambda p: formats.read_idx(p, 3)),
        "MATLAB": ("x.mat", data.mat(X=data.X, y=data.Y), formats.svhn_mat),
        "CSV of digits": ("x.csv", (data.ROW + "\n").encode() * 2, formats.digits_csv),
        "Debian package": ("x.deb", ar, package),
        "split: labels": ("labels.npy", (good / "labels.npy").read_bytes(), split),
        "split: record": ("meta.json", (good / "meta.json").read_bytes(), split),
        "split: extras": ("extras.npz", (good / "extras.npz").read_bytes(), split),
        "safetensors": (SAFETENSORS, (trained / SAFETENSORS).read_bytes(), model),
        "model.json": ("model.json", (trained / "model.json").read_bytes(), model),
        "run.json": ("run.json", json.dumps(run).encode(), lambda p: checked(p, RunRecord)),
        "predictions": ("predictions.parquet", shelf.read_bytes(), lambda p: load_outputs(p.parent, features=False)),
        "metrics": ("m.csv", (results.HEAD + results.LINE).encode(), read_metrics),
        "history": ("history.csv", TEXTS[0], read_history),
        "study": ("values.csv", TEXTS[1], read_study),
        "verdicts": ("verdicts.csv", results.VERDICTS.encode(), read_verdicts),
        "suite": ("bad.yaml", settings.TEXT, lambda p: load_suite(str(p), p.parent)),
        "paper": ("bad.yaml", settings.dumped(papers.GOOD_PAPER), lambda p: load_papers([p])),
        "release": ("x.zip", crate, release),
        "checksums": ("SHA256SUMS", b"0" * 64 + b"  a/b\n", lambda p: read_sums(p.parent)),
    }


@pytest.mark.parametrize("name", [
    "npy", "npz", "zip", "tar", "tar.gz", "tar.xz", "folder of images in a zip", "PNG", "JPEG", "TIFF", "BMP", "WebP", "PPM",
    "parquet of images", "IDX", "MATLAB", "CSV of digits", "Debian package", "split: labels", "split: record", "split: extras",
    "safetensors", "model.json", "run.json", "predictions", "metrics", "history", "study", "verdicts", "suite", "paper",
    "release", "checksums",
])  # fmt: skip
def test_a_damaged_file_is_read_or_refused(name, tmp_path, fuzzed):
    file, good, read = _readers()[name]
    outcomes = {0: 0, 1: 0}
    box = tmp_path / "inside"
    box.mkdir()
    (box / file).write_bytes(good)
    assert perform(Act(lambda: read(box / file), box), tmp_path).status == 0  # the good one is read

    @fuzzed
    @given(st.one_of(mutated(good), st.binary(max_size=200)))
    def attempt(content: bytes) -> None:
        (box / file).write_bytes(content)
        outcome = perform(Act(lambda: read(box / file), box), tmp_path)
        assert outcome.status in outcomes, outcome.said[-2000:]
        assert not outcome.seen, outcome.seen
        outcomes[outcome.status] += 1

    attempt()
    assert outcomes[1], "no example was refused"


LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["../x", "=1", "npz", "http://x", "x.zip", "a" * 300]),
)  # fmt: skip
KEY = st.sampled_from([
    "title", "licence", "files", "splits", "classes", "size", "channels", "test", "x.zip", "reader", "options", "urls", "path",
    "packages", "sha256", "members", "benchmarks", "methods", "runs", "seeds", "settings", "train", "use", "label", "claims",
])  # fmt: skip
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=12
)


def test_any_value_is_a_setting_or_refused(fuzzed):
    from reprood.cli.options import suite_of
    from reprood.config.load import load_settings
    from reprood.core.errors import ReproodError
    from reprood.data.catalogue import parse_entry

    @fuzzed
    @given(ANYTHING)
    def attempt(value: object) -> None:
        for read in (
            lambda: parse_entry("x", value),
            lambda: load_settings(value if isinstance(value, dict) else {"suite": value}),
            lambda: suite_of(json.dumps({"name": "x", **value} if isinstance(value, dict) else value)),
        ):
            with contextlib.suppress(ReproodError):
                read()

    attempt()
