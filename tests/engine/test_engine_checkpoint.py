"""Checkpoints are complete, verified and cannot run code."""

import logging

import pytest
import torch

from reprood.engine.checkpoint import load_checkpoint, save_checkpoint

RECORD = {"key": "k", "tensor": torch.arange(6.0).view(2, 3), "rows": [{"epoch": 1, "lr": 0.1}], "none": None}


def test_round_trip(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", RECORD)
    loaded = load_checkpoint(tmp_path / "c", "k")
    assert loaded is not None
    assert torch.equal(loaded["tensor"], RECORD["tensor"])
    assert loaded["rows"] == RECORD["rows"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_absent(tmp_path) -> None:
    assert load_checkpoint(tmp_path / "c", "k") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "head"])
def test_damage_is_reported_and_ignored(tmp_path, caplog, damage) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, RECORD)
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    elif damage == "head":
        raw[30] = ord("x")
    else:
        raw = {"cut": raw[:-10], "empty": bytearray(), "text": bytearray(b"not a checkpoint")}[damage]
    path.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, "k") is None
    assert "damaged" in caplog.text


def test_another_key_is_ignored(tmp_path, caplog) -> None:
    save_checkpoint(tmp_path / "c", RECORD)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path / "c", "other") is None
    assert "other settings" in caplog.text


def test_a_checkpoint_cannot_run_code(tmp_path, caplog) -> None:
    import hashlib
    import io

    from reprood.engine.checkpoint import MAGIC

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    buffer = io.BytesIO()
    torch.save({"key": "k", "evil": Evil()}, buffer)
    payload = buffer.getvalue()
    (tmp_path / "c").write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    assert load_checkpoint(tmp_path / "c", "k") is None
    assert "cannot be read" in caplog.text
    assert not (tmp_path / "ran").exists()
