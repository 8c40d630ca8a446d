"""The loop of several networks: order, history, checks, and that an interrupted one gives the same bits."""

from pathlib import Path

import pytest
import torch
from tiny_problem import Net, problem, run
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import make_inputs
from reprood.engine.optimizers import Adam, build_optimizer
from reprood.engine.run import Stopped
from reprood.engine.seeds import seeded
from reprood.engine.state import Position
from reprood.engine.training import Training
from reprood.methods.dias.game import Player, alternate
from reprood.nets.classifier import Classifier

SHORT = Training(epochs=2, batch_size=16, lr=0.05, crop_padding=2)


class Interruption(Exception):
    pass


class Game:
    """Two classifiers: the first learns in both passes, the second to agree with it, with dropout and noise."""

    def __init__(self, stop: int = -1) -> None:
        with seeded(3):
            self.first, self.second = Classifier(Net(1, 0.2), 3), Classifier(Net(1, 0.2), 3)
        self.players = {
            "first": Player(self.first, build_optimizer(self.first, SHORT)),
            "second": Player(self.second, Adam(self.second.parameters())),
        }
        self.calls: list[tuple[str, int, int, list[int]]] = []
        self.rates: list[float] = []
        self.stop = stop

    def note(self, name, batch, rate) -> None:
        if len(self.calls) == self.stop:
            raise Interruption
        self.calls.append((name, batch.epoch, batch.step, batch.index.tolist()))
        self.rates.append(rate)

    def alone(self, batch, rate):
        self.note("alone", batch, rate)
        self.first.train()
        optimizer = self.players["first"].optimizer
        optimizer.zero_grad()
        loss = functional.cross_entropy(self.first(batch.images), batch.labels)
        loss.backward()
        optimizer.step(rate)
        return {"loss": loss}

    def both(self, batch, rate):
        self.note("both", batch, rate)
        noise = 0.1 * torch.randn(batch.images.shape, generator=batch.generator)
        self.second.train()
        optimizer = self.players["second"].optimizer
        optimizer.zero_grad()
        gap = (self.second(batch.images) - self.first(batch.images + noise).detach()).square().mean()
        gap.backward()
        optimizer.step(0.01)
        return {**self.alone_quietly(batch, rate), "gap": gap}

    def alone_quietly(self, batch, rate):
        optimizer = self.players["first"].optimizer
        optimizer.zero_grad()
        loss = functional.cross_entropy(self.first(batch.images), batch.labels)
        loss.backward()
        optimizer.step(rate)
        return {"loss": loss}

    def play(self, folder: Path, training: Training = SHORT, count: int = 50, **changes):
        task, job = problem(count), run(folder, **changes)
        self.job = job
        passes = {"alone": self.alone, "both": self.both}
        return alternate(
            self.players, passes, self.first, task.train, training, job, problem=task,
            inputs=make_inputs(task, training, job),
        )  # fmt: skip

    def bits(self) -> list[bytes]:
        return [
            value.detach().contiguous().numpy().tobytes()
            for net in (self.first, self.second)
            for value in net.state_dict().values()
        ]


