"""`reprood watch`: what the running trainings are doing, from their heartbeat files."""

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
    """Every readable heartbeat under `folder`, the latest first."""
    found = []
    for path in folder.rglob("*.json"):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            continue  # the run just ended, or the file is from another program
    return sorted(found, key=lambda beat: -float(beat.get("time", 0)))


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table(beats: list[dict[str, Any]], now: float) -> Table:
    """One row a run: phase, epoch, loss, speed, time left, age of the heartbeat."""
    result = Table(title="Trainings", title_justify="left")
    for name, justify in (
        ("run", "left"),
        ("phase", "left"),
        ("epoch", "right"),
        ("loss", "right"),
        ("images/s", "right"),
        ("left", "right"),
        ("heard", "right"),
    ):
        result.add_column(name, justify="right" if justify == "right" else "left")
    for beat in beats:
        age = now - float(beat.get("time", now))
        loss = beat.get("loss")
        left = beat.get("seconds_left")
        heard = f"{age:.0f} s ago"
        result.add_row(
            str(beat.get("run", "?")),
            str(beat.get("phase", "?")),
            f"{beat.get('epoch', '?')}/{beat.get('epochs', '?')}",
            "-" if loss is None else f"{loss:.4f}",
            f"{beat.get('images_per_second') or 0:.0f}",
            "-" if left is None else duration(left),
            Text(heard + " (stalled?)", style="bold red") if age > STALLED_SECONDS else heard,
        )
    return result


def watch(folder: Path, *, once: bool = False, every: float = 1.0, console: Console | None = None) -> None:
    """Show the table of running trainings until interrupted (or once)."""
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
