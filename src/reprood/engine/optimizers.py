"""The optimisers of the papers, and which parameters are decayed.

SGD and Adam call the functions inside `torch.optim`: the same bits as `torch.optim.SGD` and `torch.optim.Adam`, without
the import of the compiler (2 to 3 seconds) that every `torch.optim.Optimizer` causes. The learning rate is an argument
of each step, because schedules are functions of the epoch and the step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from reprood.engine.training import Training

Group = dict[str, Any]


class Optimizer(ABC):
    """Base class: parameters in groups, and buffers that hold one tensor per parameter.

    Parameters
    ----------
    groups : sequence of dict
        Each with "params" (list of parameters) and "weight_decay" (float).
    buffers : tuple of str
        Names of the buffers; a parameter's entries are None until it has had a gradient.
    """

    def __init__(self, groups: Sequence[Group], buffers: tuple[str, ...]) -> None:
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self.decays: list[float] = [float(group["weight_decay"]) for group in groups for _ in group["params"]]
        self.buffers: dict[str, list[Tensor | None]] = {name: [None] * len(self.parameters) for name in buffers}

    def zero_grad(self) -> None:
        """Discard the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient; the gradients may be overwritten.

        Parameters
        ----------
        rate : float
            Learning rate of this step.
        """
        for decay in dict.fromkeys(self.decays):
            rows = [i for i, p in enumerate(self.parameters) if p.grad is not None and self.decays[i] == decay]
            if rows:
                parameters: list[Tensor] = [self.parameters[i] for i in rows]
                gradients = [gradient for p in parameters if (gradient := p.grad) is not None]
                buffers = {name: [values[i] for i in rows] for name, values in self.buffers.items()}
                self.update(parameters, gradients, buffers, rate, decay)
                for name, values in buffers.items():
                    for i, value in zip(rows, values, strict=True):
                        self.buffers[name][i] = value

    @abstractmethod
    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: dict[str, list[Tensor | None]],
        rate: float,
        decay: float,
    ) -> None:
        """Update parameters of one weight decay in place, and fill the entries of `buffers` that are None."""

    def state_dict(self) -> dict[str, list[Tensor | None]]:
        """Return the buffers, which is all that is needed to resume."""
        return self.buffers

    def load_state_dict(self, state: dict[str, list[Tensor | None]]) -> None:
        """Resume from what `state_dict` returned; tensors are moved to their parameter's device."""
        for name in self.buffers:
            self.buffers[name] = [
                None if stored is None else stored.to(parameter.device)
                for parameter, stored in zip(self.parameters, state[name], strict=True)
            ]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum m and L2 decay w, as `torch.optim.SGD`.

    For a gradient g and rate r: d = g + w p; v = m v + d (v = d in the first step); then p = p - r v, or
    p = p - r (d + m v) with Nesterov's momentum.

    Parameters
    ----------
    groups : sequence of dict
        As for `Optimizer`.
    momentum : float
        m in [0, 1).
    nesterov : bool
        Whether to use Nesterov's momentum.

    Examples
    --------
    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> weight.grad = torch.tensor([0.5])
    >>> SGD([{"params": [weight], "weight_decay": 0.0}], momentum=0.9, nesterov=False).step(0.1)
    >>> weight.data
    tensor([0.9500])
    """

    def __init__(self, groups: Sequence[Group], momentum: float, nesterov: bool) -> None:
        super().__init__(groups, ("momentum",))
        self.momentum = momentum
        self.nesterov = nesterov

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: dict[str, list[Tensor | None]],
        rate: float,
        decay: float,
    ) -> None:
        """Call torch's SGD."""
        sgd(
            parameters, gradients, buffers["momentum"], foreach=True, weight_decay=decay, momentum=self.momentum,
            lr=rate, dampening=0.0, nesterov=self.nesterov, maximize=False,
        )  # fmt: skip


