"""The training loop: what a step does, what stops it, and that an interrupted one gives the same bits."""

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tiny_problem import Net, problem, run
from torch import nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.checkpoint import DIGEST, MAGIC, load_checkpoint
from reprood.engine.fit import fit
from reprood.engine.run import Stopped
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.nets.classifier import Classifier

SHORT = Training(epochs=3, batch_size=16, lr=0.1, crop_padding=2)


def make_model(dropout: float = 0.0) -> nn.Module:
    with seeded(1):
        return Classifier(Net(1, dropout), 3)


def cross_entropy(network, batch):
    return functional.cross_entropy(network(batch.images), batch.labels)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {key: value.detach().cpu().contiguous().numpy().tobytes() for key, value in model.state_dict().items()}


def test_each_epoch_is_a_new_order_of_all_images(tmp_path) -> None:
    seen: dict[int, list[int]] = {}

    def loss(network, batch):
        seen.setdefault(batch.epoch, []).extend(batch.index.tolist())
        return cross_entropy(network, batch)

    fit(make_model(), loss, problem(50).train, SHORT, run(tmp_path), problem=problem(50))
    assert [sorted(order) for order in seen.values()] == [list(range(50))] * 3
    assert seen[0] != seen[1] != seen[2]


def test_labels_belong_to_the_images(tmp_path) -> None:
    task = problem(50)
    plain = SHORT.model_copy(update={"augment": "none"})

    def loss(network, batch):
        assert torch.equal(batch.labels, task.train.labels[batch.index])
        raw = task.train.images[batch.index] / 255
        torch.testing.assert_close(batch.images, (raw - 0.4) / 0.2)
        return cross_entropy(network, batch)

    fit(make_model(), loss, task.train, plain, run(tmp_path), problem=task)


def test_history(tmp_path) -> None:
    training = SHORT.model_copy(update={"monitor_every": 2})
    job = run(tmp_path)
    rows = fit(make_model(), cross_entropy, problem(50).train, training, job, problem=problem(50))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"phase", "epoch", "lr", "train_loss"}
    assert set(rows[1]) == set(rows[2]) == {*rows[0], "validation_error", "test_error"}
    assert rows[2]["train_loss"] < rows[0]["train_loss"]
    assert all(0 <= rows[1][name] <= 100 for name in ("validation_error", "test_error"))
    (entry,) = job.log
    assert entry["images"] == 150
    assert entry["resumed"] == 0


