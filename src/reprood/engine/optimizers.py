"""Optimisers of the papers, and which parameters are decayed.

Written out rather than taken from `torch.optim`, whose first step imports the compiler: 2 to 3 seconds of every job,
as much as a tenth of a small one. Tests compare them bit for bit with `torch.optim`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reprood.engine.lars import LARS
from reprood.engine.training import Training

Group = dict[str, Any]


class Optimizer(Protocol):
    """What `fit` asks of an optimiser."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self, rate: float) -> None:
        """Update the parameters with learning rate `rate`."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class SGD:
    """Stochastic gradient descent with momentum m and L2 decay w, as `torch.optim.SGD`.

    For a gradient g and rate r: d = g + w p; v = m v + d (v = d in the first step); then p = p - r v, or
    p = p - r (d + m v) with Nesterov's momentum.

    Parameters
    ----------
    groups : sequence of dict
        "params" (list of parameters) and "weight_decay" (float) each.
    momentum : float
        m in [0, 1).
    nesterov : bool
        Nesterov's form.
    """

    def __init__(self, groups: Sequence[Group], momentum: float, nesterov: bool) -> None:
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self.decays: list[float] = [float(group["weight_decay"]) for group in groups for _ in group["params"]]
        self.momentum = momentum
        self.nesterov = nesterov
        self.velocity: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient; the gradients are used up."""
        by_decay: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        old: list[Tensor] = []
        fresh: list[Tensor] = []
        velocity: list[Tensor] = []
        for i, parameter in enumerate(self.parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            parameters.append(parameter)
            gradients.append(gradient)
            decayed = by_decay.setdefault(self.decays[i], ([], []))
            decayed[0].append(gradient)
            decayed[1].append(parameter)
        for decay, (some_gradients, some_parameters) in by_decay.items():
            if decay:
                torch._foreach_add_(some_gradients, some_parameters, alpha=decay)
        if self.momentum:
            for i, parameter in enumerate(self.parameters):
                gradient = parameter.grad
                if gradient is None:
                    continue
                known = self.velocity[i]
                if known is None:
                    self.velocity[i] = known = gradient.clone()
                else:
                    old.append(known)
                    fresh.append(gradient)
                velocity.append(known)
            if old:
                torch._foreach_mul_(old, self.momentum)
                torch._foreach_add_(old, fresh)
            if self.nesterov:
                torch._foreach_add_(gradients, velocity, alpha=self.momentum)
            else:
                gradients = velocity
        torch._foreach_add_(parameters, gradients, alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        """The velocities."""
        return {"velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put stored velocities back, on the parameters' devices and in their memory format."""
        for i, (parameter, stored) in enumerate(zip(self.parameters, state["velocity"], strict=True)):
            self.velocity[i] = None if stored is None else stored.to(parameter.device)


def decay_groups(model: nn.Module, exempt: Iterable[nn.Parameter]) -> list[Group]:
    """Two parameter groups: everything with the training's weight decay, the `exempt` parameters without."""
    free = {id(parameter) for parameter in exempt}
    every = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in every if id(parameter) not in free]},
        {"params": [parameter for parameter in every if id(parameter) in free], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, training: Training, groups: Sequence[Group] | None = None) -> Optimizer:
    """The optimiser of a phase over `groups` (by default one group of all the model's parameters).

    A group without "weight_decay" has that of `training`.

    Raises
    ------
    ValueError
        When the groups do not hold every trainable parameter exactly once.
    """
    every = [parameter for parameter in model.parameters() if parameter.requires_grad]
    chosen = [{"weight_decay": training.weight_decay, **group} for group in groups or [{"params": every}]]
    given = [id(parameter) for group in chosen for parameter in group["params"]]
    if sorted(given) != sorted(map(id, every)):
        raise ValueError("the parameter groups must hold every trainable parameter of the model exactly once")
    if training.optimizer == "lars":
        return LARS(chosen, training.momentum)
    return SGD(chosen, training.momentum, training.nesterov)