def test_passes_alternate_and_see_every_image_once(tmp_path) -> None:
    game = Game()
    game.play(tmp_path)
    assert [(name, epoch, step) for name, epoch, step, _ in game.calls] == [
        (name, epoch, step) for epoch in range(2) for name in ("alone", "both") for step in range(4)
    ]
    orders = [[row for call in game.calls[k : k + 4] for row in call[3]] for k in range(0, 16, 4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert not game.first.training
    assert not game.second.training


def test_history(tmp_path) -> None:
    game = Game()
    rows = game.play(tmp_path, SHORT.model_copy(update={"monitor_every": 2}))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert list(rows[0]) == ["phase", "epoch", "lr", "train_loss", "gap"]
    assert list(rows[1]) == [*rows[0], "validation_error", "test_error"]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert game.job.log[0]["images"] == 200
    assert game.job.log[0]["resumed"] == 0


def test_losses_are_means_over_images(tmp_path) -> None:
    """The last batch has two images: it counts for two."""
    task, seen = problem(50), []

    def turn(batch, rate):
        seen.append((float(batch.step + 1), len(batch.index)))
        return {"loss": torch.tensor(float(batch.step + 1)), "other": torch.tensor(2.0 * (batch.step + 1))}

    net = Classifier(Net(), 3)
    players = {"one": Player(net, build_optimizer(net, SHORT))}
    job = run(tmp_path)
    rows = alternate(
        players, {"a": turn, "b": turn}, net, task.train, SHORT, job, problem=task,
        inputs=make_inputs(task, SHORT, job),
    )  # fmt: skip
    expected = sum(value * count for value, count in seen[:4]) / 50
    assert rows[0]["train_loss"] == pytest.approx(expected)
    assert rows[0]["other"] == pytest.approx(2 * expected)
    position = Position(torch.zeros((), dtype=torch.float64))
    position.add({"x": torch.tensor(1.0)}, 3)
    position.add({"x": torch.tensor(2.0), "y": torch.tensor(5.0)}, 1)
    assert position.means() == {"x": 1.25, "y": 5.0}
    position.next_epoch({})
    assert position.means() == {}


def test_rates_follow_the_schedule_over_both_passes(tmp_path) -> None:
    game = Game()
    training = SHORT.model_copy(update={"schedule": "cosine_step"})
    game.play(tmp_path, training)
    assert game.rates == [training.rate(epoch, step, 8) for epoch in range(2) for step in range(8)]


def test_equal_seeds_equal_bits(tmp_path) -> None:
    first, second, other = Game(), Game(), Game()
    rows = first.play(tmp_path / "a")
    assert second.play(tmp_path / "b") == rows
    other.play(tmp_path / "c", root_seed=8)
    assert first.bits() == second.bits() != other.bits()


def test_a_training_interrupted_anywhere_gives_the_same_bits(tmp_path) -> None:
    whole = Game()
    rows = whole.play(tmp_path / "whole")
    for stop in (0, 1, 3, 4, 6, 8, 11, 15):  # steps; in either pass, and between passes and epochs
        folder = tmp_path / str(stop)
        with pytest.raises(Interruption):
            Game(stop).play(folder, checkpoint_seconds=0)
        again = Game()
        assert again.play(folder, checkpoint_seconds=0) == rows, stop
        assert again.bits() == whole.bits(), stop
        assert len(again.calls) == 16 - stop
        assert again.job.log[0]["resumed"] == min(stop, 1)
        done = Game()
        assert done.play(folder) == rows  # a finished phase is not repeated
        assert (done.calls, done.bits()) == ([], whole.bits())


def test_a_training_stopped_on_request_gives_the_same_bits(tmp_path) -> None:
    uninterrupted = Game()
    rows = uninterrupted.play(tmp_path / "uninterrupted")
    stopped = Game()
    with pytest.raises(Stopped):
        stopped.play(tmp_path / "stopped", stop=lambda: len(stopped.calls) == 6)
    resumed = Game()
    assert resumed.play(tmp_path / "stopped") == rows
    assert resumed.bits() == uninterrupted.bits()
    assert len(resumed.calls) == 10


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path, caplog) -> None:
    with pytest.raises(Interruption):
        Game(5).play(tmp_path, checkpoint_seconds=0)
    game = Game()
    game.play(tmp_path, SHORT.model_copy(update={"lr": 0.04}))
    assert len(game.calls) == 16
    assert "other settings" in caplog.text


@pytest.mark.parametrize(
    ("changes", "count", "words"),
    [
        ({"lr": 1e20}, 50, "diverged|no longer a finite number"),
        ({"ema": 0.9}, 50, "leave training.ema"),
        ({"clip_norm": 1.0}, 50, "leave training.ema and clip_norm"),
        ({"drop_last": True}, 10, "give no batch of 16"),
    ],
)
def test_what_stops_it(tmp_path, changes, count, words) -> None:
    training = SHORT.model_copy(update=changes)
    with pytest.raises(ReproodError, match=words):
        Game().play(tmp_path, training, count)


def test_a_network_that_is_not_watched_is_guarded_too(tmp_path) -> None:
    game = Game()
    with torch.no_grad():
        game.second.head.weight[0, 0] = float("nan")
    with pytest.raises(ReproodError, match="no longer a finite number"):
        game.play(tmp_path)
    assert not list(tmp_path.glob("*.checkpoint"))


def test_global_generators_are_put_back(tmp_path) -> None:
    before = torch.get_rng_state()
    Game().play(tmp_path)
    assert torch.equal(before, torch.get_rng_state())
