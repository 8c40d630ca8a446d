"""Memory of freed tensors stays with the process."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from reprood.engine.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        maps = [torch.ones(2**20) for _ in range(20)]  # 4 MiB each: 1024 pages
        del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "keep" in sys.argv:
    keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    def count(*arguments: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert count("keep") < 100 < count()
