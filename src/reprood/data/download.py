"""Download one file over HTTP: resumes with Range requests, retries, and gives up on servers that do not answer."""

import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CHUNK = 1 << 18
Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in total if known)

# HTTP only: a redirect must not lead to other protocols or to files of this machine.
_opener = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler(),
    urllib.request.HTTPHandler(),
    urllib.request.HTTPSHandler(),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPRedirectHandler(),
    urllib.request.HTTPErrorProcessor(),
    urllib.request.UnknownHandler(),
):
    _opener.add_handler(_handler)


class SourceFailed(Exception):
    """A source cannot provide the file; the next one is tried. The message says why."""


class NoAnswer(SourceFailed):
    """The server does not answer."""


class _Retry(Exception):
    """A temporary failure; the same URL is tried again."""


@dataclass(frozen=True)
class Patience:
    """Time limits and retries.

    Attributes
    ----------
    connect : float
        Seconds to wait for a connection, and between two pieces of data.
    answer : float
        Seconds until the first byte of the body: name look-up, all addresses of the host, redirects, headers.
    tries : int
        Consecutive requests that may fail temporarily.
    pause : float
        Seconds before the first retry; doubled each time.
    slow_seconds, slow_bytes : float, int
        A transfer with fewer bytes than this in that time is abandoned. A request that ended early but brought more
        does not count as failed.
    """

    connect: float = 6.0
    answer: float = 12.0
    tries: int = 4
    pause: float = 0.5
    slow_seconds: float = 30.0
    slow_bytes: int = 30 * 1024


def recognise(head: bytes) -> str | None:
    """Describe a wrong file by its first bytes (an HTML page, a Git-LFS pointer); None if it is neither."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of the file (it has moved, or there is a login or consent page)"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git-LFS pointer instead of the file (fetch it with git lfs)"
    return None


def version_of(part: Path) -> Path:
    """Return the file that keeps the server's version mark (ETag or date) of a partial download."""
    return part.with_name(f"{part.name}.version")


def download(
    url: str,
    part: Path,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    most: int | None = None,
) -> None:
    """Download `url` to `part`, resuming from what `part` already contains.

    If the server gave a version mark, only the same version is resumed (If-Range). A file of more than `most` bytes is
    rejected.

    Raises
    ------
    SourceFailed
        If the server does not answer, refuses, or keeps failing. `part` is kept, so that a later call can resume.
    """
    patience = patience or Patience()
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceFailed("it is not a URL that begins with https:// or http://")
    failures, pause = 0, patience.pause
    while True:
        before = _size(part)
        try:
            _request(url, part, patience, progress or (lambda done, total: None), most)
            version_of(part).unlink(missing_ok=True)
            return
        except _Retry as failure:
            if _size(part) - before >= patience.slow_bytes:
                failures, pause = 0, patience.pause
                continue
            failures += 1
            if failures >= patience.tries:
                raise SourceFailed(f"{failure} (tried {failures} times)") from failure
            time.sleep(pause)
            pause *= 2


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    version_of(part).unlink(missing_ok=True)


@contextmanager
def _network_errors(patience: Patience) -> Iterator[None]:
    """Sort errors of the network into temporary and permanent ones. Errors of the disk must stay outside."""
    try:
        yield
    except urllib.error.HTTPError as error:
        temporary = error.code >= 500 or error.code in (408, 416, 429)
        raise (_Retry if temporary else SourceFailed)(f"HTTP {error.code} {error.reason}") from error
    except http.client.InvalidURL as error:
        raise SourceFailed(f"it is not a valid URL ({error})") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionResetError | BrokenPipeError):
            raise _Retry("the connection broke") from error
        raise NoAnswer(f"no answer ({getattr(error.reason, 'strerror', None) or error.reason})") from error
    except TimeoutError as error:
        raise _Retry(f"no data for {patience.connect:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Retry(f"the connection broke ({type(error).__name__})") from error


def _open(request: urllib.request.Request, patience: Patience) -> http.client.HTTPResponse:
    """Open a request and wait no longer than `patience.answer`.

    A socket's timeout limits neither the name look-up nor the sum over a host's addresses nor a header that arrives
    byte by byte, so the request is made in a thread that is abandoned when the time is over.
    """
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_opener.open(request, timeout=patience.connect))
        except Exception as error:  # raised below, in the waiting thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience.answer)
    except queue.Empty:
        raise NoAnswer(f"no answer within {patience.answer:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _request(url: str, part: Path, patience: Patience, progress: Progress, most: int | None) -> None:
    """Make one request and append what arrives to `part`."""
    offset = _size(part)
    headers = {"User-Agent": "reprood", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version_of(part).is_file():
            headers["If-Range"] = version_of(part).read_text()
    with _network_errors(patience):
        try:
            response = _open(urllib.request.Request(url, headers=headers), patience)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # `part` is the complete file, or not the beginning of it
                if error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
                    return
                _discard(part)
            raise
    with response:
        if response.status != 206:  # the server sends the file from the beginning
            offset = 0
            version_of(part).unlink(missing_ok=True)
            tag = response.headers.get(
                "ETag", ""
            )  # a weak tag, which has no quote in front, is not allowed in If-Range
            if version := tag if tag.startswith('"') else response.headers.get("Last-Modified"):
                version_of(part).write_text(version)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            _discard(part)
            raise _Retry("the server resumed at the wrong position")
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        if most is not None and total is not None and total > most:
            raise SourceFailed(f"it has {total} bytes, expected {most}")
        done = _receive(response, part, offset, total, patience, progress, most)
    if total is not None and done < total:
        raise _Retry(f"the connection ended after {done} of {total} bytes")


def _receive(
    response: http.client.HTTPResponse,
    part: Path,
    done: int,
    total: int | None,
    patience: Patience,
    progress: Progress,
    most: int | None,
) -> int:
    """Write the body from position `done` on; returns the size of the file."""
    started, seen = time.monotonic(), done
    with open(part, "r+b" if done else "wb") as stream:
        stream.seek(done)
        while True:
            with _network_errors(patience):
                chunk = response.read1(CHUNK)
            if not chunk:
                break
            stream.write(chunk)
            done += len(chunk)
            if most is not None and done > most:
                _discard(part)
                raise SourceFailed(f"it has more than the expected {most} bytes")
            progress(done, total)
            now = time.monotonic()
            if now - started > patience.slow_seconds:
                if done - seen < patience.slow_bytes:
                    raise SourceFailed(f"too slow ({done - seen} bytes in {now - started:.0f} s)")
                started, seen = now, done
        stream.flush()
        os.fsync(stream.fileno())
    return done
