"""The device and precision of a job, and the switches that make its arithmetic deterministic."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from reprood.core.errors import ReproodError

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")
MALLOC_OPTIONS = {-3: 2**25, -1: 2**30, -2: 2**26}  # M_MMAP_THRESHOLD (at its limit), M_TRIM_THRESHOLD, M_TOP_PAD


def resolve_device(requested: str) -> torch.device:
    """Return the device for "auto" (a GPU if torch sees one, else the CPU), "cpu" or "cuda".

    Raises
    ------
    ReproodError
        When a GPU is requested and there is none, or for any other word.
    """
    if requested not in ("auto", "cpu", "cuda"):
        raise ReproodError(f"device is '{requested}'; expected auto, cpu or cuda.")
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ReproodError("device is 'cuda', but torch sees no CUDA device here; use --device auto or cpu.")
    return torch.device("cuda", 0)


def device_name(device: torch.device) -> str:
    """Return the model of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors instead of returning it to the kernel.

    Activations of some megabytes would otherwise be mapped, filled with zeros page by page and unmapped in every step:
    a fifth of the time of a small network at 256 images a batch. The process keeps its largest use of memory.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):  # not in musl
        for option, size in MALLOC_OPTIONS.items():
            library.mallopt(option, size)  # type: ignore[union-attr]


def make_repeatable(device: torch.device, threads: int | None) -> None:
    """Set the number of threads and, on a GPU, choose deterministic kernels and exact fp32 products.

    Equal seeds then give equal bits on one machine with one number of threads.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first matrix product
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


@cache
def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(requested: str, device: torch.device) -> Precision:
    """Return "bf16" for "auto" where the device computes it in hardware, else "fp32"; other requests are kept.

    Raises
    ------
    ReproodError
        For an unknown precision.
    """
    if requested == "fp32":
        return "fp32"
    if requested == "bf16":
        return "bf16"
    if requested != "auto":
        raise ReproodError(f"precision is '{requested}'; expected one of {', '.join(PRECISIONS)}.")
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    return "bf16" if fast else "fp32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network runs in `precision`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
