"""Data-parallel training: the processes that torchrun started share every batch.

    torchrun --nproc-per-node 2 -m reprood train --data-parallel ...

Every process draws the same order of images and augments the whole batch from the same random stream; the network and
the loss then see its share only (a block of consecutive rows). `DistributedDataParallel` averages the gradients,
weighted by the sizes of the shares, so that they are those of the mean over the whole batch. This holds for losses that
are a mean over samples and call the network once. With `drop_last` false the last batch of an epoch may be smaller than
the number of processes: a process without a row of its own then takes the first one with weight 0.

What a loss draws itself (`batch.generator`, dropout) comes from a stream per process. Batch normalisation uses the
statistics of the whole batch (`SyncBatchNorm`), which torch offers on CUDA only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from reprood.core.errors import ReproodError


@dataclass(frozen=True)
class Workers:
    """Number of this process among those that train one model; by default it is the only one.

    Attributes
    ----------
    rank, size : int
        Number of this process, 0-based, and of all processes. Only rank 0 writes files and shows progress.
    """

    rank: int = 0
    size: int = 1

    def rows(self, count: int) -> slice:
        """Return this process's rows of a batch of `count`; never empty (see `weight`).

        Examples
        --------
        >>> Workers(1, 2).rows(5)
        slice(2, 5, None)
        """
        start, stop = count * self.rank // self.size, count * (self.rank + 1) // self.size
        return slice(start, stop) if stop > start else slice(0, 1)

    def weight(self, count: int) -> float:
        """Return the share of this process's rows in a batch of `count`; the weights of all processes add up to 1.

        Examples
        --------
        >>> Workers(1, 2).weight(5)
        0.6
        """
        return (count * (self.rank + 1) // self.size - count * self.rank // self.size) / count

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the network that a loss is to call: it averages gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(synchronise_statistics(model, device))

    def backward(self, loss: Tensor, count: int) -> Tensor:
        """Compute the gradients of a loss that is the mean over this process's rows of a batch of `count`.

        Returns
        -------
        scalar Tensor
            The loss over the whole batch, detached.
        """
        if self.size == 1:
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        weight = self.weight(count)
        (loss * (weight * self.size)).backward()  # type: ignore[no-untyped-call]  # the wrapper divides by size
        total = loss.detach() * weight
        distributed.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true in any process; waits for all of them."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))  # on the CPU: no GPU has to finish its work for it
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)


def synchronise_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace batch normalisation layers by those that use the statistics of the whole batch; in place.

    Raises
    ------
    ReproodError
        When the network has batch normalisation and the device is a CPU.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    if device.type != "cuda":
        raise ReproodError(
            "Data-parallel training of a network with batch normalisation needs CUDA devices, because SyncBatchNorm "
            "computes the statistics of the whole batch there only; train with one process on a CPU."
        )
    synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return synchronised


@contextmanager
def join_workers(device: torch.device) -> Iterator[Workers]:
    """Connect to the other processes for the duration of the block.

    Raises
    ------
    ReproodError
        When this process was not started by torchrun.
    """
    if not distributed.is_torchelastic_launched():
        raise ReproodError(
            "Data-parallel training needs processes started by torchrun; use `torchrun --nproc-per-node N -m reprood "
            "train --data-parallel ...`."
        )
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
