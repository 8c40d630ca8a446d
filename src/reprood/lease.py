"""One GPU for one job: a lock a device, freed by the kernel even when the job is killed."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reprood.errors import ReproodError
from reprood.files import file_lock


def visible_gpus() -> list[str]:
    """Device ids from CUDA_VISIBLE_DEVICES when it is set, else from the NVIDIA driver's folder."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [part.strip() for part in given.split(",") if part.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(sorted(folder.iterdir()))] if folder.is_dir() else []


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
