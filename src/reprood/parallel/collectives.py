"""What data-parallel processes say to each other, as functions that gradients flow through.

Every process holds the whole batch and does the same with it, but for one part, the backbone, of which it does only its
own images (`scatter` before it, `gather` behind it). A tensor outside of that part is the same in all processes. A
gradient that a process finds for a parameter inside of it is its own images' share; their sum is the batch's.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def shares(count: int, world: int) -> list[int]:
    """How many of `count` images each process takes; they differ by one at most."""
    return [count // world + (rank < count % world) for rank in range(world)]


def _sum(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _collect(own: Tensor, sizes: Sequence[int]) -> Tensor:
    """Every process' rows behind one another; bf16 travels as float32, which every backend can send."""
    dtype = own.dtype
    room = own.new_zeros((max(sizes), *own.shape[1:]), dtype=torch.promote_types(dtype, torch.float32))
    room[: len(own)] = own.detach()
    parts = [torch.empty_like(room) for _ in sizes]
    dist.all_gather(parts, room)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(dtype)


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, batch: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
        context.sizes = sizes
        start = sum(sizes[:rank])
        return batch[start : start + sizes[rank]].clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return _collect(gradient, context.sizes), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
        context.start, context.size = sum(sizes[:rank]), sizes[rank]
        return _collect(own, sizes)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return gradient[context.start : context.start + context.size], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _sum(value)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return _sum(gradient)


def scatter(batch: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
    """The rows of this process; behind it, the gradient of the whole batch is put together again."""
    result: Tensor = _Scatter.apply(batch, sizes, rank)  # type: ignore[no-untyped-call]
    return result


def gather(own: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
    """The rows of all processes; behind it, each one's gradient is that of its own rows."""
    result: Tensor = _Gather.apply(own, sizes, rank)  # type: ignore[no-untyped-call]
    return result


def summed(value: Tensor) -> Tensor:
    """The sum over the processes of what each has; behind it, the sum of their gradients."""
    result: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return result


def sum_gradient(gradient: Tensor) -> Tensor:
    """The batch's gradient from the shares of the processes."""
    return _sum(gradient)
