"""One file over HTTP: streamed, resumed with Range, retried, and given up within seconds when nobody answers."""

import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

CHUNK = 1 << 18
Progress = Callable[[int, int | None], None]


# Addresses of servers only: a redirection must not lead to files of this machine or to other protocols.
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
    """A source cannot give the file; the next one is tried. The message says why."""


class NoAnswer(SourceFailed):
    """Nobody answers at the address."""


class _Again(Exception):
    """A passing fault; the same address is tried again."""


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes
    ----------
    connect : float
        Seconds for a connection, and between two pieces of data.
    answer : float
        Seconds for the whole way to the first byte: name look-up, every address of the host, redirects.
    tries : int
        Requests in a row that bring (next to) nothing, as long as the fault may pass.
    pause : float
        Seconds before the second try, doubled each time.
    slow_seconds, slow_bytes : float, int
        A transfer that brings fewer bytes than this in that time is given up; a request that ended early and brought
        more than this does not count as a failed try.
    """

    connect: float = 6.0
    answer: float = 12.0
    tries: int = 4
    pause: float = 0.5
    slow_seconds: float = 30.0
    slow_bytes: int = 30 * 1024


def recognise(head: bytes) -> str | None:
    """What a wrong file really is: an HTML page or a Git-LFS pointer; None when it is neither."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of the file (moved, or a login or consent page stands before it)"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git-LFS pointer instead of the file (fetch it with git lfs)"
    return None


def version_of(part: Path) -> Path:
    """Where the server's mark of the version (ETag or date) of a half-fetched file is kept."""
    return part.with_name(f"{part.name}.version")


def download(
    url: str,
    part: Path,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    most: int | None = None,
) -> None:
    """Bring `url` to `part`; what `part` holds already is continued.

    The server is asked to continue only the version that was begun (If-Range), when it told one. A server that sends
    more than `most` bytes is given up there.

    Raises
    ------
    SourceFailed
        When the address does not answer, refuses, or keeps failing. `part` keeps what came, for a later resume.
    """
    patience = patience or Patience()
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceFailed("it is no address that begins with https:// or http://")
    failed, pause = 0, patience.pause
    while True:
        before = _size(part)
        try:
            _request(url, part, patience, _until(most, progress or (lambda done, total: None)))
            version_of(part).unlink(missing_ok=True)
            return
        except SourceFailed:
            if most is not None and _size(part) > most:
                _discard(part)  # no beginning of the file that was meant
            raise
        except _Again as fault:
            if _size(part) - before >= patience.slow_bytes:
                failed, pause = 0, patience.pause  # it goes on, piece by piece
                continue
            failed += 1
            if failed >= patience.tries:
                raise SourceFailed(f"{fault} (tried {failed} times)") from fault
            time.sleep(pause)
            pause *= 2


def _until(most: int | None, progress: Progress) -> Progress:
    """The same report, which ends a transfer of more than `most` bytes."""

    def report(done: int, total: int | None) -> None:
        if most is not None and total is not None and total > most:
            raise SourceFailed(f"it gives {total} bytes, expected {most}")
        if most is not None and done > most:
            raise SourceFailed(f"it gives more than the expected {most} bytes")
        progress(done, total)

    return report


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    version_of(part).unlink(missing_ok=True)


def _open(request: urllib.request.Request, patience: Patience) -> http.client.HTTPResponse:
    """Ask, and wait no longer than `patience.answer`.

    A socket's time limit does not bound name look-up, nor the sum over a host's addresses, nor a header that drips;
    so the asking is done in a thread that is left behind.
    """
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_opener.open(request, timeout=patience.connect))
        except Exception as error:  # raised again below, in the thread that waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience.answer)
    except queue.Empty:
        raise NoAnswer(f"no answer within {patience.answer:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _request(url: str, part: Path, patience: Patience, progress: Progress) -> None:
    offset = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "reprood", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if version_of(part).is_file():
            request.add_header("If-Range", version_of(part).read_text())
    try:
        response = _open(request, patience)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what we hold is all of the file, or no beginning of it: then start over
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if total.isdigit() and int(total) == offset:
                return
            _discard(part)
            raise _Again("the server could not continue the file") from error
        if error.code >= 500 or error.code in (408, 429):
            raise _Again(f"HTTP {error.code} {error.reason}") from error
        raise SourceFailed(f"HTTP {error.code} {error.reason}") from error
    except http.client.InvalidURL as error:
        raise SourceFailed(f"it is no valid address ({error})") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionResetError | BrokenPipeError):
            raise _Again("the connection broke") from error
        raise NoAnswer(f"no answer ({getattr(error.reason, 'strerror', None) or error.reason})") from error
    except TimeoutError as error:
        raise _Again(f"nothing came for {patience.connect:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Again(f"the connection broke ({type(error).__name__})") from error
    with response:
        _receive(response, part, offset, patience, progress)


def _remember_version(response: http.client.HTTPResponse, part: Path) -> None:
    mark = response.headers.get("ETag", "")
    if not mark.startswith('"'):  # weak marks are not allowed in If-Range
        mark = response.headers.get("Last-Modified", "")
    if mark:
        version_of(part).write_text(mark)
    else:
        version_of(part).unlink(missing_ok=True)


def _receive(
    response: http.client.HTTPResponse, part: Path, offset: int, patience: Patience, progress: Progress
) -> None:
    if offset and response.status == 206:
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        if start != str(offset):
            _discard(part)
            raise _Again("the server continued at the wrong place")
    else:
        offset = 0  # the server sends the whole file
        _remember_version(response, part)
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length and length.isdigit() else None
    with open(part, "r+b" if offset else "wb") as stream:
        stream.seek(offset)
        done = _transfer(response, stream, offset, total, patience, progress)
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and done < total:
        raise _Again(f"the connection ended after {done} of {total} bytes")


def _transfer(
    response: http.client.HTTPResponse,
    stream: BinaryIO,
    done: int,
    total: int | None,
    patience: Patience,
    progress: Progress,
) -> int:
    """Write what comes; returns how much of the file is there."""
    window, seen = time.monotonic(), done
    while chunk := _read(response, patience):
        stream.write(chunk)
        done += len(chunk)
        progress(done, total)
        now = time.monotonic()
        if now - window > patience.slow_seconds:
            if done - seen < patience.slow_bytes:
                raise SourceFailed(f"too slow ({done - seen} bytes in {now - window:.0f} s)")
            window, seen = now, done
    return done


def _read(response: http.client.HTTPResponse, patience: Patience) -> bytes:
    """One piece. Faults of the network pass, those of the disk do not: so they are told apart here."""
    try:
        return response.read1(CHUNK)
    except TimeoutError as error:
        raise _Again(f"nothing came for {patience.connect:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Again(f"the connection broke ({type(error).__name__})") from error
