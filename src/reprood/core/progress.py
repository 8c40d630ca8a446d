"""Progress display: a bar on terminals, lines in log files, and a small JSON file for `reprood watch`.

Commands create these objects and pass them to what they run. Nothing that is fingerprinted imports this module, so that
a change of the display re-runs nothing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


class TrainingProgress:
    """Display of a training: a bar on a terminal, else one line per epoch (see `reprood.engine.run.Progress`).

    Use it as a context manager: the JSON file is removed at the end. The file is replaced atomically at most once per
    `every` seconds and has the keys run, phase, epoch, epochs, step, steps, loss, images_per_second, seconds_left, pid
    and time (seconds since 1970).

    Parameters
    ----------
    heartbeat : Path, optional
        The JSON file; none is written by default.
    stream : TextIO, optional
        Where bar and lines go; default: standard error.
    every : float
        Minimum seconds between two updates.
    on_epoch : callable, optional
        Called with the phase and the history row of every finished epoch.
    """

    def __init__(
        self,
        heartbeat: Path | None = None,
        *,
        stream: TextIO | None = None,
        every: float = 1.0,
        on_epoch: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.on_epoch = on_epoch
        self.heartbeat = heartbeat
        self.stream = sys.stderr if stream is None else stream
        self.every = every
        self._title = self._name = self._phase = ""
        self._epochs = self._steps = self._images = 0
        self._first = 0.0
        self._start = self._last = -float("inf")
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.heartbeat is not None:
            self.heartbeat.unlink(missing_ok=True)

    def start(self, name: str, phase: str, *, epochs: int, steps: int, images: int, done: float) -> None:
        """Begin a phase.

        Parameters
        ----------
        name, phase : str
            Name of the run and of its phase.
        epochs, steps, images : int
            Epochs of the phase; steps and images per epoch.
        done : float
            Epochs that were finished before this process started.
        """
        self._name, self._phase, self._title = name, phase, f"{name} {phase}"
        self._epochs, self._steps, self._images, self._first = epochs, steps, images, done
        self._start, self._last = time.monotonic(), -float("inf")
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(transient=True, console=Console(file=self.stream))
            self._task = self._bar.add_task(self._title, total=epochs, completed=done)
            self._bar.start()

    def update(self, epoch: int, step: int, loss: Callable[[], float]) -> None:
        """Show that `step` steps of epoch `epoch` (0-based) are done, if the last update is long enough ago.

        Parameters
        ----------
        epoch, step : int
            The epoch (0-based), and the number of its steps that are done.
        loss : callable
            Returns the epoch's mean loss so far; called only when it is shown, because it waits for the device.
        """
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        value, done = loss(), epoch + step / self._steps
        speed, left = self._speed(done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=f"{self._title} loss {value:.4f}")
        if self.heartbeat is not None:
            beat = {
                "run": self._name,
                "phase": self._phase,
                "epoch": epoch + 1,
                "epochs": self._epochs,
                "step": step,
                "steps": self._steps,
                "loss": value,
                "images_per_second": speed,
                "seconds_left": left,
                "pid": os.getpid(),
                "time": time.time(),
            }
            replace_json(self.heartbeat, beat)

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Print one line for a finished epoch, where there is no bar, and call `on_epoch`."""
        if self.on_epoch is not None:
            self.on_epoch(self._phase, row)
        if self._bar is not None:
            return
        speed, left = self._speed(row["epoch"])
        errors = "".join(f", {key} {value:.2f} %" for key, value in row.items() if key.endswith("_error"))
        print(
            f"{self._title} epoch {row['epoch']}/{self._epochs}: loss {row['train_loss']:.4f}{errors}, "
            f"lr {row['lr']:.3g}, {speed:.0f} images/s, {left or 0.0:.0f} s left",
            file=self.stream,
            flush=True,
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _speed(self, done: float) -> tuple[float, float | None]:
        """Return images per second and the seconds left, given the finished epochs."""
        speed = (done - self._first) / max(time.monotonic() - self._start, 1e-9)
        return speed * self._images, (self._epochs - done) / speed if speed > 0 else None


class CountProgress:
    """Lines "what: part, count of total, rate, time left" for work that is counted in items.

    Parameters
    ----------
    what : str
        What is being done, for example the name of the run.
    total : int, optional
        Items in all, if known.
    unit : str
        Name of an item, in the plural.
    stream : TextIO, optional
        Where lines go; default: standard error.
    every : float
        Minimum seconds between two lines.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        unit: str = "images",
        stream: TextIO | None = None,
        every: float = 5.0,
    ) -> None:
        self.what, self.total, self.unit, self.every = what, total, unit, every
        self.done = 0
        self.stream = sys.stderr if stream is None else stream
        self._start = self._last = time.monotonic()

    def add(self, count: int, part: str = "") -> None:
        """Count items as done, and print a line if the last one is long enough ago or if this was the last item."""
        self.done += count
        now = time.monotonic()
        if now - self._last < self.every and self.done != self.total:
            return
        self._last = now
        speed = self.done / max(now - self._start, 1e-9)
        of, left = "", ""
        if self.total is not None:
            of, left = f" of {self.total}", f", {(self.total - self.done) / max(speed, 1e-9):.0f} s left"
        where = f"{part}, " if part else ""
        line = f"{self.what}: {where}{self.done}{of} {self.unit}, {speed:.0f} {self.unit}/s{left}"
        print(line, file=self.stream, flush=True)


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file atomically, without waiting for the disk: losing it is harmless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)
