"""How far a training is: a small JSON file for `reprood watch`, and lines or a bar for whoever reads along."""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from reprood.engine.run import Run

EVERY = 1.0


class Progress:
    """Reports of one phase; use it as a context manager.

    On a terminal there is one bar; elsewhere (log files) one line an epoch. The JSON file is replaced atomically
    at most once a second, with the keys run, phase, epoch, epochs, step, steps, loss, images_per_second, seconds_left,
    pid and time (seconds since 1970).

    Parameters
    ----------
    run : Run
        Gives the name and the path of the JSON file.
    phase : str
        Name of the phase.
    epochs, steps, images : int
        Epochs in the phase, steps and images in an epoch.
    done : float
        Epochs already behind when this process started.
    """

    def __init__(self, run: Run, phase: str, epochs: int, steps: int, images: int, done: float = 0.0) -> None:
        self.run = run
        self.phase = phase
        self.epochs = epochs
        self.steps = steps
        self.images = images
        self.begun = done
        self.start = time.monotonic()
        self.last = -float("inf")
        self.stream: TextIO = sys.stderr
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> "Progress":
        if self.stream.isatty():
            from rich.progress import Progress as Bar

            self.bar = Bar(transient=True)
            self.task = self.bar.add_task(f"{self.run.name} {self.phase}", total=self.epochs, completed=self.begun)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def due(self) -> bool:
        """Whether a second has gone by since the last report."""
        return time.monotonic() - self.last >= EVERY

    def report(self, epoch: int, step: int, loss: float) -> None:
        """Say that `step` steps of epoch `epoch` (0-based) are done; `loss` is the epoch's mean so far."""
        self.last = time.monotonic()
        elapsed = max(self.last - self.start, 1e-9)
        done = epoch + step / self.steps
        speed = (done - self.begun) / elapsed  # epochs a second
        left = (self.epochs - done) / speed if speed > 0 else None
        if self.bar is not None:
            self.bar.update(self.task, completed=done, description=f"{self.run.name} {self.phase} loss {loss:.4f}")
        if self.run.heartbeat is not None:
            beat = {
                "run": self.run.name,
                "phase": self.phase,
                "epoch": epoch + 1,
                "epochs": self.epochs,
                "step": step,
                "steps": self.steps,
                "loss": loss,
                "images_per_second": speed * self.images,
                "seconds_left": left,
                "pid": os.getpid(),
                "time": time.time(),
            }
            replace_json(self.run.heartbeat, beat)

    def line(self, row: dict[str, Any]) -> None:
        """One line for a finished epoch, where there is no bar."""
        if self.bar is not None:
            return
        elapsed = max(time.monotonic() - self.start, 1e-9)
        speed = (row["epoch"] - self.begun) / elapsed
        errors = "".join(f", {key} {value:.2f} %" for key, value in row.items() if key.endswith("_error"))
        left = (self.epochs - row["epoch"]) / speed if speed > 0 else 0.0
        print(
            f"{self.run.name} {self.phase} epoch {row['epoch']}/{self.epochs}: loss {row['train_loss']:.4f}{errors}, "
            f"lr {row['lr']:.3g}, {speed * self.images:.0f} images/s, {left:.0f} s left",
            file=self.stream,
            flush=True,
        )


def replace_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file atomically but without waiting for the disk: what is lost here is only news."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)
