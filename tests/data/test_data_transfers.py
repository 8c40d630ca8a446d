"""Downloads: interruptions, resuming, slow and wrong servers."""

import hashlib
import json
import multiprocessing
import socket
import threading
from pathlib import Path

import pytest
from faulty_files import BODY, entry
from server import serving

from reprood.core.errors import ReproodError
from reprood.data.download import Patience, SourceFailed, download, recognise, version_of
from reprood.data.sources import fetch

QUICK = Patience(connect=1.0, answer=1.5, tries=3, pause=0.01, slow_seconds=0.4, slow_bytes=1000)


# --- transfers


def test_a_transfer_that_is_often_interrupted_is_finished(tmp_path):
    with serving() as site:
        site.files["/f"], site.faults["/f"] = BODY, "cuts"
        download(f"{site.url}/f", tmp_path / "part", patience=QUICK)
        assert site.requests["/f"] > QUICK.tries
        assert len(site.ranges) == site.requests["/f"] - 1
    assert (tmp_path / "part").read_bytes() == BODY


def test_another_version_is_not_appended_to_a_partial_download(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(b"x" * 1000)
    version_of(part).write_text('"old"')
    with serving() as site:
        site.files["/f"], site.versions["/f"] = BODY, '"new"'
        download(f"{site.url}/f", part, patience=QUICK)
        assert site.ranges == ["bytes=1000-"]
    assert part.read_bytes() == BODY
    assert not version_of(part).exists()


def test_the_same_version_is_resumed_in_a_later_call(tmp_path):
    part = tmp_path / "part"
    with serving() as site:
        site.files["/f"], site.versions["/f"], site.faults["/f"] = BODY, '"one"', "cut"
        with pytest.raises(SourceFailed, match="connection ended"):
            download(f"{site.url}/f", part, patience=Patience(tries=1, slow_bytes=10**9))
        assert version_of(part).read_text() == '"one"'
        download(f"{site.url}/f", part, patience=QUICK)
        assert site.ranges == ["bytes=150000-"]
    assert part.read_bytes() == BODY


def test_a_partial_download_of_unknown_version_is_discarded_without_a_checksum(tmp_path):
    with serving() as site:
        site.files["/f"] = BODY
        url = f"{site.url}/f"
        part = tmp_path / "downloads/a" / f"file.bin.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * 1000)
        found = fetch("a", entry(urls=[url]), "file.bin", mirrors=(), downloads=tmp_path / "downloads", patience=QUICK)
    assert found.path.read_bytes() == BODY


def test_a_server_that_sends_its_header_byte_by_byte_is_abandoned(tmp_path):
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(2)
    stop = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.2):
            try:
                connection.sendall(b"a")
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    with pytest.raises(SourceFailed, match=r"no answer within 1\.5 s"):
        download(f"http://127.0.0.1:{server.getsockname()[1]}/f", tmp_path / "part", patience=QUICK)
    stop.set()
    server.close()


def test_a_host_that_did_not_answer_is_skipped(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    silent: set[str] = set()
    record = entry(urls=[f"http://{host}/one", f"http://{host}/two"])
    with pytest.raises(ReproodError, match=r"no answer.*did not answer before"):
        fetch("a", record, "file.bin", mirrors=(), downloads=tmp_path, patience=QUICK, silent=silent)
    assert silent == {host}


def test_an_empty_file_is_rejected(tmp_path):
    with serving() as site:
        site.files["/f"] = b""
        with pytest.raises(ReproodError, match="0 bytes"):
            fetch("a", entry(urls=[f"{site.url}/f"]), "file.bin", mirrors=(), downloads=tmp_path, patience=QUICK)


def test_html_behind_a_byte_order_mark():
    assert "HTML" in str(recognise(b"\xef\xbb\xbf <!DOCTYPE html>"))
    assert recognise(b"\x1f\x8b\x08") is None


def test_only_http_is_used(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(SourceFailed, match="not a URL"):
        download(f"file://{tmp_path}/secret", tmp_path / "part")


def _fetch_many(number: int, url: str, downloads: str) -> None:
    for step in range(25):
        name = f"f{number}_{step}"
        fetch("a", entry([name], urls=[url]), name, mirrors=(), downloads=Path(downloads), patience=QUICK)


def test_jobs_that_fetch_different_files_of_a_data_set_lose_no_checksum(tmp_path):
    context = multiprocessing.get_context("fork")
    with serving() as site:
        site.files["/f"] = BODY[:500]
        jobs = [context.Process(target=_fetch_many, args=(n, f"{site.url}/f", str(tmp_path))) for n in range(3)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(timeout=60)
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert len(json.loads((tmp_path / "a" / "digests.json").read_text())) == 75
