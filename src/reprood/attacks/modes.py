"""Set the mode of a network while it is attacked during its training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Use evaluation mode in the block (batch norms use their running statistics), and restore the mode after it."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextmanager
def unrecorded(network: nn.Module) -> Iterator[None]:
    """Let batch norms in training mode use the batch's statistics inside the block without updating the running ones.

    This is how TensorFlow programs attack: there, the moving averages are updated by a separate operation.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for module in norms:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in norms:
            module.track_running_stats = True
