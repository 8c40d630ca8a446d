"""The table of running trainings."""

import io

from reprood.cli.watch import duration, heartbeats, table


def test_watch_shows_running_and_stalled_trainings(tmp_path):
    from rich.console import Console

    from reprood.core.files import write_json

    beat = {"run": "b/m/0", "phase": "train", "epoch": 3, "epochs": 9, "loss": 0.5, "seconds_left": 3700}
    write_json(tmp_path / "a.json", {**beat, "time": 1000.0, "images_per_second": 900.0})
    write_json(tmp_path / "b.json", {**beat, "run": "b/m/1", "time": 100.0, "loss": None})
    (tmp_path / "broken.json").write_text("{")
    beats = heartbeats(tmp_path)
    assert [b["run"] for b in beats] == ["b/m/0", "b/m/1"]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(beats, now=1001.0))
    text = console.export_text()
    assert "3/9" in text
    assert "1:01:40" in text
    assert text.count("stalled?") == 1
    assert duration(59.6) == "1:00"
