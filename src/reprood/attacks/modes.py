"""In which mode a network is while it is attacked in the middle of its training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block (batch norms use their running statistics); afterwards training as before."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextmanager
def unrecorded(network: nn.Module) -> Iterator[None]:
    """Inside the block batch norms in training mode use the batch's statistics and leave their running ones alone.

    TensorFlow's programs attack so: what updates the moving averages is an operation of its own.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for module in norms:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in norms:
            module.track_running_stats = True
