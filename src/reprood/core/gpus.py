"""One GPU for one job: a lock a device, freed by the kernel even when the job is killed."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock


def visible_gpus() -> list[str]:
    """Device ids from CUDA_VISIBLE_DEVICES when it is set, else from the NVIDIA driver's folder."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [part.strip() for part in given.split(",") if part.strip() not in ("", "-1", "NoDevFiles")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(sorted(folder.iterdir()))] if folder.is_dir() else []


def devices_for(device: str) -> list[str]:
    """Device ids that a job told `--device auto`, `cpu` or `cuda` may take one of.

    A Slurm job that was given no GPU takes none of the node's, unless it is told to (nodes that are given whole).
    """
    if device == "cpu" or (device == "auto" and _given_none()):
        return []
    return visible_gpus()


def _given_none() -> bool:
    return "SLURM_JOB_ID" in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ


def lock_folder() -> Path:
    """Where the locks lie: equal ids are the same device only on one machine and, under Slurm, in one job.

    Checkouts lie on disks that many machines share, and Slurm may number the devices of each job from 0.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return Path("state/gpu") / (f"slurm-{job}" if job else platform.node())


@contextmanager
def one_gpu(device: str) -> Iterator[None]:
    """Hold one of the GPUs that this job may use, if there is any, until the end of the block.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        As on the command line.
    """
    devices = devices_for(device)
    if device == "auto" and _given_none():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the node's are other jobs'
    with leased(devices, lock_folder()):
        yield


@contextmanager
def leased(devices: Sequence[str], folder: Path, poll: float = 0.5) -> Iterator[str | None]:
    """Wait for a free device, make it the only visible one and hold it until the end of the block.

    Call it before CUDA is initialised. Without devices nothing is leased and None is given.

    Parameters
    ----------
    devices : sequence of str
        Ids as in CUDA_VISIBLE_DEVICES.
    folder : Path
        Where the lock files lie; shared by all jobs of a checkout.
    poll : float
        Seconds between two rounds over busy devices.
    """
    if not devices:
        yield None
        return
    while True:
        for device in devices:
            lock = file_lock(folder / f"{device}.lock", wait=False)
            try:
                lock.__enter__()
            except ReproodError:
                continue  # busy: the next one
            try:
                os.environ["CUDA_VISIBLE_DEVICES"] = device
                yield device
            finally:
                lock.__exit__(None, None, None)
            return
        time.sleep(poll)
