"""One file over HTTP: streamed, resumed with Range, retried, and given up within seconds when nobody answers."""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 18
Progress = Callable[[int, int | None], None]


class SourceFailed(Exception):
    """A source cannot give the file; the next one is tried. The message says why."""


class _Again(Exception):
    """A passing fault; the same address is tried again."""


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes
    ----------
    connect : float
        Seconds for an answer, and between two pieces of data.
    tries : int
        Requests in all, as long as the fault may pass.
    pause : float
        Seconds before the second try, doubled each time.
    slow_seconds, slow_bytes : float, int
        A transfer that brings fewer bytes than this in that time is given up.
    """

    connect: float = 6.0
    tries: int = 4
    pause: float = 0.5
    slow_seconds: float = 30.0
    slow_bytes: int = 30 * 1024


def recognise(head: bytes) -> str | None:
    """What a wrong file really is: an HTML page or a Git-LFS pointer; None when it is neither."""
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of the file (moved, or a login or consent page stands before it)"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git-LFS pointer instead of the file (fetch it with git lfs)"
    return None


def download(url: str, part: Path, *, patience: Patience | None = None, progress: Progress | None = None) -> None:
    """Bring `url` to `part`; what `part` holds already is continued.

    Raises
    ------
    SourceFailed
        When the address does not answer, refuses, or keeps failing. `part` keeps what came, for a later resume.
    """
    patience = patience or Patience()
    pause = patience.pause
    for attempt in range(patience.tries):
        before = part.stat().st_size if part.exists() else 0
        try:
            _request(url, part, patience, progress or (lambda done, total: None))
            return
        except _Again as fault:
            came = (part.stat().st_size if part.exists() else 0) > before
            if attempt + 1 == patience.tries:
                raise SourceFailed(f"{fault} (tried {patience.tries} times)") from fault
            time.sleep(0 if came else pause)
            pause *= 2


def _request(url: str, part: Path, patience: Patience, progress: Progress) -> None:
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "reprood", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        with urllib.request.urlopen(request, timeout=patience.connect) as response:
            _receive(response, part, offset, patience, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what we hold is not a beginning of the file (or all of it): start over
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if total.isdigit() and int(total) == offset:
                return
            part.unlink()
            raise _Again("the server could not continue the file") from error
        if error.code >= 500 or error.code in (408, 429):
            raise _Again(f"HTTP {error.code} {error.reason}") from error
        raise SourceFailed(f"HTTP {error.code} {error.reason}") from error
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError) as error:
        raise _Again(f"the connection broke ({type(error).__name__})") from error
    except TimeoutError as error:
        raise _Again(f"nothing came for {patience.connect:g} s") from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ConnectionResetError):
            raise _Again("the connection broke") from error
        raise SourceFailed(f"no answer ({getattr(reason, 'strerror', None) or reason})") from error
    except OSError as error:
        if error.errno in (104, 32):
            raise _Again("the connection broke") from error
        raise


def _receive(
    response: http.client.HTTPResponse, part: Path, offset: int, patience: Patience, progress: Progress
) -> None:
    if offset and response.status == 206:
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        if start != str(offset):
            part.unlink()
            raise _Again("the server continued at the wrong place")
    else:
        offset = 0  # the server sends the whole file
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length and length.isdigit() else None
    done = offset
    with open(part, "r+b" if offset else "wb") as stream:
        stream.seek(offset)
        window, seen = time.monotonic(), done
        while chunk := response.read1(CHUNK):
            stream.write(chunk)
            done += len(chunk)
            progress(done, total)
            now = time.monotonic()
            if now - window > patience.slow_seconds:
                if done - seen < patience.slow_bytes:
                    raise SourceFailed(f"too slow ({done - seen} bytes in {now - window:.0f} s)")
                window, seen = now, done
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and done < total:
        raise _Again(f"the connection ended after {done} of {total} bytes")
