"""Files that are either complete or missing: atomic writes, hashes, locks and canonical JSON."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it is synced and renamed to `path`.

    If the body raises, the temporary file is removed and `path` is left unchanged.

    Parameters
    ----------
    path : Path or str
        The file to write; its folder is created if necessary.

    Raises
    ------
    ReproodError
        When the folder cannot be written (read-only, disk full).
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise ReproodError(
            f"Cannot write {path}: {error.strerror}; free some space or choose a writable folder."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path)):
            raise  # it concerns another file, which the body was reading
        raise ReproodError(
            f"Cannot write {path}: {error.strerror}; free some space or choose a writable folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Parameters
    ----------
    value : object
        Numbers, texts, lists and mappings with text as keys.

    Raises
    ------
    ReproodError
        For a value that JSON cannot represent.

    Examples
    --------
    >>> canonical_json({"seed": 1, "methods": ["erm"]})
    '{"methods":["erm"],"seed":1}'
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise ReproodError(
            f"A setting is not a finite number, text, list or mapping with text as keys ({error}); correct it."
        ) from error


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : Path or str
        The file.

    Raises
    ------
    ReproodError
        When the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; run the stage that writes it first.") from error
    except (ValueError, RecursionError) as error:
        raise ReproodError(
            f"{path} is not valid JSON ({error}); delete it and run the stage that writes it."
        ) from error


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def file_lock(path: Path | str, *, wait: bool = True, busy: str = "") -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel releases it even when the process is killed.

    Parameters
    ----------
    path : Path
        The lock file; created if it is missing, and never removed.
    wait : bool
        Wait for the lock; if false, raise immediately when another process holds it.
    busy : str
        Message of the error raised when the lock is held and `wait` is false.

    Raises
    ------
    ReproodError
        When the lock is held by another process and `wait` is false.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ReproodError(busy or f"Another process holds {path}; wait for it or stop it.") from error
        yield
    finally:
        os.close(handle)
