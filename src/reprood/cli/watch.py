"""`reprood watch`: progress of the running trainings, from their heartbeat files."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STALLED_SECONDS = 120.0


def heartbeats(folder: Path) -> list[dict[str, Any]]:
    """Return every readable heartbeat under `folder`, the latest first."""
    beats = []
    for path in folder.rglob("*.json"):
        try:
            beats.append(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            continue  # the run has just ended, or another program wrote the file
    return sorted(beats, key=lambda beat: -float(beat.get("time", 0)))


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss or m:ss.

    Examples
    --------
    >>> duration(3700), duration(59.6)
    ('1:01:40', '1:00')
    """
    total = max(0, round(seconds))
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table(beats: list[dict[str, Any]], now: float) -> Table:
    """Return a table with one row per run: phase, epoch, loss, speed, time left, age of the heartbeat."""
    result = Table(title="Trainings", title_justify="left")
    for name, justify in (
        ("run", "left"),
        ("phase", "left"),
        ("epoch", "right"),
        ("loss", "right"),
        ("images/s", "right"),
        ("time left", "right"),
        ("last update", "right"),
    ):
        result.add_column(name, justify="right" if justify == "right" else "left")
    for beat in beats:
        age = now - float(beat.get("time", now))
        loss = beat.get("loss")
        left = beat.get("seconds_left")
        updated = f"{age:.0f} s ago"
        result.add_row(
            str(beat.get("run", "?")),
            str(beat.get("phase", "?")),
            f"{beat.get('epoch', '?')}/{beat.get('epochs', '?')}",
            "-" if loss is None else f"{loss:.4f}",
            f"{beat.get('images_per_second') or 0:.0f}",
            "-" if left is None else duration(left),
            Text(updated + " (stalled?)", style="bold red") if age > STALLED_SECONDS else updated,
        )
    return result


def watch(folder: Path, *, once: bool = False, every: float = 1.0, console: Console | None = None) -> None:
    """Show the table of running trainings once, or until interrupted, updated every `every` seconds."""
    console = console or Console()

    def view() -> Group | Table:
        beats = heartbeats(folder)
        if not beats:
            return Group(Text(f"No training is running (no heartbeat under {folder})."))
        return table(beats, time.time())

    if once:
        console.print(view())
        return
    with Live(view(), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(every)
            live.update(view())