def test_one_step_equals_a_hand_written_one(tmp_path) -> None:
    """Forward, loss, weight decay, momentum and rate, written out with autograd alone."""
    task = problem(16)
    training = Training(
        epochs=1, batch_size=16, lr=0.3, weight_decay=0.02, momentum=0.9, augment="none", schedule="constant"
    )
    model, reference = make_model(), make_model()
    rows = fit(model, cross_entropy, task.train, training, run(tmp_path), problem=task)
    order = torch.randperm(16, generator=run(tmp_path).generator("train", "order", 0))
    images = (task.train.images[order].double() / 255 - 0.4) / 0.2
    reference.double().train()
    logits = reference(images)
    chosen = logits[torch.arange(16), task.train.labels[order]]
    loss = (logits.exp().sum(1).log() - chosen).mean()
    loss.backward()
    assert rows[0]["train_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        expected = theirs.detach() - 0.3 * (theirs.grad + 0.02 * theirs.detach())
        torch.testing.assert_close(ours.detach().double(), expected, rtol=1e-4, atol=1e-6)


def test_bf16_agrees_with_fp32_on_one_step(tmp_path) -> None:
    """bf16 has 8 bits of mantissa: 2 % on the loss, 5 % of the largest step on every weight."""
    training = Training(epochs=1, batch_size=50, lr=0.1, augment="none", schedule="constant")
    start = dict(make_model().named_parameters())
    outcome = {}
    for precision in ("fp32", "bf16"):
        model = make_model()
        job = run(tmp_path / precision, precision=precision)
        rows = fit(model, cross_entropy, problem(50).train, training, job, problem=problem(50))
        outcome[precision] = rows[0]["train_loss"], {k: v.detach() for k, v in model.named_parameters()}
    assert outcome["bf16"][0] == pytest.approx(outcome["fp32"][0], rel=0.02)
    assert outcome["bf16"][0] != outcome["fp32"][0]
    for name, weight in outcome["fp32"][1].items():
        step = (weight - start[name].detach()).abs().max()
        assert (weight - outcome["bf16"][1][name]).abs().max() <= 0.05 * step + 1e-3, name


def test_memory_format_changes_nothing_but_rounding(tmp_path) -> None:
    outcome = []
    for channels_last in (True, False):
        job = run(tmp_path / str(channels_last), channels_last=channels_last)
        rows = fit(make_model(), cross_entropy, problem(50).train, SHORT, job, problem=problem(50))
        outcome.append([row["train_loss"] for row in rows])
    assert outcome[0] == pytest.approx(outcome[1], rel=1e-4)


def test_global_random_state_is_left_alone(tmp_path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit(make_model(0.5), cross_entropy, problem(20).train, SHORT, run(tmp_path), problem=problem(20))
    assert torch.equal(torch.rand(3), expected)


VARIANTS = {
    "plain": {},
    "everything": {"ema": 0.9, "clip_norm": 0.5, "schedule": "cosine_step", "warmup_epochs": 1, "nesterov": True},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stop", [1, 4, 5, 11, 12])
def test_interrupted_anywhere_gives_the_same_bits(tmp_path, variant, precision, stop) -> None:
    """4 steps an epoch; the interruption comes before the step with this number, in the second of two phases too."""
    training = SHORT.model_copy(update=VARIANTS[variant])
    task = problem(50)

    class Interruption(Exception):
        pass

    def train(folder, stops):
        model, job = make_model(0.3), run(folder, precision=precision, checkpoint_seconds=0)
        count = 0

        def loss(network, batch):
            nonlocal count
            count += 1
            if count == stops:
                raise Interruption
            noise = torch.rand((), generator=batch.generator)
            return cross_entropy(network, batch) * (1 + 0.1 * noise)

        history = []
        for phase in ("first", "second"):
            history += fit(model, loss, task.train, training, job, problem=task, phase=phase)
        return bits(model), history

    expected = train(tmp_path / "whole", None)
    for stops in (stop, 6, None):
        try:
            outcome = train(tmp_path / "broken", stops)
        except Interruption:
            continue
    assert outcome == expected


def test_a_finished_phase_is_not_trained_again(tmp_path) -> None:
    first = make_model()
    rows = fit(first, cross_entropy, problem(20).train, SHORT, run(tmp_path), problem=problem(20))

    def never(network, batch):
        raise AssertionError

    again = make_model()
    assert fit(again, never, problem(20).train, SHORT, run(tmp_path), problem=problem(20)) == rows
    assert bits(again) == bits(first)


@pytest.mark.parametrize("change", ["other settings", "damaged"])
def test_a_checkpoint_that_does_not_fit_is_not_used(tmp_path, caplog, change) -> None:
    fit(make_model(), cross_entropy, problem(20).train, SHORT, run(tmp_path / "a"), problem=problem(20))
    training = SHORT
    if change == "damaged":
        path = tmp_path / "a" / "train.checkpoint"
        path.write_bytes(path.read_bytes()[:-1])
    else:
        training = SHORT.model_copy(update={"lr": 0.05})
    outcome = []
    for folder in ("a", "b"):
        model = make_model()
        fit(model, cross_entropy, problem(20).train, training, run(tmp_path / folder), problem=problem(20))
        outcome.append(bits(model))
    assert outcome[0] == outcome[1]
    assert "starts over" in caplog.text


@pytest.mark.parametrize("checkpoint_seconds", [0, 1e9])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e9])
def test_a_broken_loss_stops_the_training(tmp_path, value, checkpoint_seconds) -> None:
    def loss(network, batch):
        good = cross_entropy(network, batch)
        return good * 0 + value if batch.epoch == 1 and batch.step == 1 else good

    job = run(tmp_path, checkpoint_seconds=checkpoint_seconds)
    with pytest.raises(ReproodError) as caught:
        fit(make_model(), loss, problem(50).train, SHORT, job, problem=problem(50))
    message = str(caught.value)
    for part in ("bench/method/0", "phase train", "epoch", "learning rate 0.01", "training.lr"):
        assert part in message
    path = tmp_path / "train.checkpoint"
    if checkpoint_seconds == 0:
        payload = path.read_bytes()[len(MAGIC) + DIGEST + 1 :]
        key = torch.load(io.BytesIO(payload), weights_only=True)["key"]
        record = load_checkpoint(path, key)
        assert record is not None
        assert all(tensor.isfinite().all() for tensor in record["models"]["model"].values())
    else:
        assert not path.exists()


def test_broken_weights_are_not_stored(tmp_path) -> None:
    """The loss of the last step is fine, its gradient is not."""

    class Trap(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    training = SHORT.model_copy(update={"epochs": 1, "batch_size": 20})
    with pytest.raises(ReproodError, match="no longer a finite number"):
        fit(
            make_model(),
            lambda network, batch: Trap.apply(cross_entropy(network, batch)),
            problem(20).train,
            training,
            run(tmp_path),
            problem=problem(20),
            monitor=lambda network: {},
        )
    assert not (tmp_path / "train.checkpoint").exists()


def test_no_batch_is_an_error(tmp_path) -> None:
    training = SHORT.model_copy(update={"drop_last": True, "batch_size": 64})
    with pytest.raises(ReproodError, match="no batch"):
        fit(make_model(), cross_entropy, problem(20).train, training, run(tmp_path), problem=problem(20))


def test_average_and_clipping(tmp_path) -> None:
    training = Training(
        epochs=1, batch_size=10, lr=0.1, augment="none", schedule="constant", ema=0.5, clip_norm=1e-3, momentum=0.0
    )
    model, trace = make_model(), []

    def loss(network, batch):
        trace.append(network.head.weight.detach().clone())
        return cross_entropy(network, batch)

    fit(
        model,
        loss,
        problem(20).train,
        training.model_copy(update={"weight_decay": 0.0}),
        run(tmp_path),
        problem=problem(20),
    )
    assert (trace[1] - trace[0]).norm() <= 0.1 * 1e-3 * 1.001
    # average after two steps: 0.25 w0 + 0.25 w1 + 0.5 w2, so w2 lies this far from it
    w2 = 2 * (model.head.weight.detach() - 0.25 * trace[0] - 0.25 * trace[1])
    assert 0 < (w2 - trace[1]).norm() <= 0.1 * 1e-3 * 1.01


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 12])
def test_stopped_on_request_a_resumed_training_gives_the_same_bits(tmp_path, steps) -> None:
    """4 steps per epoch: inside an epoch, at its end, and after the very last step."""
    task = problem(50)
    uninterrupted = make_model(0.3)
    history = fit(uninterrupted, cross_entropy, task.train, SHORT, run(tmp_path / "a"), problem=task)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == steps

    with pytest.raises(Stopped, match="bench/method/0: stopped on request in phase train"):
        fit(make_model(0.3), cross_entropy, task.train, SHORT, run(tmp_path / "b", stop=stop), problem=task)
    assert calls == steps
    resumed, job = make_model(0.3), run(tmp_path / "b")
    assert fit(resumed, cross_entropy, task.train, SHORT, job, problem=task) == history
    assert bits(resumed) == bits(uninterrupted)
    assert job.log[0]["resumed"] == 1


