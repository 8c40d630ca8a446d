"""Checkpoints on disk: complete or absent, verified by their SHA-256 before use, and unable to run code."""

import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from reprood.core.files import atomic_path

MAGIC = b"reprood checkpoint 1\n"
DIGEST = 64

log = logging.getLogger(__name__)


def save_checkpoint(path: Path, record: dict[str, Any]) -> None:
    """Write tensors, numbers, text and containers of them atomically, preceded by their SHA-256.

    Raises
    ------
    ReproodError
        When the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(record, buffer)
    payload = buffer.getbuffer()
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n")
        stream.write(payload)


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Return the record of a checkpoint, or None when there is none that can be used.

    A damaged file, and one written for another `key` (settings, data, software), is logged and ignored: the phase then
    starts from scratch, which costs time and changes no result.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    header = len(MAGIC) + DIGEST + 1
    payload = memoryview(raw)[header:]
    expected = raw[len(MAGIC) : header - 1]
    if raw[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).hexdigest().encode() != expected:
        log.warning("the checkpoint %s is damaged (checksum); it is ignored and the phase starts over", path)
        return None
    try:
        record: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        log.warning("the checkpoint %s cannot be read (%s); it is ignored and the phase starts over", path, reason)
        return None
    if record.get("key") != key:
        log.warning(
            "the checkpoint %s was written with other settings, data or software; it is ignored and the phase "
            "starts over",
            path,
        )
        return None
    return record
