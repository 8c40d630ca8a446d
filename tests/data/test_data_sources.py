"""Sources of a file, against a local server that truncates, drips, interrupts, redirects and sends wrong bytes."""

import gzip
import hashlib
import io
import multiprocessing
import shutil
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from server import serving

from reprood.core.errors import ReproodError
from reprood.data.catalogue import parse_entry
from reprood.data.download import Patience, SourceFailed, download
from reprood.data.entries import DatasetEntry
from reprood.data.packages import deb_member, from_package, wheel_member
from reprood.data.sources import fetch

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
QUICK = Patience(connect=1.0, tries=3, pause=0.01, slow_seconds=0.4, slow_bytes=1000)


@pytest.fixture
def site():
    with serving() as site:
        site.files["/a/file.bin"] = BODY
        yield site


def entry(site=None, **file) -> DatasetEntry:
    if site is not None:
        file.setdefault("urls", [f"{site.url}/a/file.bin"])
    return parse_entry(
        "a",
        {
            "title": "A",
            "licence": "none",
            "files": {"file.bin": file},
            "splits": {"test": {"reader": "npz", "files": ["file.bin"]}},
        },
    )


def bring(tmp_path, record, mirrors=(), **options):
    return fetch("a", record, "file.bin", mirrors=mirrors, downloads=tmp_path / "downloads", patience=QUICK, **options)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fault", ["", "redirect", "503", "cut", "no-range"])
def test_passing_faults_end_in_the_right_bytes(site, tmp_path, fault):
    site.faults["/a/file.bin"] = fault
    found = bring(tmp_path, entry(site, sha256=sha(BODY)))
    assert found.path.read_bytes() == BODY
    assert found.record["digest_status"] == "verified"
    if fault in ("cut", "no-range"):
        assert len(site.ranges) == 1
        assert int(site.ranges[0].removeprefix("bytes=").rstrip("-")) > 0, "an interrupted download is resumed"
    assert not list((tmp_path / "downloads").rglob("*.part"))


@pytest.mark.parametrize(
    ("fault", "words", "requests"),
    [
        ("truncated", "connection ended after", 1 + QUICK.tries),  # the first brings enough to count as progress
        ("500", "HTTP 500", QUICK.tries),
        ("silence", "no data for", QUICK.tries),
        ("drip", "too slow", 1),
    ],
)
def test_lasting_faults_are_reported(site, tmp_path, fault, words, requests):
    site.files["/a/file.bin"] = BODY[:3000]
    site.faults["/a/file.bin"] = fault
    with pytest.raises(ReproodError, match=words) as caught:
        bring(tmp_path, entry(site))
    assert site.requests["/a/file.bin"] == requests
    assert "mirrors" in str(caught.value)
    assert not (tmp_path / "downloads" / "a" / "file.bin").exists()


def test_a_missing_file_is_not_requested_again(site, tmp_path):
    del site.files["/a/file.bin"]
    with pytest.raises(ReproodError, match="HTTP 404"):
        bring(tmp_path, entry(site))
    assert site.requests["/a/file.bin"] == 1


def test_files_with_a_wrong_checksum_or_size_are_rejected_and_removed(site, tmp_path):
    for wrong, words in (
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"md5": "0" * 32}, "MD5"),
        ({"size": 5}, "300000 bytes, expected 5"),
        ({"content_sha256": "0" * 64}, "SHA-256"),
    ):
        with pytest.raises(ReproodError, match=words):
            bring(tmp_path, entry(site, **wrong))
    assert not list((tmp_path / "downloads" / "a").glob("file*"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git-LFS pointer"),
    ],
)
def test_wrong_files_are_recognised(site, tmp_path, body, words):
    site.files["/a/file.bin"] = body
    with pytest.raises(ReproodError, match=words):
        bring(tmp_path, entry(site))


