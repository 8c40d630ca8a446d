"""LARS: every parameter tensor has a learning rate of its own, in proportion to its norm over its gradient's."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class LARS:
    """Layer-wise adaptive rate scaling around SGD with momentum (You, Gitman and Ginsburg 2017), as in CSI's code.

    For a tensor p with gradient g, decay w, trust t and rate r: q = t |p| / (|g| + w |p| + eps) if |p| > 0 and |g| > 0,
    else 1; d = q (g + w p); v = m v + d (v = d in the first step); p = p - r v. No tensor is exempt, neither biases nor
    those of batch normalisation.

    Parameters
    ----------
    groups : sequence of dict
        "params" (list of parameters) and "weight_decay" (float) each.
    momentum : float
        m in [0, 1).
    trust, eps : float
        t and eps.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], momentum: float, trust: float = 1e-3, eps: float = 1e-8
    ) -> None:
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self.decays: list[float] = [float(group["weight_decay"]) for group in groups for _ in group["params"]]
        self.momentum = momentum
        self.trust = trust
        self.eps = eps
        self.velocity: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient; the gradients are used up."""
        rows = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters: list[Tensor] = [self.parameters[i] for i in rows]
        gradients = [gradient for i in rows if (gradient := self.parameters[i].grad) is not None]
        decays = [self.decays[i] for i in rows]
        if not rows:
            return
        # one vector of all norms: no waiting for a GPU, and few small operations
        size = torch.stack(torch._foreach_norm(parameters))
        slope = torch.stack(torch._foreach_norm(gradients))
        pull = slope + torch.tensor(decays, dtype=size.dtype, device=size.device) * size + self.eps
        ratio = torch.where((size > 0) & (slope > 0), self.trust * size / pull, 1.0)
        torch._foreach_add_(gradients, torch._foreach_mul(parameters, decays))
        torch._foreach_mul_(gradients, list(ratio.unbind()))
        velocity = []
        for i, gradient in zip(rows, gradients, strict=True):
            known = self.velocity[i]
            self.velocity[i] = gradient.clone() if known is None else known.mul_(self.momentum).add_(gradient)
            velocity.append(self.velocity[i])
        torch._foreach_add_(parameters, velocity, alpha=-rate)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """The velocities."""
        return {"velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put stored velocities back, on the parameters' devices."""
        for i, (parameter, stored) in enumerate(zip(self.parameters, state["velocity"], strict=True)):
            self.velocity[i] = None if stored is None else stored.to(parameter.device)
