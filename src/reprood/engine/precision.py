"""fp32 or bf16: which one a machine is asked for, and the context that does it."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from reprood.core.errors import ReproodError

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")


@cache
def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """What "auto" means on this device; "fp32" and "bf16" are taken as they are.

    Raises
    ------
    ReproodError
        For any other word.
    """
    if wanted == "fp32":
        return "fp32"
    if wanted == "bf16":
        return "bf16"
    if wanted != "auto":
        raise ReproodError(f"precision is '{wanted}'; expected one of {', '.join(PRECISIONS)}.")
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    return "bf16" if fast else "fp32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network is run in `precision`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
