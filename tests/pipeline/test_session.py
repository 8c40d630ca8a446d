"""Checks before Snakemake plans: clocks that went back, damaged records; and timers at the end."""

import os
import threading
import time

import pytest

from reprood.core.errors import ReproodError
from reprood.pipeline.session import cancel_timers, require_readable_records, warn_of_future_times


def file_of(path, modified):
    path.write_text("x")
    os.utime(path, (modified, modified))
    return str(path)


def test_results_newer_than_the_clock_are_named_with_what_to_do(tmp_path, capsys):
    now = 1_000_000.0
    old, new = file_of(tmp_path / "old", now - 9), file_of(tmp_path / "new", now + 3600)
    assert warn_of_future_times([old, new, str(tmp_path / "missing")], now)
    words = capsys.readouterr().err
    assert f"{new} is 3,600 s newer than this computer's clock" in words
    assert "--touch" in words
    assert "edits of the code" in words
    assert words.count("\n") == 1


def test_results_of_now_are_no_reason_to_warn(tmp_path, capsys):
    assert not warn_of_future_times([file_of(tmp_path / "new", time.time())])
    assert not warn_of_future_times([str(tmp_path / "missing")])
    assert capsys.readouterr().err == ""


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good").write_text('{"rule": "train"}')
    require_readable_records(tmp_path)
    bad = tmp_path / "folder" / "bad"
    bad.write_bytes(b'{"rule": "tr\xffin"}')
    with pytest.raises(ReproodError, match=r"bad is damaged.*Delete it"):
        require_readable_records(tmp_path)
    assert bad.exists()


def test_a_checkout_without_records_is_fine(tmp_path):
    require_readable_records(tmp_path / "missing")


def test_timers_are_cancelled():
    ran = threading.Event()
    timer = threading.Timer(600, ran.set)
    timer.start()
    cancel_timers()
    timer.join(60)
    assert not timer.is_alive()
    assert not ran.is_set()
