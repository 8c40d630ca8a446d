"""Weights that torchvision publishes for networks trained on ImageNet."""

import pickle
import urllib.error
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError


@runtime_checkable
class Pretrainable(Protocol):
    """A backbone for which torchvision has weights.

    Attributes
    ----------
    torchvision_model : str
        Name of the same network in torchvision.
    """

    torchvision_model: str

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Copy the state of torchvision's network, which includes a classifier.

        Raises
        ------
        ReproodError
            If it does not fit, for example another number of channels.
        """


def load_imagenet(network: nn.Module) -> None:
    """Load the weights that torchvision publishes (ImageNet-1k, version 1), from its cache or its address.

    Raises
    ------
    ReproodError
        If there are none for this network, or they are not available; says where to put them by hand.
    """
    if not isinstance(network, Pretrainable):
        raise ReproodError(
            f"There are no ImageNet weights for the network {type(network).__name__}; set backbone.name to "
            "efficientnet or imagenet_resnet, or pretrained to false."
        )
    from torchvision.models import get_model_weights

    name = network.torchvision_model
    weights = get_model_weights(name)["IMAGENET1K_V1"]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        file = weights.url.rsplit("/", 1)[1]
        raise ReproodError(
            f"The ImageNet weights of {name} cannot be loaded ({error}); fetch {weights.url} and save it as "
            f"{torch.hub.get_dir()}/checkpoints/{file}, or set pretrained to false."
        ) from error
    network.load_torchvision(state)
