"""Files are whole or absent; locks exclude; JSON is canonical."""

import os
import subprocess
import sys
import textwrap

import pytest

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, file_lock, read_json, sha256_bytes, sha256_file, write_json


def test_atomic_path_replaces_only_on_success(tmp_path):
    target = tmp_path / "folder" / "x.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("first")
        assert not target.exists()
    with pytest.raises(RuntimeError, match="stop"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_atomic_path_names_the_file_when_the_disk_refuses(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ReproodError, match="Cannot write .*x.txt"), atomic_path(blocked / "x.txt"):
        pass


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "x") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_an_error_about_another_file_is_not_called_a_write_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "missing").read_text()


def test_canonical_json_is_one_text_for_one_value():
    assert canonical_json({"b": 1, "a": [1, 2.5, None]}) == '{"a":[1,2.5,null],"b":1}'
    assert canonical_json({"a": [1, 2.5, None], "b": 1}) == canonical_json({"b": 1, "a": [1, 2.5, None]})
    with pytest.raises(ReproodError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_json_round_trip_and_mistakes(tmp_path):
    write_json(tmp_path / "x.json", {"ä": 1})
    assert read_json(tmp_path / "x.json") == {"ä": 1}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ReproodError, match="not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(ReproodError, match="does not exist"):
        read_json(tmp_path / "y.json")


def test_hashes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == sha256_bytes(b"abc") == expected


def test_a_lock_excludes_and_is_freed_when_its_holder_is_killed(tmp_path):
    program = textwrap.dedent("""
        import sys, time
        from reprood.core.files import file_lock
        with file_lock(sys.argv[1]):
            print("held", flush=True)
            time.sleep(60)
    """)
    path = str(tmp_path / "lock")
    child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ReproodError, match="busy here"), file_lock(path, wait=False, busy="busy here"):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with file_lock(path, wait=False):
        pass
