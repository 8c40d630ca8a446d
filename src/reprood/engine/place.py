"""Where a phase stands, as one record that can be stored and put back; averaged weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from torch import Tensor, nn

from reprood.engine.optimizers import Optimizer

Row = dict[str, Any]


@dataclass
class Place:
    """A phase's progress.

    Attributes
    ----------
    total : float64 Tensor
        Sum over the images of the epoch so far of their loss, kept on the device.
    epoch, step : int
        Epochs finished; steps finished in the epoch after them.
    checked, since : float, int
        `total` at the last look at the loss, and images since then.
    rows : list of dict
        History of the finished epochs.
    seconds, resumed : float, int
        Time spent by all processes; how often the phase was resumed.
    """

    total: Tensor
    epoch: int = 0
    step: int = 0
    checked: float = 0.0
    since: int = 0
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0

    def end_epoch(self, row: Row) -> None:
        """Keep the epoch's row and start the next epoch."""
        self.rows.append(row)
        self.epoch, self.step, self.checked, self.since = self.epoch + 1, 0, 0.0, 0
        self.total.zero_()


@dataclass(frozen=True)
class Parts:
    """The objects whose contents a checkpoint holds."""

    model: nn.Module
    optimizer: Optimizer
    average: list[Tensor] | None
    place: Place

    def record(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "place": vars(self.place),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }

    def restore(self, record: dict[str, Any]) -> None:
        """Put a record back, into tensors where they are."""
        self.model.load_state_dict(record["model"])
        self.optimizer.load_state_dict(record["optimizer"])
        if self.average is not None:
            for mean, stored in zip(self.average, record["average"], strict=True):
                mean.copy_(stored)
        place = dict(record["place"])
        self.place.total.copy_(place.pop("total"))
        for name, value in place.items():
            setattr(self.place, name, value)
        self.place.resumed += 1


def float_tensors(model: nn.Module) -> list[Tensor]:
    """Every floating-point parameter and buffer, detached."""
    tensors = chain(model.parameters(), model.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]


def copies(model: nn.Module) -> list[Tensor]:
    """Copies of every floating-point parameter and buffer."""
    return [tensor.clone() for tensor in float_tensors(model)]


def update_average(average: list[Tensor], model: nn.Module, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * value, for parameters and batch statistics alike."""
    for mean, tensor in zip(average, float_tensors(model), strict=True):
        mean.lerp_(tensor, 1 - decay)


def assign(model: nn.Module, values: list[Tensor]) -> None:
    """Write `values` into the model's floating-point parameters and buffers."""
    for tensor, value in zip(float_tensors(model), values, strict=True):
        tensor.copy_(value)


@contextmanager
def averaged(model: nn.Module, average: list[Tensor] | None) -> Iterator[None]:
    """Run the block with the averaged weights in the model, if there are any."""
    if average is None:
        yield
        return
    own = copies(model)
    assign(model, average)
    try:
        yield
    finally:
        assign(model, own)
