"""Which processor a job runs on, and the switches that make its arithmetic repeatable."""

import os

import torch

from reprood.core.errors import ReproodError


def resolve_device(wanted: str) -> torch.device:
    """`auto` is a GPU if torch sees one, else the CPU.

    Raises
    ------
    ReproodError
        When a GPU is asked for and there is none, or for a word that is not known.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ReproodError(f"device is '{wanted}'; expected auto, cpu or cuda.")
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ReproodError("device is 'cuda', but torch sees no CUDA device here; use --device auto or cpu.")
    return torch.device("cuda", 0)


def device_name(device: torch.device) -> str:
    """The model of a GPU; "cpu" for processors."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def make_repeatable(device: torch.device, threads: int | None) -> None:
    """Pin the threads and, on a GPU, choose deterministic kernels and exact fp32 products.

    With one thread count on one machine, equal seeds then give equal bits.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is asked for
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
