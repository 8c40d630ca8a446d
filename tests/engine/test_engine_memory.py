"""Memory of freed tensors stays with the process."""

import ctypes
import os
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
    # glibc's own threshold moves; a fixed one maps every tensor of the comparison again
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}

    def count(*arguments: str) -> int:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert count("keep") < 100 < count()
