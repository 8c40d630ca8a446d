"""What a training is told about where, how and with which seeds it runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from reprood.engine.precision import Precision
from reprood.engine.seeds import hashed_seed


@dataclass(frozen=True)
class Run:
    """One training: benchmark x method x seed.

    Attributes
    ----------
    name : str
        "benchmark/method/seed", for messages.
    root_seed : int
        Every random draw of the run comes from generators seeded by this number and a stream's name.
    state : Path
        Folder of the resume checkpoints (outside declared outputs).
    heartbeat : Path or None
        JSON file that tells how far the training is.
    device : torch.device
        Where data and model live.
    precision : {"fp32", "bf16"}
        fp32 is the audited reference; bf16 runs the network under autocast.
    checkpoint_seconds : float
        At least so many seconds between two checkpoints; 0 writes one after every step.
    channels_last : bool
        Memory format of the network and its images.
    compile : bool
        Compile the network's forward pass; only on CUDA.
    key : str
        Identity of everything outside the code that the result depends on (settings, data, software, threads).
        A checkpoint of another key is not resumed.
    log : list
        What each call of `fit` took, one mapping a phase: goes to run.json, never into a result.
    """

    name: str
    root_seed: int
    state: Path
    heartbeat: Path | None
    device: torch.device
    precision: Precision
    checkpoint_seconds: float = 60.0
    channels_last: bool = True
    compile: bool = False
    key: str = ""
    log: list[dict[str, Any]] = field(default_factory=list, compare=False)

    def seed(self, *stream: int | str) -> int:
        """The 63-bit seed of a named stream, for example `run.seed("train", epoch, step)`."""
        return hashed_seed(self.root_seed, *stream)

    def generator(self, *stream: int | str, device: str | torch.device = "cpu") -> torch.Generator:
        """A new generator at the start of a named stream."""
        return torch.Generator(device).manual_seed(self.seed(*stream))
