"""Memory of the tensors that autograd keeps for the backward pass: what grows with the batch in a training."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


class _Kept:
    """A saved tensor, as an object of which one can learn when it is released."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class SavedTensors:
    """Count the bytes that autograd holds, as a context manager.

    Parameters are left out, and a storage that several operations save counts once. Memory that only a forward pass
    needs, and the workspaces of a GPU's libraries, are not counted.

    Attributes
    ----------
    peak : int
        Most bytes held at a time.

    Examples
    --------
    >>> import torch
    >>> values = torch.ones(1000, requires_grad=True)
    >>> with SavedTensors() as saved:
    ...     values.exp().sum().backward()
    >>> saved.peak
    4000
    """

    def __init__(self) -> None:
        self._hooks = saved_tensors_hooks(self._pack, lambda kept: kept.tensor)
        self.peak = self._now = 0
        self._uses: Counter[int] = Counter()

    def __enter__(self) -> "SavedTensors":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Any:
        kept = _Kept(tensor)
        if isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter):
            return kept
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not self._uses[address]:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._uses[address] += 1
        weakref.finalize(kept, self._release, address, size)
        return kept

    def _release(self, address: int, size: int) -> None:
        self._uses[address] -= 1
        if not self._uses[address]:
            self._now -= size
