"""The execution context of a training: seeds, device, precision, checkpoints, callbacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from reprood.core.seeds import hashed_seed
from reprood.engine.device import Precision
from reprood.engine.distributed import Workers


class Stopped(Exception):
    """Raised by a training that saved a checkpoint and ended early because `Run.stop` returned True."""


class Progress(Protocol):
    """Callbacks of a training, for display only (see `reprood.core.progress`)."""

    def start(self, name: str, phase: str, *, epochs: int, steps: int, images: int, done: float) -> None:
        """Begin a phase of `epochs` epochs with `steps` steps and `images` images each; `done` epochs are over."""

    def update(self, epoch: int, step: int, loss: Callable[[], float]) -> None:
        """Report that `step` steps of epoch `epoch` (0-based) are done; `loss` reads the mean loss from the device."""

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Report the history row of a finished epoch."""

    def close(self) -> None:
        """End the phase, finished or not."""


class NoProgress:
    """Show nothing."""

    def start(self, name: str, phase: str, *, epochs: int, steps: int, images: int, done: float) -> None:
        """Do nothing."""

    def update(self, epoch: int, step: int, loss: Callable[[], float]) -> None:
        """Do nothing."""

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def never() -> bool:
    """Return False: the default of `Run.stop`."""
    return False


@dataclass(frozen=True)
class Run:
    """One training: benchmark x method x seed.

    Attributes
    ----------
    name : str
        "benchmark/method/seed", for messages.
    root_seed : int
        Every random draw of the run comes from generators seeded by this number and a stream's name. All methods of a
        replicate have the same.
    state : Path
        Folder of the resume checkpoints (outside declared outputs).
    device : torch.device
        Where data and model are.
    precision : {"fp32", "bf16"}
        fp32 is the audited reference; bf16 runs the network under autocast.
    checkpoint_seconds : float
        Minimum seconds between two checkpoints; 0 writes one after every step.
    channels_last : bool
        Memory format of the network and its images.
    compile : bool
        Compile the network's forward pass; only on CUDA.
    key : str
        Identity of everything outside the code that the result depends on (settings, data, software, threads).
        A checkpoint with another key is not resumed.
    progress : Progress
        Display callbacks.
    stop : callable
        Called after every step; when it returns True, the training saves a checkpoint and raises `Stopped`.
    workers : Workers
        The processes of a data-parallel training.
    log : list
        Time and speed of each phase, one mapping per call of `fit`: for run.json, never part of a result.
    """

    name: str
    root_seed: int
    state: Path
    device: torch.device
    precision: Precision
    checkpoint_seconds: float = 60.0
    channels_last: bool = True
    compile: bool = False
    key: str = ""
    progress: Progress = field(default_factory=NoProgress)
    stop: Callable[[], bool] = never
    workers: Workers = field(default_factory=Workers)
    log: list[dict[str, Any]] = field(default_factory=list, compare=False)

    def seed(self, *stream: int | str) -> int:
        """Return the 63-bit seed of a named stream, for example `run.seed("train", epoch, step)`."""
        return hashed_seed(self.root_seed, *stream)

    def generator(self, *stream: int | str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return a new generator at the start of a named stream."""
        return torch.Generator(device).manual_seed(self.seed(*stream))
