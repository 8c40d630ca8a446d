"""Seeds derived by hashing, and the handling of torch's global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from reprood.core.seeds import hashed_seed


def derive_seed(suite_seed: int, benchmark: str, seed: int) -> int:
    """Return the root seed of a run, in 0..2^63 - 1.

    It does not depend on the method: the arms of a replicate share initialisation, order of images and augmentation
    draws (common random numbers), so that their differences vary less.
    """
    return hashed_seed("run", suite_seed, benchmark, seed)


def seed_globally(seed: int, device: torch.device) -> None:
    """Seed torch's global generators, for operations that take no generator argument (dropout, initialisation).

    A hundred times as fast as `torch.manual_seed`, which stores a stack trace per call for devices not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextmanager
def own_global_generators(device: torch.device) -> Iterator[None]:
    """Restore the state of torch's global generators after the block."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generator for the block and restore it afterwards: for the initialisation of modules."""
    cpu = torch.device("cpu")
    with own_global_generators(cpu):
        seed_globally(seed, cpu)
        yield
