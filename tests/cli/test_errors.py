"""Errors of the operating system become one sentence; others keep their traceback."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("MemoryError()", "Not enough memory for `reprood data`"),
        ('RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory")', "can't allocate memory"),
        ("OSError(28, 'No space left on device', 'x.npy')", "No space left on device (x.npy); free some space"),
        ("OSError(30, 'Read-only file system', 'state')", "Read-only file system (state)"),
    ],
)
def test_memory_and_disk_are_one_sentence(raised, words):
    code = (
        "import sys; import reprood.cli.main as cli; sys.argv = ['reprood', 'data']\n"
        f"def broken(): raise {raised}\n"
        "cli.app = broken; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_other_errors_keep_their_traceback():
    code = "import reprood.cli.main as cli\ndef broken(): raise RuntimeError('a defect')\ncli.app = broken; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: a defect" in done.stderr