def test_unreachable_hosts_are_reported_without_retries(tmp_path, monkeypatch):
    monkeypatch.setattr("reprood.data.download.time.sleep", lambda seconds: pytest.fail("it was tried again"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ReproodError, match=rf"127.0.0.1:{port}/x: no answer.*no-such-host.invalid/x: no answer"):
        bring(tmp_path, entry(urls=[f"http://127.0.0.1:{port}/x", "http://no-such-host.invalid/x"]))


def test_the_next_url_is_tried(site, tmp_path):
    record = entry(urls=[f"{site.url}/gone", f"{site.url}/a/file.bin"])
    assert bring(tmp_path, record).path.read_bytes() == BODY


def test_a_partial_download_of_another_file_is_discarded(site, tmp_path):
    """The checksum shows that the resumed file is wrong, and it is downloaded from the beginning."""
    url = f"{site.url}/a/file.bin"
    folder = tmp_path / "downloads" / "a"
    folder.mkdir(parents=True)
    (folder / f"file.bin.{sha(url.encode())[:8]}.part").write_bytes(b"x" * 1000)
    assert bring(tmp_path, entry(site, sha256=sha(BODY))).path.read_bytes() == BODY


def test_a_complete_partial_file_needs_no_transfer(site, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(BODY)
    download(f"{site.url}/a/file.bin", part, patience=QUICK)
    assert part.read_bytes() == BODY


def test_first_use_is_recorded_and_compared(site, tmp_path):
    first = bring(tmp_path, entry(site))
    assert first.record["digest_status"] == "first-use"
    assert first.record["sha256"] == sha(BODY)
    first.path.unlink()
    site.files["/a/file.bin"] = BODY[::-1]
    with pytest.raises(ReproodError, match="recorded at first use"):
        bring(tmp_path, entry(site))


def test_a_kept_file_is_not_fetched_again_and_a_damaged_one_is(site, tmp_path):
    record = entry(site, sha256=sha(BODY))
    path = bring(tmp_path, record).path
    bring(tmp_path, record)
    assert site.requests["/a/file.bin"] == 1
    path.write_bytes(BODY[:-1])
    assert bring(tmp_path, record).path.read_bytes() == BODY
    assert site.requests["/a/file.bin"] == 2


def test_mirrors_come_first_in_their_order(site, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "a").mkdir(parents=True)
    (tmp_path / "two" / "a" / "file.bin").write_bytes(BODY)
    found = bring(tmp_path, entry(site), mirrors=[str(tmp_path / "none"), str(tmp_path / "one"), str(tmp_path / "two")])
    assert found.kind == "mirror"
    assert found.path.read_bytes() == BODY
    assert not site.requests
    (tmp_path / "one" / "file.bin").write_bytes(BODY)
    assert bring(tmp_path, entry(site), mirrors=[str(tmp_path / "one")]).path == tmp_path / "one" / "file.bin"


def test_a_mirror_with_a_wrong_file_is_skipped(site, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file.bin").write_bytes(b"wrong")
    found = bring(tmp_path, entry(site, sha256=sha(BODY)), mirrors=[str(tmp_path / "one")])
    assert found.kind == "url"


def test_a_mirror_may_be_a_url(site, tmp_path):
    assert bring(tmp_path, entry(), mirrors=[site.url]).kind == "mirror"


def test_offline_uses_no_official_url(site, tmp_path):
    with pytest.raises(ReproodError, match="not tried"):
        bring(tmp_path, entry(site), offline=True)
    assert not site.requests


def _ask(url: str, folder: str) -> None:
    record = entry(urls=[url], sha256=sha(BODY))
    assert fetch("a", record, "file.bin", mirrors=(), downloads=Path(folder)).path.read_bytes() == BODY


def test_two_processes_download_once(site, tmp_path):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_ask, args=(f"{site.url}/a/file.bin", str(tmp_path))) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=30)
    assert [child.exitcode for child in children] == [0, 0]
    assert site.requests["/a/file.bin"] == 1


def make_deb(path: Path, member: str, data: bytes, compression: str = "xz") -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        item = tarfile.TarInfo(f"./{member}")
        item.size = len(data)
        tar.addfile(item, io.BytesIO(data))
    body = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        (f"data.tar.{compression}", buffer.getvalue()),
    ):
        body += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    path.write_bytes(body)


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_debian_package_is_unpacked_without_root(tmp_path, compression):
    make_deb(tmp_path / "x.deb", "usr/share/x.bin", BODY, compression)
    assert deb_member(tmp_path / "x.deb", "usr/share/x.bin") == BODY
    with pytest.raises(SourceFailed, match="does not contain"):
        deb_member(tmp_path / "x.deb", "usr/share/y.bin")
    (tmp_path / "y.deb").write_bytes(b"no archive")
    with pytest.raises(SourceFailed, match="not a Debian package"):
        deb_member(tmp_path / "y.deb", "x")


def test_wheel_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("p/x.bin", BODY)
    assert wheel_member(tmp_path / "x.whl", "p/x.bin") == BODY
    with pytest.raises(SourceFailed, match="does not contain"):
        wheel_member(tmp_path / "x.whl", "p/y.bin")


def test_package_managers_are_really_called(tmp_path, monkeypatch):
    """Fake commands put a package into the folder; without package lists, apt-get is called with private ones."""
    record = parse_entry("a", {
        "title": "A", "licence": "none",
        "files": {
            "d": {"packages": [{"kind": "debian", "name": "pkg", "member": "usr/x"}], "content_sha256": sha(BODY)},
            "w": {"packages": [{"kind": "wheel", "name": "pkg", "member": "p/x"}]},
        },
        "splits": {"test": {"reader": "npz", "files": ["d"]}},
    })  # fmt: skip
    make_deb(tmp_path / "pkg.deb", "usr/x", gzip.compress(BODY))
    with zipfile.ZipFile(tmp_path / "pkg.whl", "w") as wheel:
        wheel.writestr("p/x", BODY)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'case "$*" in *Dir::State::Lists*update) exit 0;; *Dir::State::Lists*) '
        f"cp {tmp_path}/pkg.deb . ;; *) echo 'E: Unable to locate package' >&2; exit 100;; esac\n"
    )
    (bin_folder / "python").write_text(
        f'#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\ncp {tmp_path}/pkg.whl "$2"\n'
    )
    for name in ("apt-get", "python"):
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setattr("reprood.data.packages.sys.executable", str(bin_folder / "python"))
    found = fetch("a", record, "d", mirrors=(), downloads=tmp_path / "downloads")
    assert gzip.decompress(found.path.read_bytes()) == BODY
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
    assert fetch("a", record, "w", mirrors=(), downloads=tmp_path / "downloads").path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("dataset", "file"), [("fashion_mnist", "t10k-labels-idx1-ubyte.gz"), ("mnist_5k", "mnist_5k.csv.gz")]
)
def test_the_real_packages(dataset, file, tmp_path):
    from reprood.data.catalogue import load_catalogue

    record = load_catalogue([Path(__file__).parents[2] / "config" / "datasets.yaml"], {})[dataset]
    package = record.files[file].packages[0]
    if package.kind == "debian" and shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    try:
        from_package(package, tmp_path / file)
    except SourceFailed as error:
        pytest.skip(f"no package network here: {error}")
    found = fetch(dataset, record, file, mirrors=[str(tmp_path)], downloads=tmp_path / "downloads", offline=True)
    assert found.record["digest_status"] == "verified"
