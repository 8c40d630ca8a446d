"""Every fault by its name: a function of (folder, reference, seed, cores) that gives its counts."""

from collections.abc import Callable
from pathlib import Path

import corruption
import storage
import surroundings
from workplace import Count, Reference

FAULTS: dict[str, Callable[[Path, Reference, int, int], list[Count]]] = {
    "results": corruption.results,
    "inputs": corruption.inputs_of_jobs,
    "checkpoints": corruption.checkpoints,
    "bookkeeping": corruption.bookkeeping,
    "disk": storage.disk_full,
    "read-only": storage.read_only,
    "shm": storage.shared_memory,
    "two": surroundings.two_at_once,
    "clock": surroundings.clock,
    "memory": surroundings.memory,
    "source": surroundings.source,
}
