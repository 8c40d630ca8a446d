"""Adam, written out like the other optimisers (see `reprood.engine.optimizers`)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Adam:
    """Adam without weight decay (Kingma and Ba 2015), as `torch.optim.Adam`.

    For a gradient g in the t-th step of a parameter p, with rate r: m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    p = p - r / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).

    Parameters
    ----------
    parameters : iterable of Parameter
    betas : (float, float)
        b1 and b2 in [0, 1).
    eps : float
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.parameters = list(parameters)
        self.betas = betas
        self.eps = eps
        self.steps = [0] * len(self.parameters)
        self.mean: list[Tensor | None] = [None] * len(self.parameters)
        self.square: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient."""
        first, second = self.betas
        for i, parameter in enumerate(self.parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            mean, square = self.mean[i], self.square[i]
            if mean is None or square is None:
                self.mean[i] = mean = torch.zeros_like(parameter)
                self.square[i] = square = torch.zeros_like(parameter)
            self.steps[i] += 1
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            spread = (square.sqrt() / (1 - second ** self.steps[i]) ** 0.5).add_(self.eps)
            parameter.addcdiv_(mean, spread, value=-rate / (1 - first ** self.steps[i]))

    def state_dict(self) -> dict[str, Any]:
        """Numbers of steps and both moments."""
        return {"steps": list(self.steps), "mean": list(self.mean), "square": list(self.square)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put stored moments back, on the parameters' devices."""
        for i, parameter in enumerate(self.parameters):
            mean, square = state["mean"][i], state["square"][i]
            self.steps[i] = state["steps"][i]
            self.mean[i] = None if mean is None else mean.to(parameter.device)
            self.square[i] = None if square is None else square.to(parameter.device)
