"""Where random numbers come from: seeds derived by hashing, generators built from seeds."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def hashed_seed(*parts: int | str) -> int:
    """A seed in 0..2^63 - 1 from the SHA-256 of `parts`: streams with different names are unrelated."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_seed(suite_seed: int, benchmark: str, method: str, seed: int) -> int:
    """The root seed of a run, in 0..2^63 - 1."""
    return hashed_seed("run", suite_seed, benchmark, method, seed)


def seed_globally(seed: int, device: torch.device) -> None:
    """Seed torch's global generators, for what cannot take one of its own (dropout, initialisation).

    A hundred times as fast as `torch.manual_seed`, which remembers a stack trace per call for devices not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextmanager
def own_global_generators(device: torch.device) -> Iterator[None]:
    """Put torch's global generators back, as they were, after the block."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generator inside the block and put it back afterwards: for the initialisation of modules."""
    cpu = torch.device("cpu")
    with own_global_generators(cpu):
        seed_globally(seed, cpu)
        yield
