"""Give each job a GPU of its own with one file lock per GPU; the kernel frees the lock even if the job is killed."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock


def visible_gpus() -> list[str]:
    """Return the GPU ids in CUDA_VISIBLE_DEVICES if it is set, else those of the NVIDIA driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1", "NoDevFiles")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number, _ in enumerate(sorted(folder.iterdir()))] if folder.is_dir() else []


def usable_gpus(device: str) -> list[str]:
    """Return the ids of the GPUs of which a job with `--device` auto, cpu or cuda may use one.

    With "auto", a Slurm job without an allocated GPU uses none: the node's GPUs belong to other jobs.
    """
    if device == "cpu" or (device == "auto" and _slurm_without_gpu()):
        return []
    return visible_gpus()


def _slurm_without_gpu() -> bool:
    return "SLURM_JOB_ID" in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ


def lock_folder() -> Path:
    """Return the folder of the lock files: one per machine, and one per job under Slurm.

    A checkout may be on a disk shared by many machines, and Slurm may number the GPUs of each job from 0.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return Path("state/gpu") / (f"slurm-{job}" if job else platform.node())


@contextmanager
def one_gpu(device: str, poll: float = 0.5) -> Iterator[str | None]:
    """Wait for a free GPU, hold it until the end of the block, and make it the only visible one.

    Call this before CUDA is initialised. Yields the id of the GPU, or None if the job uses none.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        As on the command line.
    poll : float
        Seconds between two attempts while all GPUs are busy.
    """
    gpus = usable_gpus(device)
    if not gpus:
        if device == "auto" and _slurm_without_gpu():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield None
        return
    with ExitStack() as held:
        while (gpu := next((gpu for gpu in gpus if _lock(held, gpu)), None)) is None:
            time.sleep(poll)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield gpu


def _lock(held: ExitStack, gpu: str) -> bool:
    try:
        held.enter_context(file_lock(lock_folder() / f"{gpu}.lock", wait=False))
    except ReproodError:  # another job holds it
        return False
    return True