class Recorder:
    """Keep what a training reports."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, name: str, phase: str, *, epochs: int, steps: int, images: int, done: float) -> None:
        self.calls.append(("start", name, phase, epochs, steps, images, done))

    def update(self, epoch: int, step: int, loss: Callable[[], float]) -> None:
        self.calls.append(("update", epoch, step, loss()))

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        self.calls.append(("end_epoch", dict(row)))

    def close(self) -> None:
        self.calls.append(("close",))


def test_progress_is_reported(tmp_path) -> None:
    recorder, task = Recorder(), problem(50)
    rows = fit(make_model(), cross_entropy, task.train, SHORT, run(tmp_path, progress=recorder), problem=task)
    assert recorder.calls[0] == ("start", "bench/method/0", "train", 3, 4, 50, 0.0)
    assert recorder.calls[-1] == ("close",)
    updates = [call for call in recorder.calls if call[0] == "update"]
    assert [call[1:3] for call in updates] == [(epoch, step) for epoch in range(3) for step in range(1, 5)]
    assert [call[1] for call in recorder.calls if call[0] == "end_epoch"] == rows
    assert [call[3] for call in updates[3::4]] == pytest.approx([row["train_loss"] for row in rows])


def test_progress_is_closed_and_continues_after_an_interruption(tmp_path) -> None:
    task = problem(50)
    recorders = Recorder(), Recorder()
    stops = iter([False] * 5 + [True])
    job = run(tmp_path, progress=recorders[0], stop=lambda: next(stops))
    with pytest.raises(Stopped):
        fit(make_model(), cross_entropy, task.train, SHORT, job, problem=task)
    assert recorders[0].calls[-1] == ("close",)
    fit(make_model(), cross_entropy, task.train, SHORT, run(tmp_path, progress=recorders[1]), problem=task)
    assert recorders[1].calls[0][-1] == 1.5
    assert next(call[1:3] for call in recorders[1].calls if call[0] == "update") == (1, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_on_a_gpu(tmp_path, precision) -> None:
    from reprood.engine.device import make_repeatable

    device = torch.device("cuda", 0)
    make_repeatable(device, None)
    task = problem(50, device="cuda")

    def train(folder, stop):
        job = run(folder, device=device, precision=precision, checkpoint_seconds=0)
        model = make_model(0.3)

        def loss(network, batch):
            if (batch.epoch, batch.step) == stop:
                raise KeyboardInterrupt
            return cross_entropy(network, batch)

        return fit(model, loss, task.train, SHORT, job, problem=task), bits(model)

    expected = train(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", (1, 2))
    assert train(tmp_path / "broken", None) == expected
