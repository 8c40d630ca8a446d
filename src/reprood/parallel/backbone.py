"""A backbone that passes each process' share of a batch and gives all processes the features of the whole batch.

What goes in and comes out is the same in all processes, so methods, losses and augmentations need not know. Batch
statistics are those of the whole batch (their sums go through all processes, forward and backward), and masks of
dropout are drawn for the whole batch, so that the result is the single process' but for the order of floating-point
sums.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from reprood.core.errors import ReproodError
from reprood.parallel.collectives import gather, scatter, shares, sum_gradient, summed

Norm = nn.BatchNorm1d | nn.BatchNorm2d


class _WholeBatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015) with the statistics of all processes' images."""

    def forward(self: Any, images: Tensor) -> Tensor:
        if not self.training:
            normalised: Tensor = functional.batch_norm(
                images, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
            return normalised
        axes = [axis for axis in range(images.ndim) if axis != 1]
        form = [1, -1] + [1] * (images.ndim - 2)
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        own = values.new_tensor(images.numel() // images.shape[1])
        dist.all_reduce(own)
        mean = summed(values.sum(axes)) / own
        centred = values - mean.view(form)
        variance = summed(centred.square().sum(axes)) / own
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * own / (own - 1), self.momentum)
        found = centred * (variance + self.eps).rsqrt().view(form)
        shifted: Tensor = found * self.weight.view(form) + self.bias.view(form)
        return shifted.to(images.dtype)


class _Masks(TorchFunctionMode):
    """Dropout whose masks are the rows of this process in a mask of the whole batch."""

    def __init__(self, count: int, start: int) -> None:
        super().__init__()
        self.count, self.start = count, start

    def __torch_function__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if called not in (functional.dropout, functional.dropout2d):
            return called(*args, **kwargs)
        values, p, training = _dropout(*args, **kwargs)
        if not training or p == 0:
            return values
        return values * self._mask(values, p, whole_maps=called is functional.dropout2d)

    def _mask(self, values: Tensor, p: float, *, whole_maps: bool) -> Tensor:
        shape = (self.count, values.shape[1], *(1 if whole_maps else size for size in values.shape[2:]))
        layout = torch.contiguous_format
        if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last) and not whole_maps:
            layout = torch.channels_last
        mask = torch.empty(shape, dtype=values.dtype, device=values.device).contiguous(memory_format=layout)
        return mask.bernoulli_(1 - p).div_(1 - p)[self.start : self.start + len(values)]


def _dropout(
    values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> tuple[Tensor, float, bool]:
    return values, p, training


class _Shared:
    """The part of a backbone's class that shares its images out."""

    def forward(self: Any, images: Tensor) -> Tensor:
        rank, world = dist.get_rank(), dist.get_world_size()
        if len(images) < world:
            raise ReproodError(
                f"A batch of {len(images)} images cannot be shared out to {world} processes; use fewer processes, or "
                "training.drop_last."
            )
        _hook(self)
        sizes = shares(len(images), world)
        with _Masks(len(images), sum(sizes[:rank])):
            own = super().forward(scatter(images, sizes, rank))  # type: ignore[misc]
        return gather(own, sizes, rank)


def _hook(backbone: nn.Module) -> None:
    """Sum the gradients of parameters that have no hook yet: the first time, and in copies of the backbone."""
    for parameter in backbone.parameters():
        if parameter.requires_grad and sum_gradient not in (parameter._backward_hooks or {}).values():
            parameter.register_hook(sum_gradient)  # type: ignore[no-untyped-call]


def share_out(backbone: nn.Module) -> nn.Module:
    """Make a backbone one that shares its images out, in place; names of its parameters stay as they are.

    Raises
    ------
    ReproodError
        For kinds of normalisation whose statistics are not synchronised here.
    """
    for module in backbone.modules():
        if isinstance(module, Norm):
            if module.momentum is None or not (module.affine and module.track_running_stats):
                raise ReproodError(
                    f"{type(module).__name__} without momentum, gain or statistics cannot be shared out."
                )
            module.__class__ = _variant(_WholeBatchNorm, type(module))
    backbone.__class__ = _variant(_Shared, type(backbone))
    return backbone


_variants: dict[tuple[type, type], type] = {}


def _variant(first: type, second: type) -> type:
    """The class of an object whose methods are looked for in `first` before its own class."""
    return _variants.setdefault((first, second), type(second.__name__, (first, second), {}))


Maker = Callable[..., nn.Module]


def sharing(network: Maker) -> Maker:
    """The same way to make a backbone, for one that is shared out."""

    def make(*args: Any, **options: Any) -> nn.Module:
        return share_out(network(*args, **options))

    return make
