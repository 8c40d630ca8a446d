"""Trackers get the rows of the history, through the progress of a training."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from reprood.cli.trackers import _mlflow, tracker
from reprood.core.errors import ReproodError
from reprood.core.progress import TrainingProgress

ROWS = [
    {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "validation_error": 40.0},
    {"epoch": 2, "lr": 0.05, "train_loss": 1.5, "validation_error": 30.0},
]


def train(on_epoch, stream):
    with TrainingProgress(stream=stream, on_epoch=on_epoch) as progress:
        progress.start("a/erm/0", "train", epochs=2, steps=1, images=8, done=0)
        for row in ROWS:
            progress.end_epoch(row)


def test_dvclive_writes_every_epoch(tmp_path, monkeypatch, capsys):
    pytest.importorskip("dvclive")
    monkeypatch.chdir(tmp_path)
    with tracker("dvclive", "a/erm/0", {"epochs": 2}) as on_epoch, open(tmp_path / "log", "w") as stream:
        train(on_epoch, stream)
    lines = (tmp_path / "logs/dvclive/a/erm/0/plots/metrics/train/train_loss.tsv").read_text().split("\n")
    assert lines == ["step\ttrain_loss", "0\t2.0", "1\t1.5", ""]
    assert "epochs: '2'" in (tmp_path / "logs/dvclive/a/erm/0/params.yaml").read_text()


def test_mlflow_gets_every_epoch(tmp_path):
    logged = []

    @contextmanager
    def start_run(run_name):
        logged.append(run_name)
        yield

    package = SimpleNamespace(
        set_experiment=logged.append,
        start_run=start_run,
        log_params=logged.append,
        log_metrics=lambda values, step: logged.append((step, values)),
    )
    with _mlflow(package, "a/erm/0", {"epochs": 2}) as on_epoch, open(tmp_path / "log", "w") as stream:
        train(on_epoch, stream)
    assert logged == [
        "reprood",
        "a/erm/0",
        {"epochs": "2"},
        (1, {"train/lr": 0.1, "train/train_loss": 2.0, "train/validation_error": 40.0}),
        (2, {"train/lr": 0.05, "train/train_loss": 1.5, "train/validation_error": 30.0}),
    ]


def test_without_a_tracker_nothing_is_called_and_unknown_ones_are_refused():
    with tracker("", "a/erm/0", {}) as on_epoch:
        assert on_epoch is None
    with pytest.raises(ReproodError, match="no tracker 'wandb'; expected dvclive or mlflow"), tracker("wandb", "a", {}):
        pass