class Adam(Optimizer):
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
        super().__init__([{"params": list(parameters), "weight_decay": 0.0}], ("mean", "square", "step"))
        self.betas = betas
        self.eps = eps

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: dict[str, list[Tensor | None]],
        rate: float,
        decay: float,
    ) -> None:
        """Call torch's Adam; each parameter counts its own steps."""
        for i, parameter in enumerate(parameters):
            if buffers["step"][i] is None:
                buffers["mean"][i] = torch.zeros_like(parameter)
                buffers["square"][i] = torch.zeros_like(parameter)
                buffers["step"][i] = torch.zeros(())  # on the CPU, where torch reads it without waiting for a GPU
        mean, square, step = ([t for t in buffers[name] if t is not None] for name in ("mean", "square", "step"))
        first, second = self.betas
        adam(
            parameters, gradients, mean, square, [], step, foreach=True, amsgrad=False, beta1=first, beta2=second,
            lr=rate, weight_decay=decay, eps=self.eps, maximize=False,
        )  # fmt: skip

    def load_state_dict(self, state: dict[str, list[Tensor | None]]) -> None:
        """Resume from what `state_dict` returned; step counts stay on the CPU."""
        super().load_state_dict(state)
        self.buffers["step"] = list(state["step"])


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling around SGD with momentum (You, Gitman and Ginsburg 2017, arXiv 1708.03888).

    The form of CSI's code (https://github.com/alinlab/CSI), which takes it from
    https://github.com/kakaobrain/torchlars. For a tensor p with gradient g, decay w, trust t and rate r:
    q = t |p| / (|g| + w |p| + eps) if |p| > 0 and |g| > 0, else 1; d = q (g + w p); v = m v + d (v = d in the first
    step); p = p - r v. No tensor is exempt, neither biases nor those of batch normalisation.

    Parameters
    ----------
    groups : sequence of dict
        As for `Optimizer`.
    momentum : float
        m in [0, 1).
    trust, eps : float
        t and eps.
    """

    def __init__(self, groups: Sequence[Group], momentum: float, trust: float = 1e-3, eps: float = 1e-8) -> None:
        super().__init__(groups, ("momentum",))
        self.momentum = momentum
        self.trust = trust
        self.eps = eps

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: dict[str, list[Tensor | None]],
        rate: float,
        decay: float,
    ) -> None:
        """Scale the gradients of all tensors at once: one vector of norms, without waiting for a GPU."""
        size = torch.stack(torch._foreach_norm(parameters))
        slope = torch.stack(torch._foreach_norm(gradients))
        ratio = torch.where((size > 0) & (slope > 0), self.trust * size / (slope + decay * size + self.eps), 1.0)
        torch._foreach_add_(gradients, torch._foreach_mul(parameters, decay))
        torch._foreach_mul_(gradients, list(ratio.unbind()))
        sgd(
            parameters, gradients, buffers["momentum"], foreach=True, weight_decay=0.0, momentum=self.momentum,
            lr=rate, dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip


def decay_groups(model: nn.Module, exempt: Iterable[nn.Parameter]) -> list[Group]:
    """Return two parameter groups: one with the training's weight decay, and the `exempt` parameters without decay."""
    exempt_ids = {id(parameter) for parameter in exempt}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if id(parameter) not in exempt_ids]},
        {"params": [parameter for parameter in trainable if id(parameter) in exempt_ids], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, training: Training, groups: Sequence[Group] | None = None) -> Optimizer:
    """Build the optimiser of a phase.

    Parameters
    ----------
    model : nn.Module
        The network whose trainable parameters are optimised.
    training : Training
        Names the optimiser and its settings.
    groups : sequence of dict, optional
        "params" and, where it differs from that of `training`, "weight_decay"; default: one group of all parameters.

    Raises
    ------
    ValueError
        When the groups do not hold every trainable parameter exactly once.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    chosen = [{"weight_decay": training.weight_decay, **group} for group in groups or [{"params": trainable}]]
    grouped = [id(parameter) for group in chosen for parameter in group["params"]]
    if sorted(grouped) != sorted(map(id, trainable)):
        raise ValueError("the parameter groups must hold every trainable parameter of the model exactly once")
    if training.optimizer == "lars":
        return LARS(chosen, training.momentum)
    return SGD(chosen, training.momentum, training.nesterov)
