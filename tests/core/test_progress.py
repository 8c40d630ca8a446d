"""Progress display: lines, a bar on terminals, the file for `reprood watch`."""

import io
import json
from pathlib import Path

from reprood.core.progress import CountProgress, TrainingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROW = {"epoch": 1, "train_loss": 1.25, "lr": 0.1, "test_error": 12.5}


def test_one_line_per_epoch(tmp_path) -> None:
    stream = io.StringIO()
    with TrainingProgress(stream=stream) as progress:
        progress.start("bench/method/0", "train", epochs=2, steps=5, images=100, done=0.0)
        progress.update(0, 3, lambda: 1.5)
        progress.end_epoch(ROW)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("bench/method/0 train epoch 1/2: loss 1.2500, test_error 12.50 %, lr 0.1, ")
    assert line.endswith(" s left")
    assert list(tmp_path.iterdir()) == []


def test_heartbeat_is_written_and_removed(tmp_path) -> None:
    path = tmp_path / "beats" / "run.json"
    with TrainingProgress(path, stream=io.StringIO(), every=0.0) as progress:
        progress.start("bench/method/0", "first", epochs=4, steps=5, images=100, done=1.0)
        progress.update(1, 3, lambda: 1.5)
        beat = json.loads(path.read_text())
        assert [file.name for file in path.parent.iterdir()] == ["run.json"]
        progress.close()
        progress.start("bench/method/0", "second", epochs=1, steps=2, images=10, done=0.0)
        progress.update(0, 1, lambda: 0.5)
        assert json.loads(path.read_text())["phase"] == "second"
    assert not path.exists()
    expected = {"run": "bench/method/0", "phase": "first", "epoch": 2, "epochs": 4, "step": 3, "steps": 5, "loss": 1.5}
    assert expected.items() <= beat.items()
    assert beat["images_per_second"] > 0
    assert beat["seconds_left"] > 0
    assert {"pid", "time"} <= set(beat)


def test_the_loss_is_read_only_when_it_is_shown() -> None:
    """Reading it waits for the device."""
    reads: list[int] = []
    with TrainingProgress(stream=io.StringIO(), every=1e9) as progress:
        progress.start("r", "p", epochs=1, steps=9, images=9, done=0.0)
        for step in range(1, 10):
            progress.update(0, step, lambda: reads.append(1) or 1.0)
    assert reads == [1]


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with TrainingProgress(stream=stream, every=0.0) as progress:
        progress.start("bench/method/0", "train", epochs=2, steps=5, images=100, done=0.0)
        progress.update(0, 3, lambda: 1.5)
        progress.end_epoch(ROW)
    assert "epoch 1/2" not in stream.getvalue()
    assert "bench/method/0 train" in stream.getvalue()


def test_counts() -> None:
    stream = io.StringIO()
    progress = CountProgress("bench/method/0", 100, stream=stream, every=1e9)
    for _ in range(4):
        progress.add(25, "test")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("bench/method/0: test, 100 of 100 images, ")
    assert line.endswith(" images/s, 0 s left")


def test_counts_without_a_total() -> None:
    stream = io.StringIO()
    progress = CountProgress("copy", unit="files", stream=stream, every=0.0)
    progress.add(3)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("copy: 3 files, ")
    assert line.endswith(" files/s")


def test_training_progress_is_what_a_training_calls(tmp_path: Path) -> None:
    """The callbacks fit the engine's protocol, through a real training."""
    from tiny_problem import Net, problem, run
    from torch.nn import functional

    from reprood.engine.fit import fit
    from reprood.engine.training import Training
    from reprood.nets.classifier import Classifier

    stream, task = io.StringIO(), problem(20)
    with TrainingProgress(tmp_path / "beat.json", stream=stream) as progress:
        fit(
            Classifier(Net(), 3),
            lambda network, batch: functional.cross_entropy(network(batch.images), batch.labels),
            task.train,
            Training(epochs=3, batch_size=16, crop_padding=2),
            run(tmp_path / "state", progress=progress),
            problem=task,
        )
        assert json.loads((tmp_path / "beat.json").read_text())["run"] == "bench/method/0"
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"bench/method/0 train epoch {k}/3" for k in (1, 2, 3)]
