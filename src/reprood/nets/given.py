"""A whole network that was trained elsewhere, split at the layer of its features; see `reprood.train.given`."""

from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.nets.options import Options, read_options
from reprood.nets.whole import builder

NETWORK = "given"


class Split(Options):
    """Where a network is split.

    Attributes
    ----------
    classes : int
        Number of its outputs.
    layer : str
        The layer of the features: the input of a linear one, the output of any other.
    width : int
        Number of features.
    affine : bool
        Whether the layer is linear and gives the network's output.
    """

    classes: int = Field(ge=1)
    layer: str
    width: int = Field(ge=1)
    affine: bool


class GivenOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    network : str
        In the form of `reprood score --network`.
    split : Split
    input_size : int
        Side to which images are resized; 0: unchanged.
    """

    network: str
    split: Split
    input_size: int = 0


class GivenNetwork(nn.Module):
    """A whole network: images [B, C, H, W] to features [B, width], and to logits with `logits`."""

    def __init__(self, network: nn.Module, split: Split, input_size: int) -> None:
        super().__init__()
        self.network, self.split, self.input_size, self.width = network, split, input_size, split.width

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's output [B, outputs], or its attribute `logits` (Hugging Face)."""
        if self.input_size:
            side = (self.input_size, self.input_size)
            images = functional.interpolate(images, size=side, mode="bilinear", align_corners=False, antialias=True)
        output = self.network(images)
        logits: Tensor = getattr(output, "logits", output)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width]; maps are averaged over positions."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            kept.append(inputs[0] if isinstance(module, nn.Linear) else output)

        handle = self.network.get_submodule(self.split.layer).register_forward_hook(keep)
        try:
            self.logits(images)
        finally:
            handle.remove()
        features = kept[-1]
        if not isinstance(features, Tensor) or features.ndim not in (2, 4):
            raise ReproodError(
                f"The layer '{self.split.layer}' gives no features [B, d] or maps [B, d, H, W]; set 'layer' to another."
            )
        return features.flatten(2).mean(2) if features.ndim == 4 else features

    def last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Return weight and bias of the last layer if it is affine in the features."""
        if not self.split.affine:
            return None
        layer: Any = self.network.get_submodule(self.split.layer)
        weight: Tensor = layer.weight.detach()
        return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()


def build(channels: int, **options: Any) -> GivenNetwork:
    """Build an untrained network of given form; options as in `GivenOptions`.

    Raises
    ------
    ReproodError
        For unknown options or an unknown network.
    """
    chosen = read_options(GivenOptions, NETWORK, channels, options)
    network = builder(chosen.network)(chosen.split.classes)
    if chosen.split.layer not in dict(network.named_modules()):
        raise ReproodError(f"The network {chosen.network} has no layer '{chosen.split.layer}'.")
    return GivenNetwork(network, chosen.split, chosen.input_size)
